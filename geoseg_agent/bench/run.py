"""A run: every pair of a data set is asked once, whatever interrupts it.

A run that goes on takes what is there: lines first; then traces that have ended, of which the line is made; then
traces that were interrupted, whose paid replies are taken and never asked for again. Only what is left is asked.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import numpy as np

from geoseg_agent.agent import Agent
from geoseg_agent.backends import asks_model, mllm_grounder, model_endpoint, toolbox_of
from geoseg_agent.bench.outcome import failed_before_its_trace, outcome_of
from geoseg_agent.bench.plan import picture_name, plan_of
from geoseg_agent.bench.run_folder import RunFolder
from geoseg_agent.errors import (
    ConfigError,
    DatasetError,
    GeoSegError,
    first_error,
)
from geoseg_agent.guard import declared
from geoseg_agent.lanes import Lane
from geoseg_agent.runs.leftovers import names_of
from geoseg_agent.runs.lent import BROKEN, GIVE_UP, Borrowed, gave_up
from geoseg_agent.runs.same_model import check_model, prompt_said
from geoseg_agent.runs.tally import Pace
from geoseg_agent.trace.resume import ResumedEndpoint, paid_replies
from geoseg_agent.trace.store import load
from geoseg_agent.types import Hints, Query
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from geoseg_agent.bench.datasets import Dataset
    from geoseg_agent.bench.pairs import Pair
    from geoseg_agent.bench.plan import Source
    from geoseg_agent.bench.records import PairResult
    from geoseg_agent.grounding.chat import Endpoint
    from geoseg_agent.runs.tally import Tally
    from geoseg_agent.seams import Toolbox
    from geoseg_agent.settings import Settings
    from geoseg_agent.trace.model import Trace


async def run(
    dataset: Dataset[Pair],
    source: Source,
    pairs: Sequence[Pair],
    folder: Path,
    settings: Settings,
    *,
    concurrency: int = 4,
    retry_failed: bool = False,
    told: Callable[[Tally], None] = lambda _: None,
) -> RunFolder:
    """Ask every pair that has no result in `folder` yet.

    Args:
        dataset: that the pairs are from.
        source: where it is.
        pairs: those to ask, in the order in which to begin.
        folder: of the run; made where it is not there.
        settings: traces go into the folder, whatever they say of it.
        concurrency: pairs at once, >= 1. For timing take 1: stages of different pairs then never wait for each other.
        retry_failed: ask again what failed before.
        told: is given the tally after each result.

    Raises:
        DatasetError: the folder holds another run, or cannot be written.
        ConfigError: a backend cannot be had as configured.
        EndpointError, ToolFailed: `GIVE_UP` pairs in a row failed so; the first time, that does not count.
        TraceError: a trace that no line was made of is damaged.
    """
    named = {pair.id: picture_name(dataset, pair) for pair in pairs}
    tools = toolbox_of(settings)
    io = Lane("bench")
    try:
        plan = plan_of(
            source,
            ((pair, named[pair.id]) for pair in pairs),
            settings.recorded(),
            settings.method(dict(declared(tools))).as_dict(),
            prompt=prompt_said(settings),
            concurrency=(concurrency,),
        )
        runs = await io.run(RunFolder, folder, plan)
        try:
            # Pairs wait for their turn here, so none is shed at the door.
            own = settings.model_copy(update={"traces": runs.traces, "max_queued": None})
            one = _Run(runs, own, tools, io, named, told)
            await one.go(pairs, concurrency, retry_failed=retry_failed)
        finally:
            runs.close()
    finally:
        await tools.aclose()
        io.close()
    return runs


class _Run:
    def __init__(
        self,
        folder: RunFolder,
        settings: Settings,
        tools: Toolbox,
        io: Lane,
        named: dict[str, str],
        told: Callable[[Tally], None],
    ) -> None:
        self.folder, self.settings, self.tools, self.io = folder, settings, Borrowed(tools), io
        self.named, self.told = named, told
        self.begun: defaultdict[tuple[str, str], list[Trace]] = defaultdict(list)
        self.results: dict[str, PairResult] = {}
        self.streak: list[PairResult] = []
        self.failed = 0
        self.pace = Pace(len(named))

    async def go(self, pairs: Sequence[Pair], concurrency: int, *, retry_failed: bool) -> None:
        self.results = await self.io.run(self.folder.done)
        if retry_failed:
            failed = {name for name, result in self.results.items() if result.status == "failed"}
            self.results = await self.io.run(self.folder.retire, self.results, failed)
        self.failed = sum(result.status == "failed" for result in self.results.values())
        await self._take_up(pairs)
        waiting = deque(pair for pair in pairs if pair.id not in self.results)
        if not waiting:
            return
        async with AsyncExitStack() as stack:
            endpoint = grounder = None
            if asks_model(self.settings):
                endpoint = model_endpoint(self.settings)
                stack.push_async_callback(endpoint.aclose)
                before = (self.folder.traces / f"{result.trace}.json" for result in self.results.values())
                await check_model(endpoint, self.settings, self.folder.path, before, self.io)
                grounder = mllm_grounder(self.settings, Borrowed(endpoint))
            agent = await stack.enter_async_context(Agent(self.settings, grounder=grounder, toolbox=self.tools))
            await self._warm()
            self.pace.start()

            async def work() -> None:
                while waiting:
                    await self._keep(await self._result(agent, endpoint, waiting.popleft()))

            with first_error():
                async with asyncio.TaskGroup() as group:
                    for _ in range(max(1, concurrency)):
                        group.create_task(work())

    async def _take_up(self, pairs: Sequence[Pair]) -> None:
        """Make lines of traces that have ended, and keep those of killed queries whose replies were paid for."""
        retired = await self.io.run(self.folder.retired_before)
        again: dict[tuple[str, str], str] = {}
        for result in retired:
            asked = result.image, Query(result.query).text
            again[asked] = max(again.get(asked, ""), result.trace or "")
        left: defaultdict[tuple[str, str], deque[Pair]] = defaultdict(deque)
        for pair in pairs:
            if pair.id not in self.results:
                left[self._key(pair)].append(pair)
        places = {str(pair.image): self.named[pair.id] for pair in pairs}
        traces = self.folder.left_over({result.trace for result in (*self.results.values(), *retired)})
        while (trace := await self.io.run(next, traces, None)) is not None:
            key = next((key for key in names_of(trace, places) if left.get(key)), None)
            if key is None:
                continue
            if trace.status != "interrupted":
                pair = left[key].popleft()
                await self._add(await self.io.run(outcome_of, pair, trace, self.named[pair.id]))
            # What was interrupted before a failure that is asked anew has led to that failure.
            elif trace.id > again.get(key, ""):
                self.begun[key].append(trace)

    def _key(self, pair: Pair) -> tuple[str, str]:
        return self.named[pair.id], Query(pair.query).text

    async def _warm(self) -> None:
        """Load the models and let them answer once, outside of the run: what is timed is a warm system."""
        quiet = self.settings.model_copy(update={"traces": "none", "grounder": "classical"})
        grey = np.full((64, 64, 3), 127, dtype=np.uint8)
        async with Agent(quiet, toolbox=self.tools) as agent:
            await agent.segment(grey, "warm-up", hints=Hints(box=Box(8, 8, 56, 56)))

    async def _result(self, agent: Agent, endpoint: Endpoint | None, pair: Pair) -> PairResult:
        waiting = self.begun.get(self._key(pair))
        if endpoint is None or not waiting:
            return await self._scored(await self._asked(agent, pair), pair)
        begun = max(waiting, key=paid_replies)
        waiting.remove(begun)
        grounder = mllm_grounder(self.settings, ResumedEndpoint(begun, Borrowed(endpoint)))
        async with Agent(self.settings, grounder=grounder, toolbox=self.tools) as again:
            return await self._scored(await self._asked(again, pair), pair)

    async def _asked(self, agent: Agent, pair: Pair) -> str | GeoSegError:
        """The id of the trace that the pair left, or the error where it left none.

        Raises:
            ConfigError: a backend cannot be had, or no trace can be written; it is the same for every pair.
            DatasetError: the trace of the answer was not saved.
        """
        try:
            answer = await agent.segment(pair.image, pair.query)
        except ConfigError:
            raise
        except GeoSegError as error:
            return error.trace_id or error
        if answer.trace_path is None:
            raise DatasetError(
                f"the trace of pair {pair.id} cannot be saved in {self.folder.traces}",
                hint="free some space and start the same command: replies that were paid for are not asked for again",
            )
        return answer.trace_id

    async def _scored(self, asked: str | GeoSegError, pair: Pair) -> PairResult:
        image = self.named[pair.id]
        if isinstance(asked, GeoSegError):
            return await self.io.run(failed_before_its_trace, pair, asked, image)
        return await self.io.run(lambda: outcome_of(pair, load(self.folder.traces / f"{asked}.json"), image))

    async def _add(self, result: PairResult) -> None:
        await self.io.run(self.folder.append, result)
        self.results[result.id] = result
        self.failed += result.status == "failed"

    async def _keep(self, result: PairResult) -> None:
        await self._add(result)
        self.pace.add(result)
        self.told(self.pace.tally(len(self.results), self.failed))
        broken = result.error is not None and result.error.code in BROKEN
        self.streak = [*self.streak, result] if broken else []
        if len(self.streak) >= GIVE_UP:
            await self._give_up()

    async def _give_up(self) -> None:
        """Stop, and forget the failures that had one cause, so that the run goes on with these pairs.

        What failed so in an earlier start too stays a failure: else a run whose last pairs cannot be answered would
        never end.
        """
        known = {one.id for one in await self.io.run(self.folder.retired_before)}
        fresh = {one.id for one in self.streak} - known
        self.results = await self.io.run(self.folder.retire, self.results, fresh)
        last = self.streak[-1].error
        assert last is not None  # noqa: S101 - for the type checker; only failures are in a streak
        raise gave_up(last, "pairs")
