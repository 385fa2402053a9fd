"""A trace as the other side of the seams: what was recorded answers what is asked, each step once.

A call finds its step by seam, target and input. One that finds none is told which recorded step comes nearest, and
what differs.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from geoseg_agent.errors import InvalidReply, ReplayMismatch, TraceCorrupt
from geoseg_agent.trace import codec
from geoseg_agent.trace.model import GroundStep, PointsStep, SimilarityStep, TextStep
from geoseg_agent.trace.store import load
from geoseg_tools.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from geoseg_agent.imagery import Image
    from geoseg_agent.trace.model import Input, Seam, Step, Trace
    from geoseg_agent.types import GroundingReply, Query
    from geoseg_tools.arrays import Heat, Points
    from geoseg_tools.crop import Crop
    from geoseg_tools.protocols import Masks

R = TypeVar("R")
V = TypeVar("V")


class Call(NamedTuple):
    """What is asked of a seam."""

    seam: Seam
    target: int | None
    input: Input

    @property
    def name(self) -> str:
        """For people: "text, target 1"."""
        return self.seam if self.target is None else f"{self.seam}, target {self.target}"


class Tape:
    """The steps of a trace, each to be taken once, answered at once."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.left = {step.index: step for step in trace.steps}

    async def play(self, call: Call) -> Step:
        """The recorded step of this call.

        Raises:
            ReplayMismatch: there is none, or it was taken already.
            GeoSegError: what the step raised when it was recorded.
        """
        step = self.take(call)
        if step is None:
            raise self.mismatch(call)
        return await replayed(step)

    def take(self, call: Call) -> Step | None:
        """The first step of this call that was not taken yet, taken now; None where there is none."""
        found = next((step for step in self.left.values() if _matches(step, call)), None)
        return None if found is None else self.left.pop(found.index)

    def mismatch(self, call: Call) -> ReplayMismatch:
        """What to say of a call that is not on the tape."""
        if any(_matches(step, call) for step in self.trace.steps):
            return ReplayMismatch(f"the replay asks for {call.name} once more than the trace holds it")
        near = max(
            self.left.values() or self.trace.steps,
            key=lambda step: (step.seam == call.seam, step.target == call.target, -len(_differences(step, call))),
            default=None,
        )
        if near is None:
            return ReplayMismatch(f"the replay asks for {call.name}, the trace holds no step at all")
        differences = "; ".join(_differences(near, call)) or "nothing in its input"
        return ReplayMismatch(
            f"the replay asks for {call.name}, which the trace does not hold; nearest is {label(near)}, "
            f"where differs: {differences}"
        )


def _matches(step: Step, call: Call) -> bool:
    return (step.seam, step.target) == (call.seam, call.target) and step.input == call.input


def _differences(step: Step, call: Call) -> list[str]:
    there, here = step.input.model_dump(), call.input.model_dump()
    pairs: dict[str, tuple[Any, Any]] = {
        "seam": (step.seam, call.seam),
        "target": (step.target, call.target),
        **{f"input.{name}": (there.get(name), here.get(name)) for name in {**there, **here}},
    }
    return [f"{name} is {short(a)} in the trace and {short(b)} now" for name, (a, b) in pairs.items() if a != b]


def short(value: Any) -> str:
    """The value for a message."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]}..."


def label(step: Step) -> str:
    """A step for people: "step 4 (text, target 1)"."""
    return f"step {step.index} ({Call(step.seam, step.target, step.input).name})"


async def forever() -> NoReturn:
    """Wait to be cancelled."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody completes this future")


async def replayed(step: Step) -> Step:
    """The step, or what it raised; a call that was cancelled waits to be cancelled again."""
    if step.error is None:
        return step
    if step.error.code == codec.CANCELLED:
        await forever()
    try:
        error = codec.decode_error(step.error)
    except ValueError as problem:
        raise TraceCorrupt(f"{label(step)}: error: {problem}") from problem
    raise error


def _decoded(step: Step, decode: Callable[[R], V], output: R | None) -> V:
    if output is None:
        raise TraceCorrupt(f"{label(step)}: output: it is missing")
    try:
        return decode(output)
    except (ValueError, ToolError, InvalidReply) as error:
        raise TraceCorrupt(f"{label(step)}: output: {error}") from error


class TapeGrounder:
    """A Grounder that answers from a tape."""

    def __init__(self, tape: Tape, engine: str) -> None:
        self.tape = tape
        self.engine = engine

    async def ground(self, image: Image, query: Query) -> GroundingReply:
        """As `Grounder.ground`.

        Raises:
            ReplayMismatch: the trace is of another image or query, or was asked already.
        """
        step = await self.tape.play(Call("ground", None, codec.ground_input(image, query)))
        return _decoded(step, codec.decode_reply, step.output) if isinstance(step, GroundStep) else _stray(step)

    async def aclose(self) -> None:
        """Nothing to release."""


class TapeToolbox:
    """A Toolbox that answers from a tape; it needs no pixels."""

    def __init__(self, tape: Tape, engine: str) -> None:
        self.tape = tape
        self.engine = engine
        # The constants in force then, so that a later change of a toolset's defaults breaks no old trace.
        self.defaults: Mapping[str, Any] = tape.trace.method
        self.weights: Mapping[str, str] = tape.trace.weights

    @asynccontextmanager
    async def encode(self, crop: Crop) -> AsyncIterator[Crop]:
        """As `Toolbox.encode`; the handle is the crop."""
        await self.tape.play(Call("encode", crop.target, codec.crop_input(crop)))
        yield crop

    async def similarity(self, crop: Crop, phrase: str) -> Heat:
        """As `Toolbox.similarity`."""
        step = await self.tape.play(Call("similarity", crop.target, codec.phrase_input(crop, phrase)))
        return _decoded(step, codec.decode_heat, step.output) if isinstance(step, SimilarityStep) else _stray(step)

    async def from_points(self, handle: Crop, points: Points, positive: NDArray[np.bool_]) -> Masks:
        """As `Toolbox.from_points`."""
        step = await self.tape.play(Call("points", handle.target, codec.points_input(handle, points, positive)))
        return _decoded(step, codec.decode_masks, step.output) if isinstance(step, PointsStep) else _stray(step)

    async def from_text(self, handle: Crop, phrase: str) -> Masks:
        """As `Toolbox.from_text`."""
        step = await self.tape.play(Call("text", handle.target, codec.phrase_input(handle, phrase)))
        return _decoded(step, codec.decode_masks, step.output) if isinstance(step, TextStep) else _stray(step)

    async def aclose(self) -> None:
        """Nothing to release."""


def _stray(step: Step) -> NoReturn:
    raise TraceCorrupt(f"{label(step)}: it is of another seam")


def grounder_from_trace(path: str) -> TapeGrounder:
    """The backend `replay:FILE`: the grounding of one recorded query, to be used with other tools.

    Raises:
        TraceError: the file is no trace.
    """
    trace = load(Path(path))
    return TapeGrounder(Tape(trace), trace.engine.partition("+")[0])
