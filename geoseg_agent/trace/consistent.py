"""What a trace says twice must agree: found on loading, also where every digest was recomputed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoseg_agent.trace.codec import CANCELLED, INTERRUPTED, cancelled_step, interruption
from geoseg_agent.trace.ids import is_id, read, time_of
from geoseg_agent.trace.model import MODEL_SEAMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geoseg_agent.trace.model import Step, Trace


def contradictions(trace: Trace) -> Iterator[str]:
    """One sentence per contradiction, the field first."""
    yield from _times(trace)
    yield from _outcome(trace)
    for name, value in trace.settings.items():
        if value is not None and name in trace.method and value != trace.method[name]:
            yield f"settings.{name}: it is {value!r}, but method.{name} is {trace.method[name]!r}"
    yield from _prompted(trace)
    for position, step in enumerate(trace.steps):
        if step.index != position:
            yield f"steps[{position}].index: it is {step.index}"
        yield from (f"steps[{position}].{problem}" for problem in _step(step))


def _prompted(trace: Trace) -> Iterator[str]:
    """A trace is of a multimodal model, with its prompt and its seams, or of a grounder that is one seam."""
    seams = {step.seam for step in trace.steps}
    if trace.prompt is None and seams & MODEL_SEAMS:
        yield "prompt: there is none, but a model was asked"
    if trace.prompt is not None and "ground" in seams:
        yield "prompt: there is one, but the grounder was asked without"
    if trace.prompt is not None and trace.hints.box is not None:
        yield "prompt: there is one, but the box came from the caller"
    if trace.prompt is not None and trace.clicked:
        yield "prompt: there is one, but the caller only pointed"
    if trace.prompt is not None and trace.status == "done" and "endpoint" not in seams:
        yield "prompt: there is one, but no step that was asked with it"


def _times(trace: Trace) -> Iterator[str]:
    if not is_id(trace.id):
        yield f"id: {trace.id[:80]!r} is no trace id"
        return
    try:
        started, finished = read(trace.started), read(trace.finished)
    except ValueError as error:
        yield f"started or finished: {error}"
        return
    if started != time_of(trace.id):
        yield f"started: it is {trace.started}, but the id says {time_of(trace.id).isoformat()}"
    if (finished - started).total_seconds() != trace.seconds:
        yield f"seconds: they are {trace.seconds}, but from started to finished it is {finished - started}"


def _outcome(trace: Trace) -> Iterator[str]:
    result, error = trace.result, trace.error
    if (result is None) == (trace.status == "done") or (error is None) != (trace.status == "done"):
        yield f"status: {trace.status} does not go with what the trace holds"
    if result is not None:
        twice = {
            "trace_id": (result.trace_id, trace.id),
            "query": (result.query, trace.query),
            "engine": (result.engine, trace.engine),
            "method": (result.method, trace.method),
        }
        for name, (there, here) in twice.items():
            if there != here:
                yield f"result.{name}: it is {there!r}, but the trace is of {here!r}"
    if error is not None:
        if error.trace_id != trace.id:
            yield f"error.trace_id: it is {error.trace_id!r}, but the trace is {trace.id!r}"
        ended = error.code in {CANCELLED, INTERRUPTED}
        if ended != (trace.status == "interrupted"):
            yield f"error.code: {error.code!r} does not go with status {trace.status}"
        if ended and error != interruption(error.code, trace.id):
            yield "error: it is not what an interruption is recorded as"


def _step(step: Step) -> Iterator[str]:
    alone = step.seam in {"ground", "stability"} or step.seam in MODEL_SEAMS
    if (step.target is None) != alone or (step.target is not None and step.target < 1):
        yield f"target: {step.target} does not go with {step.seam}"
    answered, failed = step.output is not None, step.error is not None
    if (answered and failed) or (not answered and not failed and step.seam not in {"encode", "cache"}):
        yield "output: a step has either an output or an error"
    if step.error is not None and step.error.code == CANCELLED and step.error != cancelled_step():
        yield "error: it is not what a cancelled call is recorded as"
