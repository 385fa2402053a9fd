"""A trace as the other side of the seams: what was recorded answers what is asked, each step once.

A call finds its step by seam, target and input. One that finds none is told which recorded step comes nearest, and
what differs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from geoseg_agent.errors import InvalidReply, ReplayMismatch, TraceCorrupt
from geoseg_agent.trace import codec
from geoseg_agent.trace.model import MODEL_SEAMS
from geoseg_tools.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from geoseg_agent.trace.model import ErrorRecord, Input, Seam, Step, Trace

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
        """The recorded step of this call, answered.

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
            f"where differs: {differences}",
            hint="a replay needs the image, query, hints and settings that the trace was made with",
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
    if step.error.code == codec.INTERNAL and step.seam in MODEL_SEAMS:
        raise crashed(step.error)
    try:
        error = codec.decode_error(step.error)
    except ValueError as problem:
        raise TraceCorrupt(f"{label(step)}: error: {problem}") from problem
    raise error


def crashed(record: ErrorRecord) -> Exception:
    """What stands for an error of no class of ours: the guard outside these seams reads its name and message only."""
    if record.type == "MemoryError":
        return MemoryError(record.message)
    found: Exception = type(record.type.replace("\0", "?"), (Exception,), {})(record.message)
    return found


def decoded(step: Step, decode: Callable[[R], V], output: R | None) -> V:
    """What `decode` makes of the step's output.

    Raises:
        TraceCorrupt: it is missing or malformed; the message names the step.
    """
    if output is None:
        raise TraceCorrupt(f"{label(step)}: output: it is missing")
    try:
        return decode(output)
    except (ValueError, ToolError, InvalidReply) as error:
        raise TraceCorrupt(f"{label(step)}: output: {error}") from error


def stray(step: Step) -> NoReturn:
    """Refuse a step that is not of the seam that was asked.

    Raises:
        TraceCorrupt: always.
    """
    raise TraceCorrupt(f"{label(step)}: it is of another seam")
