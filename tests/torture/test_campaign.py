"""A small part of the campaign, in a process of its own; `make torture` runs all of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_kills_damages_and_bad_calls_do_no_harm(repository: Path) -> None:
    tests = repository / "tests"
    path = os.pathsep.join(map(str, (tests, tests / "subject", repository)))
    done = subprocess.run(
        [sys.executable, "-m", "torture.campaign", "--kills", "3", "--damages", "8", "--steps", "150"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
    counted = {
        line.partition(":")[0]: sum(map(int, re.findall(r": (\d+)", line)))
        for line in done.stdout.splitlines()
    }
    assert counted["kills"] >= 3
    assert counted["damages"] == 8
    assert counted["bad calls"] + counted["bad commands"] > 250
