"""One run of a job for all who ask for it at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

T = TypeVar("T")


class Together(Generic[T]):
    """Starts a job with the first caller and hands its result to all who come before it ends.

    A caller who is cancelled leaves the others alone; when the last one leaves, the job is cancelled.
    """

    def __init__(self, job: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._job = job
        self._running: _Run[T] | None = None

    @property
    def idle(self) -> bool:
        """Whether nobody waits."""
        return self._running is None

    async def result(self) -> T:
        """What the job returns, or raises: to each caller the very same value or error."""
        run = self._running
        if run is None or run.task.done():
            run = self._running = _Run(asyncio.get_running_loop().create_task(self._job()))
        run.waiting += 1
        try:
            return await asyncio.shield(run.task)
        finally:
            run.waiting -= 1
            if run.waiting == 0:
                # Nobody may join a job that is being cancelled.
                if self._running is run:
                    self._running = None
                run.task.cancel()

    async def aclose(self) -> None:
        """Cancel the job and wait until it has ended; safe to call twice."""
        run, self._running = self._running, None
        if run is not None:
            run.task.cancel()
            await asyncio.wait([run.task])


class _Run(Generic[T]):
    def __init__(self, task: asyncio.Task[T]) -> None:
        self.task = task
        self.waiting = 0
