"""Kill what computes, at any moment, again and again: what comes of it in the end has the same bytes."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import shutil
import signal
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from torture.damaging import DAMAGES
from torture.workplace import contents_of

from sanity.engine.cells import Cell
from sanity.engine.computing import compute
from sanity.engine.files import below
from sanity.engine.store import LocalStore

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["torture.killing", "sanity.experiments.steps", "sanity.sources"])


def kill_often(folder: Path, todo: Sequence[Cell], kills: int, chance: random.Random) -> dict[str, int]:
    """At least `kills` of processes that compute `todo`; each store that ends is compared with a calm one.

    After every third kill, something in the scratch folder is damaged, too. Importing everything takes longer
    than the work: processes are forked from one that has imported and never computed, since the threads of
    one that has would be missing in its children. Each dies of SIGKILL or SIGTERM.
    """
    began = time.monotonic()
    calm = _SERVER.Process(target=_compute, args=(folder / "undisturbed", todo))
    calm.start()
    calm.join()
    assert calm.exitcode == 0, (folder / "undisturbed" / "traceback").read_text("utf-8")
    wanted = contents_of(LocalStore(folder / "undisturbed"), todo)
    length = time.monotonic() - began
    counts = {"kills": 0, "of them while training": 0, "scratch files damaged": 0, "runs that ended equal": 0}
    while counts["kills"] < kills or not counts["runs that ended equal"]:
        root = folder / "killed"
        shutil.rmtree(root, ignore_errors=True)
        _until_it_ends(root, todo, length, counts, chance)
        assert contents_of(LocalStore(root), todo) == wanted, "a killed run ended with other bytes"
        left = [path for path in (root / "scratch").iterdir() if not path.name.startswith("removed-")]
        assert not left, f"a run that ended left {left}"
        counts["runs that ended equal"] += 1
    return counts


def _until_it_ends(
    root: Path, todo: Sequence[Cell], length: float, counts: dict[str, int], chance: random.Random
) -> None:
    for attempt in range(1000):
        process = _SERVER.Process(target=_compute, args=(root, todo))
        process.start()
        # The first ones die early; later ones are given longer, so that each store is finished.
        deadline = time.monotonic() + chance.uniform(0.0, length * (0.2 + attempt / 10))
        process.join(max(0.0, deadline - time.monotonic()))
        if process.exitcode is not None:
            assert process.exitcode == 0, (root / "traceback").read_text("utf-8")
            return
        training = any(path.name.startswith("step-") for path in below(root / "scratch"))
        assert process.pid is not None
        os.kill(process.pid, chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
        process.join()
        counts["kills"] += 1
        counts["of them while training"] += training
        if counts["kills"] % 3 == 0:
            counts["scratch files damaged"] += _damage_scratch(root, chance)
    raise AssertionError("it never came to an end")


def _compute(root: Path, todo: Sequence[Cell]) -> None:
    logging.getLogger("sanity").setLevel(logging.ERROR)
    try:
        compute(todo, LocalStore(root))
    except Exception:
        (root / "traceback").write_text(traceback.format_exc(), "utf-8")
        raise


def _damage_scratch(root: Path, chance: random.Random) -> bool:
    files = sorted(path for path in below(root / "scratch") if path.is_file() and path.stat().st_size)
    if files:
        chance.choice(list(DAMAGES.values()))(chance.choice(files), chance)
    return bool(files)
