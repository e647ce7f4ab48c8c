"""How the C library keeps the memory that a step on a CPU gives back.

A step takes and frees the same hundreds of megabytes each time. glibc hands large blocks
back to the system at once, which then clears every page of them anew: for the 270M on 256
tokens 124,000 page faults a step of XLA's, a fifth of its time. Here it keeps them instead,
so that a process holds what its largest step took. Elsewhere than on glibc, and where the
user has set its allocator up, nothing happens.
"""

import ctypes
import os
import platform

# Parameters of mallopt(3), from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_NEVER = 2**31 - 1


def share_one_heap() -> None:
    """Let all threads of this process allocate from one heap.

    Call it before the threads start. A heap of a thread's own has no room for large blocks,
    so that `keep_freed_blocks` would not reach what XLA's threads take.
    """
    _set((_ARENA_MAX, 1))


def keep_freed_blocks() -> None:
    """Never give freed memory back to the system in this process, from now on."""
    _set((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER))


def _set(*values: tuple[int, int]) -> None:
    theirs = any(name.startswith("MALLOC_") for name in os.environ)
    if theirs or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        for name, value in values:
            library.mallopt(name, value)
