"""What OpenCV computes once in a process, ahead of the first picture."""

from __future__ import annotations

from functools import cache
from threading import Thread

import numpy as np

from geoseg_tools.classical import ops


@cache
def prepare() -> Thread:
    """Have OpenCV make its tables of Lab colours, which takes it a seventh of a second, while the caller goes on.

    Whoever converts a colour meanwhile waits for them.

    Returns:
        The thread that makes them, the same one at every call.
    """
    thread = Thread(target=ops.lab, args=(np.zeros((1, 1, 3), np.float32),), name="opencv-tables")
    thread.start()
    return thread
