"""What came of a pair, read from its trace, so that a run that was interrupted comes to the same as any other."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from geoseg_agent.bench.datasets.mask_file import by_itself
from geoseg_agent.bench.records import Took, result_of
from geoseg_agent.errors import DatasetError, TraceCorrupt
from geoseg_agent.runs.failure import Failure
from geoseg_agent.trace.model import ChatStep
from geoseg_agent.trace.rle import decode_mask
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from geoseg_agent.bench.pairs import Pair
    from geoseg_agent.bench.records import PairResult
    from geoseg_agent.errors import GeoSegError
    from geoseg_agent.trace.model import Trace
    from geoseg_tools.arrays import Mask

_GROUNDING = frozenset({"ground", "endpoint", "cache", "sent", "chat"})


def outcome_of(pair: Pair, trace: Trace, image: str) -> PairResult:
    """Score the pair by the result, or the failure, that its trace holds.

    "not_found" is an answer, an empty mask; "ambiguous" without targets is a refusal to choose, and no mask.

    Args:
        pair: what was asked.
        trace: of a query that has ended; an interrupted one counts as failed.
        image: name of the picture within the data set.

    Raises:
        DatasetError: the truth cannot be read, or has another size than the picture.
        TraceCorrupt: a mask of the trace is malformed.
    """
    truth = pair.truth.read()
    size = (trace.image.height, trace.image.width)
    if truth.shape != size:
        raise DatasetError(
            f"pair {pair.id}: the answer has {truth.shape[1]} x {truth.shape[0]} pixels, "
            f"its image {pair.image.name} {size[1]} x {size[0]}"
        )
    chats = [step for step in trace.steps if isinstance(step, ChatStep)]
    used = [step.output.usage for step in chats if step.output is not None]
    result = trace.result
    refused = result is not None and result.status == "ambiguous" and not result.targets
    return result_of(
        pair,
        truth,
        None if result is None or refused else mask_of(trace),
        status="failed" if result is None else result.status,
        engine=trace.engine,
        image=image,
        error=None if result is not None else _failure(trace),
        trace=trace.id,
        confidence=None if result is None else result.confidence,
        rules=() if result is None else tuple(target.rule for target in result.targets),
        seconds=_took(trace),
        calls=len(chats),
        tokens=None if None in used else sum(one.prompt + one.completion for one in used if one is not None),
    )


def failed_before_its_trace(pair: Pair, error: GeoSegError, image: str) -> PairResult:
    """The result of a pair that could not even be asked: no picture, or one that cannot be read.

    Raises:
        DatasetError: the truth cannot be read either.
    """
    return result_of(
        pair,
        by_itself(pair.truth).read(),
        None,
        status="failed",
        engine="none",
        image=image,
        error=Failure(code=error.code, message=error.message),
    )


def mask_of(trace: Trace) -> Mask:
    """(H, W) bool, image frame: the union of the targets' masks in a trace with a result.

    Raises:
        TraceCorrupt: a mask is malformed, or lies outside the image.
    """
    canvas = np.zeros((trace.image.height, trace.image.width), dtype=np.bool_)
    for target in [] if trace.result is None else trace.result.targets:
        try:
            canvas[Box(*target.roi).slices] |= decode_mask(target.mask)
        except ValueError as error:
            raise TraceCorrupt(f"trace {trace.id}: a mask does not fit its region: {error}") from error
    return canvas


def _failure(trace: Trace) -> Failure:
    if trace.error is None:
        return Failure(code="interrupted", message="the query never ended")
    return Failure(code=trace.error.code, message=trace.error.message)


def _took(trace: Trace) -> Took:
    stages: defaultdict[str, float] = defaultdict(float)
    for step in trace.steps:
        stages["grounding" if step.seam in _GROUNDING else step.seam] += step.took
    return Took(total=trace.seconds, stages={name: round(value, 6) for name, value in stages.items()})
