"""What a result was computed on: recorded with every result, never part of its key."""

from __future__ import annotations

import functools
import importlib.metadata
import logging
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sanity.engine import container

log = logging.getLogger("sanity")

PACKAGES = ("torch", "numpy", "scipy", "pandas", "transformers", "transformer-lens", "nnsight", "sae-sanity")
TELLING_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16")
_SAID = "SANITY_UNREAD_CHECKOUT"
"""The checkout whose warning was given: processes that this one starts do not repeat it."""


@functools.cache
def cpu() -> dict[str, str | int | list[str]]:
    """The processor: model, logical cores this process may use, and the vector flags that decide speed."""
    model, flags = platform.processor() or platform.machine(), set[str]()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text("utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                model = value.strip()
            elif name.strip() == "flags":
                flags = set(value.split())
    return {"model": model, "cores": cores(), "flags": [flag for flag in TELLING_FLAGS if flag in flags]}


def cores() -> int:
    """Logical cores that this process may use, within its container's quota; one at least."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = container.cpu_quota()
    return allowed if quota is None else max(1, min(allowed, int(quota)))


@functools.cache
def memory_bytes() -> int:
    """Memory that this process may use, in bytes: the machine's, or its container's limit."""
    import psutil

    limits = (int(psutil.virtual_memory().total), container.memory_limit())
    return min(limit for limit in limits if limit is not None)


def in_parts(sizes: Sequence[int], room: float) -> list[slice]:
    """Neighbours in as few parts as fit into `room` bytes each; what is larger by itself is a part, too."""
    parts, first, total = [], 0, 0
    for at, size in enumerate(sizes):
        if at > first and total + size > room:
            parts.append(slice(first, at))
            first, total = at, 0
        total += size
    return [*parts, slice(first, len(sizes))]


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


def git(folder: Path, *arguments: str) -> str:
    """What git answers, or nothing where there is no checkout, no git, or no answer.

    Where there is a checkout that git does not read (it belongs to somebody else, say), git's reason is
    a warning, once.
    """
    done = _run_git(folder, *arguments)
    return done.stdout.strip() if _is_read(folder) and done.returncode == 0 else ""


def _run_git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=10,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


@functools.cache
def _is_read(folder: Path) -> bool:
    done = _run_git(folder, "rev-parse", "--git-dir")
    if done.returncode and (folder / ".git").exists() and os.environ.get(_SAID) != str(folder):
        reason = " ".join(done.stderr.split("To add an exception")[0].split())
        log.warning(
            "git does not read the checkout %s (%s): results and pages will not say their commit, and pages "
            "have no launch buttons; if you trust it: git config --global --add safe.directory %s",
            folder,
            reason,
            folder,
        )
        os.environ[_SAID] = str(folder)
    return not done.returncode


@functools.cache
def commit(folder: Path | None = None) -> str:
    """The commit of the source tree that holds the package, with `+changes` when files differ from it.

    Tables under `results/` do not count: a command that keeps more of them writes there, and what reads them
    has their hash in its key. `"unknown"` for an installation that is not a git checkout.
    """
    where = folder or Path(__file__).resolve().parents[2]
    head = git(where, "rev-parse", "HEAD")
    but_kept = ("--", ":/", ":(exclude,top)results")
    changed = head and git(where, "status", "--porcelain", "--untracked-files=no", *but_kept)
    return f"{head[:12]}{'+changes' if changed else ''}" or "unknown"


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
