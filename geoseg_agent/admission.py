"""The gate: the one place where a query waits, is turned away, or runs out of time.

Shedding happens here and never later, because behind the gate a model call may already be paid for.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from geoseg_agent.errors import ConfigError, DeadlineExceeded, Overloaded, QueryError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractContextManager


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
        self._clocks: set[asyncio.Timeout] = set()
        self._empty = asyncio.Event()
        self._closed = False

    @asynccontextmanager
    async def enter(self, deadline: float | None) -> AsyncIterator[Callable[[], AbstractContextManager[None]]]:
        """Hold a place for the block, which may take `deadline` seconds from its admission (None: any time).

        Time spent waiting for a place does not count; bound it with `max_queued`, or from outside. Nor does time
        spent in the context that the block is given a function for.

        Raises:
            Overloaded: `max_queued` queries wait already; raised at once, before anything is paid.
            DeadlineExceeded: the block took too long; it was cancelled.
            ConfigError: the gate was closed before or meanwhile.
            QueryError: the deadline is no number of seconds above 0.
        """
        _check(deadline)
        await self._admit()
        if self._closed:
            self._places.release()
            raise closed()
        self.running += 1
        self._empty.clear()
        clock = asyncio.timeout(deadline)
        self._clocks.add(clock)
        try:
            async with clock:
                yield partial(self._stopped, clock)
        except TimeoutError as error:
            if not clock.expired():
                raise
            if self._closed:
                raise closed() from error
            raise DeadlineExceeded(
                f"the query took longer than its deadline of {deadline:g} s",
                hint="raise GEOSEG_DEADLINE, or pass deadline=... seconds",
            ) from error
        finally:
            self._clocks.discard(clock)
            self.running -= 1
            if not self.running:
                self._empty.set()
            self._places.release()

    @contextmanager
    def _stopped(self, clock: asyncio.Timeout) -> Iterator[None]:
        """Stop the clock while the block runs; closing the gate still ends it."""
        loop, end = asyncio.get_running_loop(), clock.when()
        left = None if end is None else end - loop.time()
        clock.reschedule(None)
        try:
            yield
        finally:
            if left is not None and not self._closed:
                clock.reschedule(loop.time() + left)

    async def close(self) -> None:
        """End every block, wait until they have ended, and admit nobody any more; safe to call twice."""
        self._closed = True
        now = asyncio.get_running_loop().time()
        for clock in self._clocks:
            with suppress(RuntimeError):  # its time is up already
                clock.reschedule(now)
        while self.running:
            await self._empty.wait()

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


def _check(deadline: float | None) -> None:
    # A wrong type must not be found out where a place is held already: it would never be given back.
    number = isinstance(deadline, int | float) and not isinstance(deadline, bool)
    if deadline is not None and not (number and math.isfinite(deadline) and deadline > 0):
        raise QueryError(
            f"the deadline is a number of seconds above 0, got {deadline!r}",
            hint="pass deadline=30, or leave it out for that of the settings",
        )


def closed() -> ConfigError:
    """What a query ends with when its Agent is closed."""
    return ConfigError("this Agent is closed", hint="ask inside its `async with` block, or make a new one")
