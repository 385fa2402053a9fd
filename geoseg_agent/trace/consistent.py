"""What a trace says twice must agree: found on loading, also where every digest was recomputed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoseg_agent.trace.codec import CANCELLED, INTERRUPTED, cancelled_step, interruption
from geoseg_agent.trace.ids import is_id, read, time_of

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
    if trace.prompt is not None:
        yield "prompt: there is one, but no step that was asked with it"
    for position, step in enumerate(trace.steps):
        if step.index != position:
            yield f"steps[{position}].index: it is {step.index}"
        yield from (f"steps[{position}].{problem}" for problem in _step(step))


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
    if (step.target is None) != (step.seam == "ground") or (step.target is not None and step.target < 1):
        yield f"target: {step.target} does not go with {step.seam}"
    answered = step.output is not None
    if step.seam != "encode" and answered == (step.error is not None):
        yield "output: a step has either an output or an error"
    if step.error is not None and step.error.code == CANCELLED and step.error != cancelled_step():
        yield "error: it is not what a cancelled call is recorded as"
