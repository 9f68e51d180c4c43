"""Leases that nobody keeps up are replaced, and no wait is without end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sanity.engine import leases
from sanity.engine.leases import alone, leased, outwait
from sanity.errors import StorageError


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", 1.4)


def old(path: Path) -> None:
    os.utime(path, (time.time() - 100,) * 2)


def empty(path: Path) -> None:
    path.touch()
    old(path)


def from_the_future(path: Path) -> None:
    path.touch()
    os.utime(path, (time.time() + 1e6,) * 2)


DEAD: list[Callable[[Path], object]] = [
    empty,
    from_the_future,
    lambda path: path.write_bytes(bytes(200)),
    lambda path: path.symlink_to(path),
]


@pytest.mark.parametrize("make", DEAD)
def test_a_lease_that_nobody_holds_is_replaced(tmp_path: Path, make: Callable[[Path], object]) -> None:
    path = tmp_path / "key.lock"
    make(path)
    with leased(path, patience=20) as ours:
        assert ours


def test_an_empty_lease_is_outwaited_although_it_looks_new(tmp_path: Path) -> None:
    (tmp_path / "key.lock").touch()
    outwait(tmp_path / "key.lock")
    assert not (tmp_path / "key.lock").exists()


def test_a_lease_that_nobody_keeps_up_and_that_stays_is_named(tmp_path: Path) -> None:
    path = tmp_path / "key.lock"
    with leased(path) as ours:
        assert ours
        content = path.read_bytes()
    path.write_bytes(content.replace(b"lease", b"other"))  # a contract that nobody knows
    with pytest.raises(StorageError, match=r"key\.lock.*no sign of life"):
        outwait(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match=r"key\.lock"):
        outwait(path)


def test_a_lease_is_kept_up_and_given_back(tmp_path: Path) -> None:
    path = tmp_path / "key.lock"
    with leased(path) as ours:
        assert ours
        with leased(path, patience=2.5) as others:
            assert not others
    with leased(path) as ours:
        assert ours


def test_a_lock_is_waited_for_so_long_and_then_named(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "book.lock"
    with (
        alone(path, "building"),
        pytest.raises(StorageError, match=r"building.*book\.lock"),
        alone(path, "building", patience=0.1),
    ):
        pass
