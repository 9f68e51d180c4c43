"""A profile for a graphics card on a machine without one: one clear error, before anything is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from sanity import assets
from sanity.cli import app


@pytest.mark.parametrize("command", ["harvest", "train"])
def test_a_profile_for_a_card_is_refused_at_once_where_there_is_none(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a graphics card")
    fetched: list[object] = []
    monkeypatch.setattr(assets, "ready", fetched.append)
    monkeypatch.setenv("SANITY_STORE", str(tmp_path / "store"))
    done = CliRunner().invoke(app, [command, "--profile", "card"])
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert "wants a graphics card: there is no device 'cuda' on this machine" in line
    assert "--scheduler" in line
    assert fetched == []
