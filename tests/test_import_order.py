"""Importing the package, or any of its modules, loads none of the slow libraries."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

HEAVY = (
    "transformers",
    "transformer_lens",
    "nnsight",
    "datasets",
    "sae_lens",
    "matplotlib",
    "seaborn",
    "papermill",
)
# The plots are the one room that is about matplotlib; only chapters that draw import it. The kernels of a
# card need Triton, which not every machine has.
EVERY_MODULE = """
import importlib, pathlib, sanity
root = pathlib.Path(sanity.__file__).parent
for file in sorted(root.rglob("*.py")):
    parts = file.relative_to(root.parent).with_suffix("").parts
    name = ".".join(part for part in parts if part != "__init__")
    if not name.startswith(("sanity.figures", "sanity.models.card.fused")):
        importlib.import_module(name)
"""
PROBE = """
import json, sys
suspects, *steps = json.loads(sys.argv[1])
for step in steps:
    exec(step, {})
    print(json.dumps([suspect for suspect in suspects if suspect in sys.modules]))
"""


def loaded_after(suspects: tuple[str, ...], *steps: str) -> list[list[str]]:
    """Those of `suspects` that one fresh interpreter has loaded after each of `steps`."""
    command = [sys.executable, "-c", PROBE, json.dumps([suspects, *steps])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_entry_points_are_light() -> None:
    entries = ("import sanity", "import sanity.cli", "import sanity.publishing")
    assert loaded_after((*HEAVY, "torch", "pandas", "scipy"), *entries) == [[], [], []]


def test_no_module_loads_a_slow_library_and_one_that_did_would_be_noticed() -> None:
    every, then = loaded_after(HEAVY, EVERY_MODULE, "import matplotlib")
    assert every == []
    assert then == ["matplotlib"]


def test_help_answers_at_once() -> None:
    def cpu_seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-c", "from sanity.cli import app; app(['--help'])"]
        subprocess.run(command, capture_output=True, timeout=240, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    # A busy machine makes even CPU time longer.
    assert any(cpu_seconds() < 1.0 for _ in range(3))
