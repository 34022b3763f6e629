"""How the C library's allocator treats the blocks that a step takes and gives back."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of mallopt(3)
_LARGEST_MAPPED = 32 << 20
_KEPT = 256 << 20
_OWN_SETTINGS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "LD_PRELOAD")


@cache
def keep_freed_blocks() -> None:
    """Keep up to 256 MiB of freed memory in the process for the next allocation.

    By default glibc returns and maps afresh what a backward pass frees and takes, and each page faults when
    it is first written: 90 000 faults, 0.25 s of a measured step of ResNet-110 at B = 32, which no second
    thread shortens (docs/cost.md). It is a setting of the whole process and stays, so a program asks for it,
    never a recorder: `fisherscope train`, `sweep` and `bench` do. Once a process; where the allocator is not
    glibc's, or the user has set these thresholds, nothing is changed.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _OWN_SETTINGS):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_MAPPED)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)
