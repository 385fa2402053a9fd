"""Which steps belong to which target of a result: their numbers differ once a review has replaced targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoseg_agent.trace.model import SimilarityStep, TextStep, ToolStep

if TYPE_CHECKING:
    from geoseg_agent.trace.model import Trace


def step_numbers(trace: Trace) -> list[int]:
    """For each target of the result, in order, the number that its steps bear.

    Without a review that is 1, 2, ... A target that a review put in another's place has a number of its own, and is
    found by region, box and phrase; where several are alike, so are their steps.
    """
    if trace.result is None:
        return []
    asked: dict[int, tuple[list[int], list[int], str | None]] = {}
    for step in trace.steps:
        if isinstance(step, ToolStep) and step.target is not None:
            phrase = step.input.phrase if isinstance(step, SimilarityStep | TextStep) else None
            known = asked.get(step.target, (None, None, None))[2]
            asked[step.target] = (step.input.roi, step.input.box, phrase or known)
    left = dict(sorted(asked.items()))
    numbers = []
    for position, target in enumerate(trace.result.targets, start=1):
        wanted = (target.roi, target.box, target.phrase)
        number = position if left.get(position) == wanted else None
        if number is None:
            number = next((one for one, found in left.items() if found == wanted), position)
        left.pop(number, None)
        numbers.append(number)
    return numbers
