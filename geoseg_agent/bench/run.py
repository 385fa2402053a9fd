"""A run: every pair of a data set is asked once, whatever interrupts it.

A run that goes on takes what is there: lines first; then traces that have ended, of which the line is made; then
traces that were interrupted, whose paid replies are taken and never asked for again. Only what is left is asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from geoseg_agent.agent import Agent
from geoseg_agent.backends import mllm_grounder, toolbox_of
from geoseg_agent.bench.outcome import failed_before_its_trace, outcome_of
from geoseg_agent.bench.plan import picture_name, plan_of
from geoseg_agent.bench.run_folder import RunFolder
from geoseg_agent.errors import ConfigError, EndpointError, GeoSegError, OutOfMemory, ToolFailed, first_error
from geoseg_agent.lanes import Lane
from geoseg_agent.trace.resume import paid_replies
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
    from geoseg_agent.seams import Toolbox
    from geoseg_agent.settings import Settings
    from geoseg_agent.trace.model import Trace


GIVE_UP: Final = 16
"""Failures of endpoint or tools in a row that end a run: what is broken will not answer the next pair either."""

_BROKEN = frozenset({EndpointError.code, ToolFailed.code, OutOfMemory.code})


class Tally(NamedTuple):
    """How far a run is.

    Attributes:
        done: pairs with a result, those of earlier starts included.
        total: pairs of the run.
        failed: of those done.
        calls: paid requests since this start.
        tokens: prompts and replies together, since this start.
        seconds_left: at the pace of this start, or None before its first result.
        tokens_left: likewise.
    """

    done: int
    total: int
    failed: int
    calls: int
    tokens: int
    seconds_left: float | None
    tokens_left: int | None


class Borrowed:
    """A toolbox that several Agents use and none of them closes."""

    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox

    def __getattr__(self, name: str) -> Any:
        return getattr(self._toolbox, name)

    async def aclose(self) -> None:
        """Nothing: who made the toolbox closes it."""


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
        EndpointError, ToolFailed: `GIVE_UP` pairs in a row failed so; their failures do not count.
    """
    named = {pair.id: picture_name(dataset, pair) for pair in pairs}
    tools = toolbox_of(settings)
    io = Lane("bench")
    try:
        plan = plan_of(
            source,
            ((pair, named[pair.id]) for pair in pairs),
            settings.recorded(),
            settings.method(dict(tools.defaults)).as_dict(),
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
        self.left: dict[tuple[str | None, str], list[Trace]] = {}
        self.results: dict[str, PairResult] = {}
        self.fresh: list[PairResult] = []
        self.streak: list[PairResult] = []
        self.began = perf_counter()

    async def go(self, pairs: Sequence[Pair], concurrency: int, *, retry_failed: bool) -> None:
        self.results = await self.io.run(self.folder.done)
        if retry_failed:
            failed = {name for name, result in self.results.items() if result.status == "failed"}
            self.results = await self.io.run(self.folder.retire, self.results, failed)
        self.left = await self.io.run(self.folder.left_over, self.results.values())
        waiting = deque(pair for pair in pairs if pair.id not in self.results)
        if not waiting:
            return
        async with Agent(self.settings, toolbox=self.tools) as agent:
            await self._warm()
            self.began = perf_counter()

            async def work() -> None:
                while waiting:
                    await self._keep(await self._result(agent, waiting.popleft()))

            with first_error():
                async with asyncio.TaskGroup() as group:
                    for _ in range(max(1, concurrency)):
                        group.create_task(work())

    async def _warm(self) -> None:
        """Load the models and let them answer once, outside of the run: what is timed is a warm system."""
        quiet = self.settings.model_copy(update={"traces": "none", "grounder": "classical"})
        grey = np.full((64, 64, 3), 127, dtype=np.uint8)
        async with Agent(quiet, toolbox=self.tools) as agent:
            await agent.segment(grey, "warm-up", hints=Hints(box=Box(8, 8, 56, 56)))

    async def _result(self, agent: Agent, pair: Pair) -> PairResult:
        image = self.named[pair.id]
        waiting = self.left.get((str(pair.image), Query(pair.query).text), [])
        ended = next((trace for trace in waiting if trace.status != "interrupted"), None)
        if ended is not None:
            waiting.remove(ended)
            return await self.io.run(outcome_of, pair, ended, image)
        begun = max(waiting, key=paid_replies, default=None)
        if begun is not None and paid_replies(begun):
            waiting.remove(begun)
            grounder = mllm_grounder(self.settings, begun)
            async with Agent(self.settings, grounder=grounder, toolbox=self.tools) as again:
                return await self._scored(await self._asked(again, pair), pair)
        return await self._scored(await self._asked(agent, pair), pair)

    async def _asked(self, agent: Agent, pair: Pair) -> str | GeoSegError | None:
        """The id of the trace that the pair left, or the error where it left none."""
        try:
            return (await agent.segment(pair.image, pair.query)).trace_id
        except ConfigError:
            raise  # it is the same for every pair
        except GeoSegError as error:
            return error.trace_id or error

    async def _scored(self, asked: str | GeoSegError | None, pair: Pair) -> PairResult:
        image = self.named[pair.id]
        if isinstance(asked, GeoSegError):
            return await self.io.run(failed_before_its_trace, pair, asked, image)
        return await self.io.run(lambda: outcome_of(pair, load(self.folder.traces / f"{asked}.json"), image))

    async def _keep(self, result: PairResult) -> None:
        await self.io.run(self.folder.append, result)
        self.results[result.id] = result
        self.fresh.append(result)
        self.told(self._tally())
        broken = result.error is not None and result.error.code in _BROKEN
        self.streak = [*self.streak, result] if broken else []
        if len(self.streak) >= GIVE_UP:
            await self._give_up()

    async def _give_up(self) -> None:
        """Stop, and forget the failures that had one cause, so that the run goes on with these pairs."""
        self.results = await self.io.run(self.folder.retire, self.results, {one.id for one in self.streak})
        last = self.streak[-1].error
        assert last is not None  # noqa: S101 - for the type checker; only failures are in a streak
        kind = EndpointError if last.code == EndpointError.code else ToolFailed
        raise kind(
            f"{GIVE_UP} pairs failed one after the other, the last with: {last.message}",
            hint="mend what is broken and start the same command: it goes on, and asks these pairs again",
        )

    def _tally(self) -> Tally:
        total, done, fresh = len(self.named), len(self.results), len(self.fresh)
        tokens = sum(one.tokens or 0 for one in self.fresh)
        left = total - done
        return Tally(
            done,
            total,
            sum(one.status == "failed" for one in self.results.values()),
            sum(one.calls or 0 for one in self.fresh),
            tokens,
            (perf_counter() - self.began) / fresh * left if fresh else None,
            round(tokens / fresh * left) if fresh else None,
        )
