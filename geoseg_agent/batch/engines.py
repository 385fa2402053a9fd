"""Who answers the items of a batch: an Agent in this process, or several on a cluster; one path of code for both."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from geoseg_agent.agent import Agent
from geoseg_agent.backends import asks_model, grounder_of, mllm_grounder, model_endpoint, toolbox_of
from geoseg_agent.batch.outcome import failed, outcome_of
from geoseg_agent.errors import ConfigError, GeoSegError, InputError, first_error
from geoseg_agent.export import save
from geoseg_agent.lanes import Lane
from geoseg_agent.runs.failure import Failure
from geoseg_agent.runs.freed import keep_large_blocks_apart
from geoseg_agent.runs.lent import Borrowed
from geoseg_agent.runs.lines import put_file
from geoseg_agent.trace.codec import INTERNAL
from geoseg_agent.trace.resume import ResumedEndpoint
from geoseg_agent.trace.store import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from geoseg_agent.batch.items import Item
    from geoseg_agent.batch.plan import Save
    from geoseg_agent.batch.results import Answered
    from geoseg_agent.grounding.chat import Endpoint
    from geoseg_agent.seams import Grounder, Toolbox
    from geoseg_agent.segmentation import Segmentation
    from geoseg_agent.settings import Settings


class Task(NamedTuple):
    """An item on its way to an engine, wherever that is: everything in it can be sent.

    Attributes:
        item: to answer.
        traces: absolute, where its trace goes.
        begun: absolute, a trace of the same query that was interrupted; its paid replies are not asked for again.
        root: absolute, the folder of the batch, which `files` are told relative to.
        files: absolute, where files of the answer go, as `save` says.
        save: which.
    """

    item: Item
    traces: str
    begun: str | None
    root: str
    files: str
    save: Save


class WorkerLost(Exception):
    """Whoever was answering is gone, and perhaps what it had answered; the trace says how far it came."""


class Engine(Protocol):
    """Who answers.

    Attributes:
        at_once: how many tasks it can take at a time.
    """

    at_once: int

    async def start(self) -> None:
        """Make ready; models are loaded.

        Raises:
            ConfigError: a backend cannot be had as configured.
            ToolFailed: a model cannot be loaded.
        """

    async def answer(self, task: Task) -> Answered:
        """Answer one item; its failure is an answer too.

        Raises:
            ConfigError: nothing can be answered as things are set up, or no trace can be written.
            InputError: files of an answer cannot be written.
            WorkerLost: the task may be given again.
        """

    async def aclose(self) -> None:
        """Release what it holds; safe to call twice."""


class LocalEngine:
    """One set of backends in this process, and an Agent over it for each folder of traces.

    Args:
        settings: of the batch; traces go where each task says.
        at_once: tasks at a time, >= 1.
    """

    def __init__(self, settings: Settings, at_once: int) -> None:
        self.settings = settings.model_copy(update={"max_queued": None})  # who waits, waits for its turn
        self.at_once = at_once
        self._io = Lane("batch")
        self._agents: dict[str, Agent] = {}
        self._users: Counter[str] = Counter()
        self._tools: Toolbox | None = None
        self._grounder: Grounder | None = None
        self._endpoint: Endpoint | None = None

    async def start(self) -> None:
        """As `Engine.start`."""
        keep_large_blocks_apart()
        self._tools = toolbox_of(self.settings)
        if asks_model(self.settings):
            self._endpoint = model_endpoint(self.settings)
            self._grounder = mllm_grounder(self.settings, Borrowed(self._endpoint))
        else:
            self._grounder = grounder_of(self.settings)
        quiet = self.settings.model_copy(update={"traces": "none"})
        async with Agent(quiet, grounder=Borrowed(self._grounder), toolbox=Borrowed(self._tools)) as agent:
            await agent.warm_up()

    async def aclose(self) -> None:
        """As `Engine.aclose`."""
        agents, self._agents = list(self._agents.values()), {}
        held = (*agents, self._grounder, self._endpoint, self._tools)
        self._grounder = self._endpoint = self._tools = None
        for one in held:
            if one is not None:
                await one.aclose()
        self._io.close()

    async def answer(self, task: Task) -> Answered:
        """As `Engine.answer`; never raises WorkerLost."""
        async with self._agent(task) as agent:
            try:
                with first_error():
                    answer = await agent.segment(task.item.row.path, task.item.query, hints=task.item.hints)
            except ConfigError:
                raise
            except GeoSegError as error:
                if error.trace_id is None:
                    return failed(task.item, Failure(code=error.code, message=error.message))
                return await self._io.run(_from_trace, task, error.trace_id, None)
            except Exception as error:  # noqa: BLE001 - one odd item must not end a batch; the line says what it was
                said = f"{type(error).__name__}: {error}"
                return failed(task.item, Failure(code=INTERNAL, message=said))
        if answer.trace_path is None:
            raise InputError(
                f"the trace of {task.item.id} cannot be saved in {task.traces}",
                hint="free some space and start the same command: replies that were paid for are not asked for again",
            )
        return await self._io.run(_from_trace, task, answer.trace_id, answer)

    @asynccontextmanager
    async def _agent(self, task: Task) -> AsyncIterator[Agent]:
        """The Agent that writes where the task says; closed when a later part has begun and nobody uses it."""
        if task.begun is not None and self._endpoint is not None:
            begun = await self._io.run(load, Path(task.begun))
            resumed = ResumedEndpoint(begun, Borrowed(self._endpoint))
            async with self._made(task.traces, mllm_grounder(self.settings, resumed)) as agent:
                yield agent
            return
        if task.traces not in self._agents:
            assert self._grounder is not None  # noqa: S101 - for the type checker; start() has made it
            self._agents[task.traces] = self._made(task.traces, Borrowed(self._grounder))
        self._users[task.traces] += 1
        try:
            yield self._agents[task.traces]
        finally:
            self._users[task.traces] -= 1
            await self._close_old()

    async def _close_old(self) -> None:
        newest = next(reversed(self._agents), None)
        for folder in [one for one in self._agents if one != newest and not self._users[one]]:
            await self._agents.pop(folder).aclose()
            del self._users[folder]

    def _made(self, traces: str, grounder: Grounder | Borrowed) -> Agent:
        assert self._tools is not None  # noqa: S101 - for the type checker; start() has made it
        own = self.settings.model_copy(update={"traces": Path(traces)})
        return Agent(own, grounder=grounder, toolbox=Borrowed(self._tools))


def _from_trace(task: Task, trace_id: str, answer: Segmentation | None) -> Answered:
    """The line of a task from the trace that it left, after its files. Blocks."""
    found = outcome_of(task.item, load(Path(task.traces) / f"{trace_id}.json"))
    if task.save == "none" or answer is None:
        return found
    folder = Path(task.files)
    if task.save == "all":
        written = save(answer, folder)
    else:
        written = {"objects_geojson": folder / "objects.geojson"}
        put_file(written["objects_geojson"], _collection(found.outlines))
    files = {name: path.relative_to(task.root).as_posix() for name, path in written.items()}
    return found._replace(result=found.result.model_copy(update={"files": files}))


def _collection(outlines: bytes) -> bytes:
    """Outlines as GeoJSON by RFC 7946."""
    import shapely  # noqa: PLC0415 - only where vectors are wanted

    features: list[dict[str, Any]] = []
    for line in outlines.splitlines():
        known = json.loads(line)
        place = json.loads(shapely.to_geojson(shapely.from_wkb(known.pop("wkb"))))
        features.append({"type": "Feature", "properties": known, "geometry": place})
    return json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False).encode() + b"\n"
