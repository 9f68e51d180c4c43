"""Importing the package, or any of its modules, loads none of the slow libraries."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

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
# The plots are the one room that is about matplotlib; only chapters that draw import it.
EVERY_MODULE = """
import importlib, pathlib, sanity
root = pathlib.Path(sanity.__file__).parent
for file in sorted(root.rglob("*.py")):
    parts = file.relative_to(root.parent).with_suffix("").parts
    name = ".".join(part for part in parts if part != "__init__")
    if not name.startswith("sanity.figures"):
        importlib.import_module(name)
"""


def loaded_by(code: str, *suspects: str) -> list[str]:
    """Those of `suspects` that a fresh interpreter has loaded after `code`."""
    probe = f"{code}\nimport json, sys\nprint(json.dumps([s for s in {suspects!r} if s in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("code", ["import sanity", "import sanity.cli", "import sanity.publishing"])
def test_entry_points_are_light(code: str) -> None:
    assert loaded_by(code, *HEAVY, "torch", "pandas", "scipy") == []


def test_no_module_loads_a_slow_library() -> None:
    assert loaded_by(EVERY_MODULE, *HEAVY) == []


def test_a_loaded_library_would_be_noticed() -> None:
    assert loaded_by("import sanity, matplotlib", *HEAVY) == ["matplotlib"]


def test_help_answers_at_once() -> None:
    def seconds() -> float:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", "from sanity.cli import app; app(['--help'])"],
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0
        return time.perf_counter() - began

    assert min(seconds() for _ in range(3)) < 1.0
