"""The whole campaign from one seed: kills, damages, bad calls; it counts them, and stops at what shows.

PYTHONPATH=tests:tests/subject python -m torture.campaign --seed 0
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

# Before anything is loaded: one thread, on one core, so that everything is computed in this process.
os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg"}

import torch
from torture import calls, commands
from torture.damaging import DAMAGES, parent_is_file
from torture.killing import kill_often
from torture.workplace import cells, make_book, run_all

from sanity.engine.cells import Cell

UNTOUCHED = ("book", "_toc.yml", "_config.yml", "book.lock")
"""Sources, which are not ours to mend, and a lock that has no content."""


def damage_often(folder: Path, todo: Sequence[Cell], times: int, chance: random.Random) -> Counter[str]:
    """Damage a file of a finished project, and run everything again: the same bytes must come of it."""
    root = folder / "damaged"
    root.mkdir()
    make_book(root)
    wanted, counts = run_all(root, todo), Counter[str]()
    for _ in range(times):
        path = chance.choice(_files(root))
        how = chance.choice([*DAMAGES.values(), parent_is_file])
        if not path.stat().st_size or (how is parent_is_file and not _has_parent_of_ours(path, root)):
            how = DAMAGES["lose"]
        words = f"{how.__name__} of {path.relative_to(root)}"
        how(path, chance)
        try:
            found = run_all(root, todo)
        except Exception as error:
            raise AssertionError(f"{words} is not mended: {error!r}") from error
        assert found == wanted, f"{words} changed {sorted(dict(found.items() ^ wanted.items()))[:3]}"
        counts[how.__name__] += 1
    shutil.rmtree(root)
    return counts


def _files(root: Path) -> list[Path]:
    return sorted(
        path
        for path in root.rglob("*")
        if path.is_file()
        and path.relative_to(root).parts[0] not in UNTOUCHED
        and path.name not in UNTOUCHED
        and "damaged" not in path.relative_to(root).parts
    )


def _has_parent_of_ours(path: Path, root: Path) -> bool:
    """Whether the folder is one of many, such as a result's, rather than a part of the layout."""
    return path.relative_to(root).parts[:2] == ("store", "results")


def main() -> None:
    """Run it, and print what was done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--damages", type=int, default=100)
    parser.add_argument("--steps", type=int, default=300, help="of training: how long there is to kill it")
    asked = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    logging.getLogger("sanity").setLevel(logging.CRITICAL)
    chance, todo = random.Random(asked.seed), cells(asked.steps)
    with tempfile.TemporaryDirectory() as folder:
        for name, part in {
            "kills": lambda: kill_often(Path(folder), todo, asked.kills, chance),
            "damages": lambda: damage_often(Path(folder), todo, asked.damages, chance),
            "bad calls": lambda: calls.check_all(Path(folder)),
            "bad commands": lambda: commands.check_all(Path(folder)),
        }.items():
            began = time.monotonic()
            counts = dict(part())
            print(f"{name}: {counts}, in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
