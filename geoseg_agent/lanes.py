"""One thread and one queue per model instance, so that no instance is ever entered twice.

SAM3 keeps features of the current image on a shared predictor: two threads on one instance give wrong masks
without any error. A lane runs its jobs in order of arrival; a job cancelled before it starts is never run.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

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


@dataclass(slots=True)
class _Turn:
    """One job in the queue of a lane."""

    timing: Timing
    queued: float
    taken: bool = False

    def take(self, job: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        """Do the job, on the lane's thread."""
        self.taken = True
        started = perf_counter()
        self.timing.waited += started - self.queued
        try:
            return job(*args, **kwargs)
        finally:
            self.timing.took += perf_counter() - started


def stood_in_line(seconds: float) -> None:
    """Count seconds that the call around this one waited for work that another call had asked for."""
    timing = _timing.get()
    if timing is not None:
        timing.waited += seconds


def apart() -> Context:
    """A context with nothing of the caller's but its timing, for a task that outlives the caller.

    A task keeps its context as long as it is kept, and the context of a query holds its picture.
    """
    context = Context()
    context.run(_timing.set, _timing.get())
    return context


class Lane:
    """A thread with a FIFO queue; the thread starts with the first job."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"geoseg-{name}")

    async def run(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the job on the lane's thread, after those that came before it.

        Cancelling the caller takes a job that has not started out of the queue; one that runs finishes unseen.
        """
        turn = _Turn(_timing.get() or Timing(), perf_counter())
        try:
            # No closure: the traceback of an error keeps a closure's variables, and nothing can clear them.
            return await asyncio.get_running_loop().run_in_executor(self._pool, turn.take, job, args, kwargs)
        finally:
            if not turn.taken:
                turn.timing.waited += perf_counter() - turn.queued

    def close(self) -> None:
        """Drop what is queued and let the thread end; safe to call twice."""
        self._pool.shutdown(wait=False, cancel_futures=True)
