"""Replay: the same query once more, with the trace in place of models, image and network.

Parsing, refinement, keypoints and fusion run for real; what crossed a seam comes from the tape. A trace replays
when every recorded step is asked for exactly once, in its recorded order, and the outcome is the recorded one:
the same result in every field, or the same error.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from geoseg_agent.agent import Agent
from geoseg_agent.errors import QueryError, ReplayMismatch, TraceCorrupt, TraceError, TraceIncomplete
from geoseg_agent.trace import codec
from geoseg_agent.trace.blind import BLIND_SPOTS, blind_spot
from geoseg_agent.trace.jsontext import compact, parse
from geoseg_agent.trace.live import LiveReplay, replay_live
from geoseg_agent.trace.model import MODEL_SEAMS, Trace
from geoseg_agent.trace.seal import leaves
from geoseg_agent.trace.store import load
from geoseg_agent.trace.tape import settings_of
from geoseg_agent.trace.tape_chat import replayed_grounder
from geoseg_agent.trace.tape_steps import Call, Tape, forever, label, replayed, short
from geoseg_agent.trace.tape_tools import TapeGrounder, TapeSteadiness, TapeToolbox

if TYPE_CHECKING:
    import os

    from geoseg_agent.imagery import Image
    from geoseg_agent.seams import Grounder, Toolbox
    from geoseg_agent.segmentation import Segmentation
    from geoseg_agent.settings import Settings
    from geoseg_agent.trace.model import Step
    from geoseg_agent.types import Hints

__all__ = ["BLIND_SPOTS", "LiveReplay", "OrderedTape", "Replayed", "blind_spot", "replay", "replay_live"]

_DAY = 86_400.0
_QUIET = 40  # turns of the event loop without a new call, after which nothing more comes; the longest way is about 12


class Replayed(NamedTuple):
    """A trace that replays.

    Attributes:
        trace: the trace.
        answer: the result, come to again, or None where the query failed.
        error: the error, come to again, or None where there is an answer.
    """

    trace: Trace
    answer: Segmentation | None
    error: BaseException | None


class OrderedTape(Tape):
    """A tape that answers in the recorded order, so that what ran side by side ends as it ended then.

    A step is answered only when nothing else is on its way: whatever was asked before it ended is then asked.
    """

    def __init__(self, trace: Trace) -> None:
        super().__init__(trace)
        self.missed: list[Call] = []
        self._asked: dict[int, asyncio.Event] = {}
        self._calls = 0

    async def play(self, call: Call) -> Step:
        """As `Tape.play`, in turn; a call that is not on the tape is noted and never answered."""
        self._calls += 1
        step = self.take(call)
        if step is None:
            self.missed.append(call)
            await forever()
        turn = self._asked[step.index] = asyncio.Event()
        await turn.wait()
        return await replayed(step)

    async def conduct(self, query: asyncio.Task[Segmentation]) -> None:
        """Answer call by call until the query ends, or waits for something that is not on the tape."""
        for step in self.trace.steps:
            await self._quiet(query)
            if step.index not in self._asked:
                return
            self._asked[step.index].set()
        await self._quiet(query)

    async def _quiet(self, query: asyncio.Task[Segmentation]) -> None:
        turns = 0
        while turns < _QUIET and not query.done():
            before = self._calls
            await asyncio.sleep(0)
            turns = turns + 1 if self._calls == before else 0


async def replay(source: Trace | str | os.PathLike[str]) -> Replayed:
    """Run a trace again without models, image or network, and compare everything that comes of it.

    Raises:
        ReplayMismatch: something else was asked for, or came out; the message names step and field.
        TraceIncomplete: the query was interrupted; its steps replayed, and the message says how far it got.
        TraceCorrupt, TraceTooNew, TraceError: the file cannot be used.
    """
    trace = source if isinstance(source, Trace) else load(Path(source))
    image, hints = _given(trace)
    tape = OrderedTape(trace)
    settings = _settings(trace)
    grounder, toolbox = _sides(tape, trace, settings)
    outcome: Segmentation | BaseException | None = None
    async with Agent(settings, grounder=grounder, toolbox=toolbox, steadiness=TapeSteadiness(tape)) as agent:
        _same_method(agent.method.as_dict(), trace)
        query = asyncio.create_task(agent.segment(image, trace.query or None, hints=hints, deadline=_DAY))
        try:
            await tape.conduct(query)
        finally:
            query.cancel()
            await asyncio.wait({query})
        if not query.cancelled():
            outcome = query.exception() or query.result()
    if isinstance(outcome, TraceError):
        raise outcome
    _all_asked(tape)
    if trace.status == "interrupted":
        raise TraceIncomplete(_how_far(tape, outcome))
    if outcome is None:
        raise tape.mismatch(tape.missed[0]) if tape.missed else ReplayMismatch("the replay never ends")
    if isinstance(outcome, BaseException):
        return Replayed(trace, None, _same_error(trace, outcome))
    _same_result(trace, outcome)
    return Replayed(trace, replace(outcome, trace_id=trace.id), None)


def _given(trace: Trace) -> tuple[Image, Hints]:
    try:
        return codec.decode_image(trace.image), codec.decode_hints(trace.hints)
    except (ValueError, QueryError) as error:
        raise TraceCorrupt(f"image or hints: {error}") from error


def _sides(tape: Tape, trace: Trace, settings: Settings) -> tuple[Grounder, Toolbox]:
    """Both sides of the tape, named so that the label of the result is the recorded one."""
    if trace.prompt is None:
        return TapeGrounder(tape, trace.engine), TapeToolbox(tape, trace.engine)
    grounder = replayed_grounder(tape, trace, settings)
    tools = trace.engine.removeprefix(f"{grounder.engine}+")
    return grounder, TapeToolbox(tape, tools)


def _settings(trace: Trace) -> Settings:
    """Those of the trace, its constants of the method spelt out: no environment, profile or toolset has a say."""
    return settings_of(trace, {**trace.settings, **trace.method, "profile": "default", "traces": "none"})


def _same_method(method: dict[str, Any], trace: Trace) -> None:
    for name, value in trace.method.items():
        if method.get(name) != value:
            raise ReplayMismatch(
                f"method.{name} is {value!r} in the trace, the replay works with {method.get(name)!r}"
            )


def _all_asked(tape: OrderedTape) -> None:
    """Every step was asked for; of a failed query only those before the failure, for it ends where it fails."""
    last = _end(tape.trace) if tape.trace.status == "failed" else len(tape.trace.steps)
    if tape.left and tape.missed:
        raise tape.mismatch(tape.missed[0])
    never = next((step for step in tape.left.values() if step.index < last), None)
    if never is not None:
        raise ReplayMismatch(f"{label(never)} was recorded, but the replay never asks for it")


def _end(trace: Trace) -> int:
    """Number of the step by which a failed query ended; a model that fails is asked again, so no step of its is."""
    failed = [
        step.index
        for step in trace.steps
        if step.error is not None and step.error.code != codec.CANCELLED and step.seam not in MODEL_SEAMS
    ]
    asked_only = trace.prompt is not None and all(step.seam in MODEL_SEAMS for step in trace.steps)
    return min(failed, default=len(trace.steps) if asked_only else -1)


def _how_far(tape: OrderedTape, outcome: Segmentation | BaseException | None) -> str:
    count = len(tape.trace.steps)
    done = sum(step.error is None for step in tape.trace.steps)
    if outcome is None:
        then = "then it waits for " + " and ".join(
            [call.name for call in tape.missed] or ["calls that were cancelled"]
        )
    elif isinstance(outcome, BaseException):
        then = f"then it fails with {type(outcome).__name__}: {outcome}"
    else:
        then = f"then it comes to a result ({outcome.status}, {len(outcome.targets)} targets) that was not saved"
    return f"the query was interrupted: {done} of {count} recorded steps replayed, {then}"


def _same_error(trace: Trace, error: BaseException) -> BaseException:
    if trace.error is None:
        raise ReplayMismatch(f"the trace holds a result, the replay fails with {type(error).__name__}: {error}")
    # Of two tools that fail in the same moment, either may be the first: both are recorded.
    recorded = [trace.error.model_dump(exclude={"trace_id"})]
    others = [step.error.model_dump() for step in trace.steps if step.error is not None]
    found = _plain(codec.encode_error(error).model_dump())
    if found not in (others if recorded[0] in others else recorded):
        _differ("error", recorded[0], found)
    return error


def _same_result(trace: Trace, answer: Segmentation) -> None:
    if trace.result is None:
        code = "" if trace.error is None else f" with {trace.error.code}"
        raise ReplayMismatch(f"the trace failed{code}, the replay comes to a result")
    found = codec.encode_result(answer, trace.method, trace.id)
    _differ("result", trace.result.model_dump(), _plain(found.model_dump()))


def _plain(value: Any) -> Any:
    """The value as it would come back from a file."""
    return parse(compact(value))


def _differ(name: str, recorded: Any, found: Any) -> None:
    there, here = dict(leaves(recorded, name)), dict(leaves(found, name))
    for path in [*there, *here]:
        if path not in there or path not in here or there[path] != here[path]:
            a, b = (short(side[path]) if path in side else "missing" for side in (there, here))
            raise ReplayMismatch(f"{path} is {a} in the trace and {b} in the replay")
