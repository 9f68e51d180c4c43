"""What is written is whole, what is damaged is noticed, and what the system says of files is one error."""

from __future__ import annotations

import contextlib
import json
import math
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from torture.damaging import DAMAGES

from sanity.engine.files import (
    below,
    disk_errors,
    folder_named,
    kept_json,
    read_json,
    read_sealed,
    remove_leftovers,
    write_atomically,
    write_sealed,
)
from sanity.engine.store import LocalStore, home, open_store
from sanity.errors import BadInputError, CorruptFileError, StorageError

CONTENT = {"factor": 0.1, "shards": [{"rows": 7}], "nothing": None, "not": math.nan}


def test_what_is_sealed_is_read_as_it_was(tmp_path: Path) -> None:
    write_sealed(tmp_path / "a.json", CONTENT)
    found = read_sealed(tmp_path / "a.json")
    assert list(found) == list(CONTENT)
    assert json.dumps(found) == json.dumps(CONTENT)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("how", sorted(DAMAGES))
def test_what_is_sealed_and_damaged_is_never_used(tmp_path: Path, how: str, seed: int) -> None:
    path = tmp_path / "a.json"
    write_sealed(path, CONTENT)
    DAMAGES[how](path, random.Random(seed))
    with contextlib.suppress(CorruptFileError):  # else only white space was hit
        assert json.dumps(read_sealed(path)) == json.dumps(CONTENT)
    made = kept_json(path, lambda: dict(CONTENT))
    assert json.dumps(made) == json.dumps(CONTENT)
    assert json.dumps(read_sealed(path)) == json.dumps(CONTENT)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"a": 1', "\xff", "1" * 5000, "null"])
def test_what_is_no_json_object_is_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CorruptFileError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


ODD: dict[str, Callable[[Path], Path]] = {
    "a file": lambda path: (path.touch(), path)[1],
    "below a file": lambda path: (path.touch(), path / "deep")[1],
    "a loop": lambda path: (path.symlink_to(path), path)[1],
    "a dead link": lambda path: (path.symlink_to(path.with_name("gone")), path)[1],
    "too long": lambda path: path / ("n" * 300),
    "of an unknown user": lambda path: Path("~nobody-of-that-name/store"),
    "a null byte": lambda path: Path(f"{path}\0"),
    "of the system": lambda path: Path("/proc/store"),
}


@pytest.mark.parametrize("where", sorted(set(ODD) - {"a dead link"}))  # its target is made
def test_an_odd_store_is_one_error(tmp_path: Path, where: str) -> None:
    named = ODD[where](tmp_path / "store")
    with pytest.raises((StorageError, BadInputError)):
        open_store(named)


@pytest.mark.parametrize("where", sorted(set(ODD) - {"of the system"}))
def test_an_odd_home_is_one_error(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    named = ODD[where](tmp_path / "home")
    if where == "a null byte":
        with pytest.raises(BadInputError):
            folder_named(named, "SANITY_HOME")
        return
    monkeypatch.setenv("SANITY_HOME", str(named))
    with pytest.raises(BadInputError, match="SANITY_HOME"):
        home()


def test_a_home_that_is_not_there_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANITY_HOME", str(tmp_path / "typo"))
    monkeypatch.delenv("SANITY_STORE")
    with pytest.raises(BadInputError, match="typo"):
        open_store()
    assert not (tmp_path / "typo").exists()


def test_errors_that_are_not_of_files_pass(tmp_path: Path) -> None:
    for error in (ConnectionResetError(104, "reset"), ValueError("other")):
        with pytest.raises(type(error)), disk_errors(tmp_path):
            raise error


def test_leftovers_of_the_dead_are_swept_and_those_of_the_living_stay(tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True)
    (tmp_path / "deep").mkdir()
    left = tmp_path / "deep" / f".table.parquet.{int(gone.stdout)}-abcdef.part"
    ours = tmp_path / ".table.parquet.1-abcdef.part"
    for path in (left, ours):
        path.touch()
    remove_leftovers(tmp_path)
    assert not left.exists()
    assert ours.exists()


def test_what_others_take_away_meanwhile_is_left_out(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name / "inside").mkdir(parents=True)
        (tmp_path / name / "inside" / "file").touch()
    found = []
    for path in below(tmp_path):
        found.append(path.relative_to(tmp_path).as_posix())
        for name in {"b", "c"} - {path.name}:
            shutil.rmtree(tmp_path / name, ignore_errors=True)
    assert {"a", "a/inside", "a/inside/file"} <= set(found)


FULL = """
import sys
from pathlib import Path
import torch
from sanity.engine.cells import computes
from sanity.engine.computing import compute
from sanity.engine.store import LocalStore
from sanity.errors import StorageError

@computes("test_files.large", version=1)
def large(task):
    if task.config["how"] == "tensors":
        task.save_tensors("x", {"x": torch.zeros(4_000_000)})
    elif task.config["how"] == "table":
        import numpy as np, pandas as pd
        task.save_table("x", pd.DataFrame({"x": np.random.default_rng(0).random(2_000_000)}))
    else:
        task.save_json("x", {"x": "x" * 16_000_000})

store = LocalStore(Path(sys.argv[1]))
for how in ("tensors", "table", "json"):
    try:
        compute([large.cell({"how": how}, label=how)], store)
    except StorageError as error:
        print(error)
"""


@pytest.mark.parametrize("options", ["size=4m", "size=4m,ro"])
def test_a_full_or_read_only_disk_is_one_error(tmp_path: Path, options: str) -> None:
    (tmp_path / "run.py").write_text(FULL)
    disk = tmp_path / "disk"
    disk.mkdir()
    if options.endswith("ro"):
        prepare = "mount -t tmpfs -o size=4m tmpfs $0; mkdir $0/results $0/scratch $0/leases"
        prepare = f"{prepare}; mount -o remount,ro $0"
    else:
        prepare = "mount -t tmpfs -o size=4m tmpfs $0"
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", f'{prepare} && "$1" "$2" $0',
         str(disk), sys.executable, str(tmp_path / "run.py")],
        capture_output=True, text=True,
    )  # fmt: skip
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("this machine lets nobody mount a small disk")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == 3
    words = "Read-only" if options.endswith("ro") else "No space left"
    assert all(words in line and str(disk) in line for line in said), said


def test_a_store_that_can_only_be_read_is_read(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    write_atomically(store.root / "results" / "note", "x")
    store.root.chmod(0o500)
    try:
        assert LocalStore(tmp_path / "store").list() == []
    finally:
        store.root.chmod(0o700)
