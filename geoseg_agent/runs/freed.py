"""Memory that goes back to the system when it is freed: for processes that answer for hours."""

from __future__ import annotations

import ctypes
import sys

_MMAP_THRESHOLD = -3
"""M_MMAP_THRESHOLD of mallopt(3)."""

LARGE = 128 << 10
"""Bytes from which a block of memory is one of its own."""


def keep_large_blocks_apart() -> bool:
    """Let the C library map every large block on its own, for this process; whether there was a way to.

    glibc starts so, and then learns to keep what is freed, up to 32 MiB a block, in its heap. Arrays of ever other
    sizes leave gaps there that the next ones do not fit: a process of the offline tools grew by 0.15 MiB an image,
    without end in sight. Other C libraries have no such call.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and bool(mallopt(_MMAP_THRESHOLD, LARGE))
