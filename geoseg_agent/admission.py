"""The gate: the one place where a query waits, is turned away, or runs out of time.

Shedding happens here and never later, because behind the gate a model call may already be paid for.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from geoseg_agent.errors import DeadlineExceeded, Overloaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Gate:
    """Admits `max_running` queries at a time, in order of arrival.

    Args:
        max_running: how many run at once.
        max_queued: how many may wait; None for any number. One more is refused with `Overloaded`.
    """

    def __init__(self, max_running: int, max_queued: int | None = None) -> None:
        self.max_running = max_running
        self.max_queued = max_queued
        self.running = 0
        self.waiting = 0
        self._places = asyncio.Semaphore(max_running)

    @asynccontextmanager
    async def enter(self, deadline: float | None) -> AsyncIterator[None]:
        """Hold a place for the block, which may take `deadline` seconds from its admission (None: any time).

        Time spent waiting for a place does not count; bound it with `max_queued`, or from outside.

        Raises:
            Overloaded: `max_queued` queries wait already; raised at once, before anything is paid.
            DeadlineExceeded: the block took too long; it was cancelled.
        """
        await self._admit()
        self.running += 1
        clock = asyncio.timeout(deadline)
        try:
            async with clock:
                yield
        except TimeoutError as error:
            if not clock.expired():
                raise
            raise DeadlineExceeded(
                f"the query took longer than its deadline of {deadline:g} s",
                hint="raise GEOSEG_DEADLINE, or pass deadline=... seconds",
            ) from error
        finally:
            self.running -= 1
            self._places.release()

    async def _admit(self) -> None:
        if self._places.locked() and self.max_queued is not None and self.waiting >= self.max_queued:
            raise Overloaded(
                f"{self.running} queries run and {self.waiting} wait already (max_queued {self.max_queued})",
                hint="try again later, or raise GEOSEG_MAX_RUNNING or GEOSEG_MAX_QUEUED",
            )
        self.waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.waiting -= 1
