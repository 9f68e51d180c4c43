"""Freed memory stays with the process inside `memory_kept`, and is given back after it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import textwrap

import psutil
import pytest
import torch

from sanity.engine.memory import memory_kept

resource = pytest.importorskip("resource", reason="page faults are counted on Unix")
on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")

BLOCK = 50_000_000
PAGES = BLOCK // os.sysconf("SC_PAGE_SIZE")


def faults() -> int:
    """Pages that the system cleared for a block that is asked for and freed four times."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(BLOCK, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def fewest() -> int:
    """Of some rounds: the first may find no place of that size, or one that something small lies in."""
    return min(faults() for _ in range(4))


@on_glibc
def test_a_block_that_is_asked_for_again_is_not_cleared_again() -> None:
    with memory_kept():
        with memory_kept():
            assert fewest() < PAGES / 10
        assert fewest() < PAGES / 10, "the inner block ended nothing"


@on_glibc
def test_the_system_has_it_back_at_the_end() -> None:
    process = psutil.Process()
    with memory_kept():
        torch.ones(4 * BLOCK, dtype=torch.uint8)
        inside = process.memory_info().rss
    assert process.memory_info().rss < inside - 3 * BLOCK


@on_glibc
def test_it_has_it_back_where_the_heap_cannot_grow() -> None:
    """As in a process with many libraries: the C library leaves the end of a heap that lies elsewhere."""
    script = textwrap.dedent(
        """
        import ctypes, mmap, psutil, torch
        from sanity.engine.memory import memory_kept
        libc = ctypes.CDLL(None)
        libc.sbrk.restype = libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        behind = -(-libc.sbrk(0) // mmap.PAGESIZE) * mmap.PAGESIZE
        private, anonymous, in_this_place = 0x02, 0x20, 0x100000
        assert libc.mmap(behind, mmap.PAGESIZE, 0, private | anonymous | in_this_place, -1, 0) == behind
        for _ in range(3):
            with memory_kept():
                torch.ones(200_000_000, dtype=torch.uint8)
                inside = psutil.Process().memory_info().rss
            given_back = inside - psutil.Process().memory_info().rss
            assert given_back > 150_000_000, given_back
        """
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_settings_of_the_reader_stay_and_other_systems_have_nothing_to_set() -> None:
    script = textwrap.dedent(
        """
        import platform
        from sanity.engine import memory
        assert memory._glibc() is None
        with memory.memory_kept():
            pass
        """
    )
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "100000"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    elsewhere = "import platform; platform.libc_ver = lambda: ('musl', '')\n" + script
    subprocess.run([sys.executable, "-c", elsewhere], check=True)
