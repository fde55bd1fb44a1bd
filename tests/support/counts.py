"""What a process holds, in numbers, to see whether it grows."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
from pathlib import Path

Counts = dict[str, int]


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(f"field{index}", ctypes.c_size_t) for index in range(10)]


def heap_nbytes() -> int:
    """Return the bytes of C's heap in use; 0 where the C library does not tell."""
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is None:
        return 0
    mallinfo2.restype = _Mallinfo2
    found = mallinfo2()
    return int(found.field7) + int(found.field4)  # uordblks and hblkhd: in use in arenas, and mapped


def counts() -> Counts:
    """Return descriptors, mapped files, threads, Python's blocks and the bytes of C's heap."""
    gc.collect()
    mappings = sum("/" in line for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines())
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "mapped files": mappings,
        "threads": threading.active_count(),
        "blocks": sys.getallocatedblocks(),
        "heap": heap_nbytes(),
    }
