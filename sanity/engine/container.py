"""The limits of the container or job that this process runs in: its control groups, of version 1 or 2.

A limit may stand at any level: at the process's own group, or at one above it. In a container the path of the
group is often the host's, and only the top is there to be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


def memory_limit() -> int | None:
    """The lowest limit of memory, in bytes; `None` without one."""
    found = [*_numbers("memory", "memory.limit_in_bytes"), *_numbers("", "memory.max")]
    return min((int(value) for (value,) in found), default=None)


def cpu_quota() -> float | None:
    """The lowest limit of processor time, in cores; `None` without one."""
    first = zip(_numbers("cpu", "cpu.cfs_quota_us"), _numbers("cpu", "cpu.cfs_period_us"), strict=False)
    found = [*((quota, period) for (quota,), (period,) in first), *_numbers("", "cpu.max")]
    return min((quota / period for quota, period in found if quota > 0 and period > 0), default=None)


def _numbers(controller: str, name: str) -> Iterator[list[float]]:
    """The numbers in the files `name` of all levels; a level that says "max" has no limit and gives none."""
    for folder in _levels(controller):
        try:
            yield [float(word) for word in (folder / name).read_text("ascii").split()]
        except (OSError, ValueError):
            continue


def _levels(controller: str) -> Iterator[Path]:
    """The group's folder and those above it, of a controller of version 1, or of version 2 for ""."""
    try:
        groups = (ROOT / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    top = ROOT / "sys/fs/cgroup" / controller if controller else _unified()
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            own = top / path.strip("/")
            yield from (level for level in (own, *own.parents) if level.is_relative_to(top))


def _unified() -> Path:
    """Where version 2 is mounted: below version 1 on hosts that have both."""
    both = ROOT / "sys/fs/cgroup/unified"
    return both if both.is_dir() else ROOT / "sys/fs/cgroup"
