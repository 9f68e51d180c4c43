"""A copy of a packed model is made again unless it is whole."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from torture.damaging import DAMAGES

from sanity.engine.files import write_sealed
from sanity.subject.unpacking import unpacked


def unpack(packed: Path, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(packed.read_bytes())


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SANITY_CACHE", str(tmp_path / "cache"))
    (tmp_path / "toy.gguf").write_bytes(b"weights" * 100)
    return tmp_path / "toy.gguf"


@pytest.mark.parametrize("name", ["unpacked.json", "model.safetensors"])
@pytest.mark.parametrize("how", sorted(DAMAGES))
def test_a_damaged_copy_is_made_again(packed: Path, name: str, how: str) -> None:
    folder = unpacked(packed, unpack)
    DAMAGES[how](folder / name, random.Random(0))
    again = unpacked(packed, unpack)
    assert (again / "model.safetensors").read_bytes() == packed.read_bytes()
    assert sorted(path.name for path in again.iterdir()) == ["model.safetensors", "unpacked.json"]


def test_a_copy_of_nothing_is_not_whole(packed: Path) -> None:
    folder = unpacked(packed, unpack)
    for path in folder.iterdir():
        path.unlink()
    (folder / "unpacked.json").write_text("{}")
    assert (unpacked(packed, unpack) / "model.safetensors").exists()
    write_sealed(folder / "unpacked.json", {})
    assert (unpacked(packed, unpack) / "model.safetensors").read_bytes() == packed.read_bytes()
