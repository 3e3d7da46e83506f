"""Freed memory stays with the process: an update needs all of it again."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Names of settings in glibc's malloc.h."""
LARGEST_TRIM_THRESHOLD = 2**31 - 1
THRESHOLDS_FOR_MAPS = (2**30, 2**25)
"""In bytes, the best first; some versions take no more than the second."""


def keep_freed_memory() -> bool:
    """Tells glibc to keep freed memory for what is allocated next; returns whether it does.

    By itself it takes large blocks from the system at each allocation and returns them when they
    are freed, and the system fills every page with zeros anew: for the activations of an update,
    all of them, every time. Other C libraries are left alone.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    is_kept = any(mallopt(M_MMAP_THRESHOLD, size) == 1 for size in THRESHOLDS_FOR_MAPS)
    return is_kept and mallopt(M_TRIM_THRESHOLD, LARGEST_TRIM_THRESHOLD) == 1
