"""Memory that was freed, given back to the system: for processes that answer for hours."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> bool:
    """Give back what the C library keeps of freed memory; whether there was a way to.

    glibc keeps freed blocks of some megabytes in its heap, and arrays of many sizes leave gaps there that the next
    ones do not fit: without this a process of the offline tools grows by a quarter of a megabyte an image. It takes
    milliseconds. Other C libraries have no such call.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is None:
        return False
    trim(0)
    return True
