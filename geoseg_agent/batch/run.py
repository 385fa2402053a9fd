"""A batch: every item is answered once, whatever interrupts it.

A batch that goes on takes what is there: lines first; then traces that have ended, of which the line is made; then
traces that were interrupted, whose paid replies are taken and never asked for again. Only what is left is asked. The
same is done for an item whose worker died. The source is read lazily and never kept; the only writer is this process.
"""

from __future__ import annotations

import asyncio
import os
from array import array
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from geoseg_agent.backends import asks_model, model_endpoint, toolbox_of
from geoseg_agent.batch.engines import Task, WorkerLost
from geoseg_agent.batch.folder import BatchFolder, left_over
from geoseg_agent.batch.items import Item, Refused, items_of
from geoseg_agent.batch.outcome import failed, outcome_of
from geoseg_agent.batch.plan import PART, BatchPlan, Save, list_items
from geoseg_agent.errors import DatasetError, first_error
from geoseg_agent.lanes import Lane
from geoseg_agent.runs.failure import Failure
from geoseg_agent.runs.lent import BROKEN, GIVE_UP, gave_up
from geoseg_agent.runs.same_model import check_model, prompt_said
from geoseg_agent.runs.tally import Pace
from geoseg_agent.trace.resume import paid_replies

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from geoseg_agent.batch.engines import Engine
    from geoseg_agent.batch.items import Asks
    from geoseg_agent.batch.plan import Listing
    from geoseg_agent.batch.results import Answered, ItemResult
    from geoseg_agent.batch.sources import Source
    from geoseg_agent.runs.tally import Tally
    from geoseg_agent.settings import Settings
    from geoseg_agent.trace.model import ErrorRecord, Trace

LOST: Final = "worker_lost"
TRIES: Final = 3
"""Times an item is given out whose worker dies: an image that kills every worker is a failure like any other."""


async def run(
    source: Source,
    queries: Sequence[str],
    folder: Path,
    settings: Settings,
    engine: Engine,
    *,
    save: Save = "none",
    retry: bool = False,
    part: int = PART,
    refused: Callable[[Refused], None] = lambda _: None,
    told: Callable[[Tally], None] = lambda _: None,
) -> BatchFolder:
    """Answer every item that has no line in `folder` yet.

    Args:
        source: of the images.
        queries: each is put to every image whose row names none; as a `Query` has them.
        folder: of the batch; made where it is not there.
        settings: traces go into the folder, whatever they say of it.
        engine: who answers; not started yet, and closed here.
        save: which files are written for each answer.
        retry: ask again what failed before.
        part: items whose traces share a folder; of a batch that goes on, what it was begun with.
        refused: is told of every record that cannot be used, before that is an error.
        told: is given the tally when the asking begins and after each result.

    Raises:
        DatasetError: the source is malformed, the folder holds another batch, or cannot be written.
        ConfigError: a backend cannot be had as configured.
        EndpointError, ToolFailed: `GIVE_UP` items in a row failed so; the first time, that does not count.
        TraceError: a trace that no line was made of is damaged.
    """
    io = Lane("batch-files")
    try:
        listing = await io.run(list_items, source, queries, refused=refused)
        tools = toolbox_of(settings)
        method = settings.method(dict(tools.defaults)).as_dict()
        await tools.aclose()
        where = source.path if source.pattern is None else source.path / source.pattern
        plan = BatchPlan(
            source=str(where),
            kind=source.kind,
            roots=(source.root,),
            asset=source.asset,
            items=len(listing.names),
            digest=listing.digest,
            queries=tuple(queries),
            save=save,
            part=part,
            settings=settings.recorded(),
            method=method,
            prompt=prompt_said(settings),
        )
        batch = await io.run(BatchFolder, folder, plan)
        try:
            await _Batch(batch, source, listing, settings, engine, io, told).go(retry=retry)
        finally:
            batch.close()
    finally:
        await engine.aclose()
        io.close()
    return batch


class _Known(NamedTuple):
    """What the lines of a batch say of it when it is begun.

    Attributes:
        done: (items + 1,) bool, by number.
        failed: how many of those failed.
        used: sorted uint64, a digest of every trace that a line was made of.
        again: by number of an item that is asked anew, the trace of its last failure.
    """

    done: np.ndarray[tuple[int], np.dtype[np.bool_]]
    failed: int
    used: np.ndarray[tuple[int], np.dtype[np.uint64]]
    again: dict[int, str]


class _Batch:
    def __init__(
        self,
        folder: BatchFolder,
        source: Source,
        listing: Listing,
        settings: Settings,
        engine: Engine,
        io: Lane,
        told: Callable[[Tally], None],
    ) -> None:
        self.folder, self.source, self.listing, self.settings = folder, source, listing, settings
        self.engine, self.io, self.told = engine, io, told
        self.total = len(listing.names)
        self.pace = Pace(self.total)
        self.done = self.failed = 0
        self.streak: list[ItemResult] = []
        self.starting, self.started = asyncio.Lock(), False
        self.keeping, self.gave_up = asyncio.Lock(), False

    async def go(self, *, retry: bool) -> None:
        if retry:
            await self.io.run(self.folder.retire, lambda result: result.status == "failed")
        self.known = await self.io.run(self._read)
        self.done, self.failed = int(self.known.done.sum()), self.known.failed
        self.told(self.pace.tally(self.done, self.failed))
        if self.done == self.total:
            return
        if asks_model(self.settings) and self.folder.results.exists():
            await self._check_model()
        tasks, turn = self._tasks(), asyncio.Lock()

        async def work() -> None:
            while True:
                async with turn:
                    task = await anext(tasks, None)
                if task is None:
                    return
                await self._keep(await self._answered(task))

        with first_error():
            async with asyncio.TaskGroup() as group:
                for _ in range(max(1, self.engine.at_once)):
                    group.create_task(work())

    async def _start(self) -> None:
        """Load the models with the first task, for traces alone may make the rest of the lines."""
        async with self.starting:
            if not self.started:
                await self.engine.start()
                self.pace.start()
                self.started = True

    def _read(self) -> _Known:
        done = np.zeros(self.total + 1, dtype=np.bool_)
        failures, used = 0, array("Q")
        again: dict[int, str] = {}
        for result in self.folder.done():
            if result.number > self.total or done[result.number]:
                raise DatasetError(f"{self.folder.results} has two lines for item {result.number}, or one too many")
            done[result.number] = True
            failures += result.status == "failed"
            if result.trace is not None:
                used.append(hash_of(result.trace))
        for result in self.folder.retired_before():
            again[result.number] = max(again.get(result.number, ""), result.trace or "")
            if result.trace is not None:
                used.append(hash_of(result.trace))
        return _Known(done, failures, np.sort(np.array(used, dtype=np.uint64)), again)

    def _is_used(self, trace_id: str) -> bool:
        at = int(np.searchsorted(self.known.used, np.uint64(hash_of(trace_id))))
        return at < len(self.known.used) and int(self.known.used[at]) == hash_of(trace_id)

    async def _check_model(self) -> None:
        lines = await self.io.run(lambda: list(islice(self.folder.done(), 20)))
        traces = [self.folder.traces(self.folder.part(one.number)) / f"{one.trace}.json" for one in lines]
        endpoint = model_endpoint(self.settings)
        try:
            await check_model(endpoint, self.settings, self.folder.path, traces, self.io)
        finally:
            await endpoint.aclose()

    async def _tasks(self) -> AsyncIterator[Task]:
        """What is left to ask, a part of the batch after the other."""
        items = items_of(self.source.rows(), self.folder.plan.queries)
        count = part = 0
        while chunk := await self.io.run(lambda: list(islice(items, self.folder.plan.part))):
            for item in chunk:
                if isinstance(item, Refused) or not self.listing.holds(item):
                    where = item.where if isinstance(item, Refused) else item.row.where
                    raise DatasetError(
                        f"{self.source.path} changed while it was read: {where}",
                        hint="start the same command again once nobody writes to it",
                    )
            count += len(chunk)
            waiting = {
                item.number: item for item in chunk if isinstance(item, Item) and not self.known.done[item.number]
            }
            begun = await self._take_up(part, waiting) if waiting else {}
            for number, item in waiting.items():
                yield self._task(item, begun.get(number))
            part += 1
        if count != self.total:
            raise DatasetError(f"{self.source.path} changed while it was read: it ends after {count} items")

    def _task(self, item: Item, begun: str | None) -> Task:
        part = self.folder.part(item.number)
        files = self.folder.path / "items" / f"{part:05d}" / f"{item.number:07d}-{_plain(item)}"
        traces = self.folder.traces(part)
        path = None if begun is None else str(traces / f"{begun}.json")
        return Task(item, str(traces), path, str(self.folder.path), str(files), self.folder.plan.save)

    async def _take_up(self, part: int, waiting: dict[int, Item]) -> dict[int, str]:
        """Make lines of traces that have ended, and find those of killed queries whose replies were paid for.

        Args:
            part: of the batch.
            waiting: its items without a line, by number; those that get one here leave it.

        Returns:
            The trace to go on from, by number of the item.
        """
        wanted = {item.asks: item for item in waiting.values()}
        places = await self.io.run(self._places, part, list(waiting.values()))
        traces = left_over(self.folder, part, self._is_used)
        begun: dict[int, tuple[int, str]] = {}
        while (trace := await self.io.run(next, traces, None)) is not None:
            item = next((wanted[key] for key in self._asked(trace, places) if key in wanted), None)
            if item is None or item.number not in waiting:
                continue
            if trace.status != "interrupted" and self.folder.plan.save == "none" and not _is_broken(trace.error):
                del waiting[item.number]
                await self._keep(await self.io.run(outcome_of, item, trace), fresh=False)
            # A failure of endpoint or tools may have ended the batch, and has no line for that. What was interrupted
            # before a failure that is asked anew has led to that failure.
            elif trace.id > self.known.again.get(item.number, "") and (paid := paid_replies(trace)):
                begun[item.number] = max(begun.get(item.number, (0, "")), (paid, trace.id))
        return {number: trace_id for number, (_, trace_id) in begun.items()}

    def _places(self, part: int, items: list[Item]) -> dict[str, list[str]]:
        """By path as a trace has it, what the images of these items are called; none where nothing was left."""
        places: dict[str, list[str]] = {}
        if self.folder.traces(part).is_dir():
            for item in items:
                places.setdefault(os.path.realpath(item.row.path), []).append(item.row.name)
        return places

    def _asked(self, trace: Trace, places: dict[str, list[str]]) -> list[Asks]:
        """What `Item.asks` may be of the item that a trace is of, wherever the source lay then."""
        path, hints = trace.image.path or "", trace.hints
        moved = [os.path.relpath(path, root).replace(os.sep, "/") for root in self.folder.plan.roots] if path else []
        box = None if hints.box is None else tuple(hints.box)
        return [(name, trace.query, box, hints.phrase) for name in (*places.get(path, ()), *moved)]

    async def _answered(self, task: Task) -> Answered:
        if task.item.row.fault is not None:
            return failed(task.item, task.item.row.fault)
        await self._start()
        said = ""
        for _ in range(TRIES):
            try:
                return await self.engine.answer(task)
            except WorkerLost as lost:
                said = str(lost)
                found = await self.io.run(self._left_by, task.item)
                if isinstance(found, str):
                    task = self._task(task.item, found)
                elif found is not None:
                    return found
        return failed(task.item, Failure(code=LOST, message=f"{TRIES} workers died of it, the last with: {said}"))

    def _left_by(self, item: Item) -> Answered | str | None:
        """What a dead worker left of an item: its answer, or the trace to go on from, or nothing."""
        best: tuple[int, str] | None = None
        part = self.folder.part(item.number)
        places = self._places(part, [item])
        for trace in left_over(self.folder, part, self._is_used):
            if item.asks not in self._asked(trace, places):
                continue
            if trace.status != "interrupted" and self.folder.plan.save == "none":
                return outcome_of(item, trace)
            if trace.id > self.known.again.get(item.number, "") and (paid := paid_replies(trace)):
                best = max(best or (0, ""), (paid, trace.id))
        return best and best[1]

    async def _keep(self, answered: Answered, *, fresh: bool = True) -> None:
        broken = _is_broken(answered.result.error)
        async with self.keeping:
            if broken and self.gave_up:  # it failed beside those that ended the batch, and is asked again like them
                return
            result = await self.io.run(self.folder.append, answered)
            self.done += 1
            self.failed += result.status == "failed"
            if fresh:
                self.pace.add(result)
            self.told(self.pace.tally(self.done, self.failed))
            self.streak = [*self.streak, result] if broken else []
            if len(self.streak) >= GIVE_UP:
                self.gave_up = True
                await self._give_up()

    async def _give_up(self) -> None:
        """Stop, and forget the failures that had one cause, so that the batch goes on with these items.

        What failed so in an earlier start too stays a failure: else a batch whose last items cannot be answered would
        never end.
        """
        fresh = {one.number for one in self.streak} - self.known.again.keys()
        await self.io.run(self.folder.retire, lambda result: result.number in fresh)
        last = self.streak[-1].error
        assert last is not None  # noqa: S101 - for the type checker; only failures are in a streak
        raise gave_up(last, "items")


def _is_broken(error: Failure | ErrorRecord | None) -> bool:
    """Whether it is a failure of endpoint or tools, which says more of them than of the item."""
    return error is not None and error.code in BROKEN


def hash_of(trace_id: str) -> int:
    """An id in 64 bits: its last ten characters are 50 random ones."""
    return int.from_bytes(trace_id[-8:].encode(), "big")


def _plain(item: Item) -> str:
    """The image's name as far as every file system takes it."""
    stem = Path(item.row.name).stem
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in stem)[:40]
