"""Tiles are encoded one after the other, asked everything that is wanted of them by then, and let go."""

from __future__ import annotations

import asyncio
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from geoseg_agent.seams import Toolbox
    from geoseg_tools.crop import Crop

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Job:
    """Something to ask of an encoded tile, in the context of who wants it, so that its time counts there."""

    ask: Callable[[Any], Awaitable[Any]]
    answer: asyncio.Future[Any]
    context: Context = field(default_factory=copy_context)

    async def run(self, handle: Any) -> None:
        if self.answer.done():  # nobody waits for it any more
            return
        try:
            answer = await self.ask(handle)
        except Exception as error:  # noqa: BLE001 - it goes to who asked
            self.fail(error)
        else:
            if not self.answer.done():
                self.answer.set_result(answer)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # who asked may be gone by now, and then nobody looks at it


class Visits:
    """The encoded tiles of one region, `most` of them at a time.

    A tile is visited when something is wanted of it, in the order of asking; what else is wanted of it by then, or
    while it is visited, is asked at the same visit.

    Args:
        tools: encode and answer.
        crops: the tiles.
        most: encoded tiles alive, >= 1.

    Attributes:
        count: visits so far.
    """

    def __init__(self, tools: Toolbox, crops: Sequence[Crop], most: int) -> None:
        self.count = 0
        self._tools = tools
        self._crops = crops
        self._most = most
        self._jobs: dict[int, list[_Job]] = {}
        self._open: set[int] = set()
        self._workers: set[asyncio.Task[None]] = set()

    async def ask(self, number: int, ask: Callable[[Any], Awaitable[T]]) -> T:
        """What `ask` gives for the handle of tile `number`.

        Raises:
            GeoSegError: as the tools.
        """
        job = _Job(ask, asyncio.get_running_loop().create_future())
        self._jobs.setdefault(number, []).append(job)
        if len(self._workers) < self._most:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        answer: T = await job.answer
        return answer

    async def aclose(self) -> None:
        """End what is under way, and leave no task behind."""
        workers = [*self._workers]
        for worker in workers:
            worker.cancel()
        if workers:
            await asyncio.wait(workers)
        for jobs in self._jobs.values():
            for job in jobs:
                job.answer.cancel()

    async def _work(self) -> None:
        while (number := next((n for n in self._jobs if n not in self._open), None)) is not None:
            jobs = self._jobs.pop(number)
            self._open.add(number)
            try:
                await asyncio.create_task(self._visit(number, jobs), context=jobs[0].context)
            finally:
                self._open.discard(number)

    async def _visit(self, number: int, jobs: list[_Job]) -> None:
        if all(job.answer.done() for job in jobs):
            return
        self.count += 1
        try:
            async with self._tools.encode(self._crops[number]) as handle:
                while jobs:
                    async with asyncio.TaskGroup() as group:
                        for job in jobs:
                            group.create_task(job.run(handle), context=job.context)
                    jobs = self._jobs.pop(number, [])
        except Exception as error:  # noqa: BLE001 - it goes to who asked
            for job in jobs:
                job.fail(error)
