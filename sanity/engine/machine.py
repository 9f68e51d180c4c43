"""What a result was computed on: recorded with every result, never part of its key."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

PACKAGES = ("torch", "numpy", "scipy", "pandas", "transformers", "transformer-lens", "nnsight", "sae-sanity")
TELLING_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16")


@functools.cache
def cpu() -> dict[str, str | int | list[str]]:
    """The processor: model, logical cores this process may use, and the vector flags that decide speed."""
    model, flags = platform.processor() or platform.machine(), set[str]()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                model = value.strip()
            elif name.strip() == "flags":
                flags = set(value.split())
    return {"model": model, "cores": cores(), "flags": [flag for flag in TELLING_FLAGS if flag in flags]}


def cores() -> int:
    """Logical cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def memory_bytes() -> int:
    """Physical memory of the machine, in bytes."""
    import psutil

    return int(psutil.virtual_memory().total)


@functools.cache
def versions() -> dict[str, str]:
    """Python and the packages whose versions can change a number."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@functools.cache
def commit(folder: Path | None = None) -> str:
    """The commit of the source tree that holds the package, with `+changes` when files differ from it.

    `"unknown"` for an installation that is not a git checkout.
    """
    where = folder or Path(__file__).resolve().parents[2]
    head = _git(where, "rev-parse", "HEAD")
    if head is None:
        return "unknown"
    changed = _git(where, "status", "--porcelain", "--untracked-files=no")
    return f"{head[:12]}+changes" if changed else head[:12]


def provenance(*, threads: int) -> dict[str, object]:
    """The record stored with a result: commit, processor, threads, memory, versions."""
    return {
        "commit": commit(),
        "cpu": cpu(),
        "memory_bytes": memory_bytes(),
        "platform": platform.platform(terse=True),
        "threads": threads,
        "versions": versions(),
    }
