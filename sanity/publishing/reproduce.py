"""From a profile's name to the front page: what it will cost, the results, the chapters, the pages."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sanity.engine.leases import alone
from sanity.engine.machine import memory_bytes
from sanity.engine.reporting import describe
from sanity.errors import BadInputError, StorageError
from sanity.publishing.chapters import Execution, read_chapters, run_chapters
from sanity.publishing.site import build_site
from sanity.publishing.stamps import notebook_path

if TYPE_CHECKING:
    from sanity.engine.cells import Cell, Cost

log = logging.getLogger("sanity")

BUILDING = "building the book here"

PAGES_BYTES = 200_000_000
"""Room that executed chapters and built pages need at most, next to the results."""


@dataclasses.dataclass(frozen=True)
class Build:
    """What was built, and the seconds that each stage took."""

    front_page: Path
    seconds: dict[str, float]


def reproduce_book(profile: str, *, scheduler: str | None = None) -> Build:
    """Compute what is missing, run the chapters that changed, and build the book.

    Says first what it will cost. With `scheduler`, the address of a Dask scheduler, its workers compute the
    results. Killed at any moment and started again, it goes on where it was.

    Raises
    ------
    BadInputError
        No such profile, or no book here.
    StorageError
        The disk lacks the room, which is found out before anything is computed.
    SanityError
        A chapter failed, or the pages could not be built.
    """
    from sanity.engine.computing import compute
    from sanity.engine.store import home, missing, open_store
    from sanity.experiments import plan
    from sanity.experiments.readiness import make_ready
    from sanity.profiles import load

    began = time.perf_counter()
    cells = plan(load(profile))
    profile = _for_kernels(profile)
    root = home()
    chapters = read_chapters(root)
    seconds = {}
    store = open_store()
    announce(profile, cells, missing(cells, store), store.root)
    make_ready(cells, store, scheduler=scheduler)
    compute(cells, store, scheduler=scheduler)
    seconds["results"] = time.perf_counter() - began
    with alone(root / "_build" / "book.lock", BUILDING):
        began = time.perf_counter()
        done = run_chapters(chapters, profile=profile, root=root, result_keys=[cell.key for cell in cells])
        seconds["chapters"] = time.perf_counter() - began
        log.info("%s", _chapters_words(done))
        notebooks = {execution.chapter.name: execution.notebook for execution in done}
        site = build_site(chapters, notebooks, profile=profile, root=root)
    seconds["pages"] = site.seconds
    return Build(site.front_page, seconds)


def build_book(profile: str) -> Build:
    """Build the pages from the chapters as they were last run at `profile`; computes nothing."""
    from sanity.engine.store import home
    from sanity.profiles import load

    load(profile)
    profile = _for_kernels(profile)
    root = home()
    chapters = read_chapters(root)
    notebooks = {c.name: notebook_path(root, profile, c.name) for c in chapters if c.runs}
    absent = [name for name, path in notebooks.items() if not path.exists()]
    if absent:
        raise BadInputError(
            f"chapters that were never run at the profile {profile!r}: {', '.join(absent)}; "
            f"run them with: make reproduce PROFILE={profile}"
        )
    with alone(root / "_build" / "book.lock", BUILDING):
        site = build_site(chapters, notebooks, profile=profile, root=root)
    return Build(site.front_page, {"pages": site.seconds})


def _for_kernels(profile: str) -> str:
    """A profile as chapters, which run in another folder, find it."""
    from sanity.profiles import name_of

    return profile if name_of(profile) == profile else str(Path(profile).resolve())


def announce(profile: str, cells: Sequence[Cell], absent: Sequence[Cell], where: Path) -> None:
    """Say what is there and what the rest will cost; refuse when it does not fit on the disk."""
    from sanity.engine.cells import in_order
    from sanity.engine.computing import total_cost
    from sanity.experiments.calibration import slowness
    from sanity.profiles import load

    count, cost, device = len(in_order(cells)), total_cost(absent), load(profile).device
    free = shutil.disk_usage(where).free
    log.info("profile %s: %d results, %d of them are there", profile, count, count - len(absent))
    if absent:
        log.info(
            "to compute: %s; %s are free",
            cost_words(cost, device, slowness(device)),
            size_words(free),
        )
    if cost.memory_bytes > memory_bytes():
        log.warning("this machine has only %s of memory: expect it to swap", size_words(memory_bytes()))
    needed = cost.disk_bytes + PAGES_BYTES
    if needed > free:
        raise StorageError(
            f"profile {profile!r} needs {size_words(needed)} more in {where}, where {size_words(free)} are "
            "free: free some space, set SANITY_STORE to a folder on another disk, or take a smaller profile"
        )


def cost_words(cost: Cost, device: str = "cpu", slowness: float | None = None) -> str:
    """A cost in words: "about 25 min on two cores, 1.2 GB of disk, up to 2.0 GB of memory".

    With `slowness`, as `sanity.experiments.calibration` measures it, also what it takes on this machine now.
    What a whole profile takes on a card has not been measured, and is said to be a guess.
    """
    where, machine = (
        ("on two cores", "machine") if device == "cpu" else ("on a graphics card (a guess)", "card")
    )
    here = ""
    if slowness is not None:
        here = f" (on this {machine}, as a calibration just measured it: {describe(cost.seconds * slowness)})"
    return (
        f"about {describe(cost.seconds)} {where}{here}, {size_words(cost.disk_bytes)} of disk, "
        f"up to {size_words(cost.memory_bytes)} of memory"
    )


def size_words(size: float) -> str:
    """A number of bytes in words: "3.4 MB"."""
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000 or unit == "GB":
            break
    return f"{size:.1f} {unit}"


def _chapters_words(done: Sequence[Execution]) -> str:
    ran = [e for e in done if not e.reused]
    times = ", ".join(f"{e.chapter.name} {e.seconds:.0f} s" for e in ran)
    return (
        f"{len(ran)} chapters run ({times}), {len(done) - len(ran)} re-used"
        if ran
        else "all chapters re-used"
    )
