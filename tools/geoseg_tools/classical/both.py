"""Two jobs side by side: OpenCV, scipy and most of numpy let other threads run while they compute."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

A = TypeVar("A")
B = TypeVar("B")


def both(here: Callable[[], A], beside: Callable[[], B], threads: int = 2) -> tuple[A, B]:
    """What two jobs that know nothing of each other return: on two threads, or on one the one after the other."""
    if threads == 1:
        return here(), beside()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(beside)
        return here(), other.result()
