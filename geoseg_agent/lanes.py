"""One thread and one queue per model instance, so that no instance is ever entered twice.

SAM3 keeps features of the current image on a shared predictor: two threads on one instance give wrong masks
without any error. A lane runs its jobs in order of arrival; a job cancelled before it starts is never run.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class Timing:
    """Seconds spent in lanes on behalf of one call."""

    waited: float = 0.0
    took: float = 0.0


_timing: ContextVar[Timing | None] = ContextVar("lane_timing", default=None)


@contextmanager
def timed() -> Iterator[Timing]:
    """Collect what the lanes used inside the block spend, waiting and running."""
    timing = Timing()
    token = _timing.set(timing)
    try:
        yield timing
    finally:
        _timing.reset(token)


def stood_in_line(seconds: float) -> None:
    """Count seconds that the call around this one waited for work that another call had asked for."""
    timing = _timing.get()
    if timing is not None:
        timing.waited += seconds


class Lane:
    """A thread with a FIFO queue; the thread starts with the first job."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"geoseg-{name}")

    async def run(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the job on the lane's thread, after those that came before it.

        Cancelling the caller takes a job that has not started out of the queue; one that runs finishes unseen.
        """
        timing = _timing.get()
        queued = perf_counter()

        def measured() -> T:
            started = perf_counter()
            try:
                return job(*args, **kwargs)
            finally:
                if timing is not None:
                    timing.waited += started - queued
                    timing.took += perf_counter() - started

        return await asyncio.get_running_loop().run_in_executor(self._pool, measured)

    def close(self) -> None:
        """Drop what is queued and let the thread end; safe to call twice."""
        self._pool.shutdown(wait=False, cancel_futures=True)
