"""Memory that is wanted again at once, kept by the process instead of given back in between.

The C library returns large blocks to the system as soon as they are freed. A training step frees its
pre-activations and asks for them again: the system then clears thousands of pages in every step, up to
a quarter of the step's time.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mmap
import os
import platform
import threading
from collections.abc import Iterator
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
_USUAL = {_MMAP_THRESHOLD: 1 << 25, _TRIM_THRESHOLD: 1 << 26}
"""Where glibc's own thresholds, which move, end in a process that works with large arrays."""
_DONTNEED = 4  # madvise(2)
_SET_BY_THE_READER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


class _Keeping:
    """How many blocks of this process are inside `memory_kept`; several threads may be."""

    depth = 0
    lock = threading.Lock()


@contextlib.contextmanager
def memory_kept() -> Iterator[None]:
    """Keep freed memory, up to blocks of 1 GB, and give it back at the end; elsewhere than on glibc, nothing.

    Who has set glibc's thresholds by its environment variables keeps them.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    with _Keeping.lock:
        _Keeping.depth += 1
        if _Keeping.depth == 1:
            # Older versions refuse blocks of more than 32 MB, and then keep what they have.
            libc.mallopt(_MMAP_THRESHOLD, _USUAL[_MMAP_THRESHOLD])
            libc.mallopt(_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
    try:
        yield
    finally:
        with _Keeping.lock:
            _Keeping.depth -= 1
            if _Keeping.depth == 0:
                for option, value in _USUAL.items():
                    libc.mallopt(option, value)
                libc.malloc_trim(0)
                _give_back_the_end(libc)


class _Counts(ctypes.Structure):
    """mallinfo2(3)."""

    _fields_ = [(f"count_{n}", ctypes.c_size_t) for n in range(9)] + [("end", ctypes.c_size_t)]


def _give_back_the_end(libc: Any) -> None:
    """Give back the heap's last block, left by `malloc_trim` where something lies behind the heap."""
    if not hasattr(libc, "mallinfo2"):  # before glibc 2.33
        return
    libc.mallinfo2.restype = _Counts
    size = libc.mallinfo2().end - mmap.PAGESIZE
    if size < _USUAL[_MMAP_THRESHOLD]:
        return
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    libc.free.argtypes, libc.free.restype = [ctypes.c_void_p], None
    block = libc.malloc(size)
    if block:
        begin = -(-block // mmap.PAGESIZE) * mmap.PAGESIZE
        pages = (block + size - begin) // mmap.PAGESIZE * mmap.PAGESIZE
        libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(pages), _DONTNEED)
        libc.free(block)


@functools.cache
def _glibc() -> Any:
    """The C library of this process if it is glibc and follows its usual settings, else None."""
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in _SET_BY_THE_READER):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
