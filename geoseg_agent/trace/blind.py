"""The blind spots of replay: fields that can be changed, digests recomputed, without a replay noticing.

Most say how a query ran and not what came of it. A file whose seal was not recomputed has no blind spot.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from geoseg_agent.trace.model import Result, Step, Trace

When = Literal["always", "no result", "unused route", "each point", "phrase hint", "no targets", "unprompted"]

WHEN: dict[When, str] = {
    "always": "in every trace",
    "no result": "where the query failed or was interrupted, unless the error or a later call follows from it",
    "unused route": "where the rule of fusion did not use the route's score",
    "each point": "where every keypoint prompted by itself",
    "no targets": "where nothing was found",
    "phrase hint": "where the caller's phrase replaced it",
    "unprompted": "where the points were in no region, or none of them was positive",
}


class BlindSpot(NamedTuple):
    """A field, or several.

    Attributes:
        path: as in messages; [*] is any index, * at the end anything below.
        when: in which traces; `WHEN` says it in words.
        why: what the field is for, and why nothing follows from it.
    """

    path: str
    when: When
    why: str


BLIND_SPOTS: tuple[BlindSpot, ...] = (
    BlindSpot("versions*", "always", "what it was made with; a replay works with any version"),
    BlindSpot("weights*", "always", "the same, for models"),
    BlindSpot("settings*", "always", "how the query was run; constants of the method are seen unless set to null"),
    BlindSpot("image.name", "always", "what messages call the picture"),
    BlindSpot("image.path", "always", "where it lay; moving it changes nothing"),
    BlindSpot("image.file_sha256", "always", "the pixels are pinned by image.sha256"),
    BlindSpot("image.crs", "always", "its place on the ground, used by exports only"),
    BlindSpot("image.transform", "always", "the same"),
    BlindSpot("image.bands", "always", "how the pixels were made, which are pinned by image.sha256"),
    BlindSpot("image.stretch", "always", "the same"),
    BlindSpot("steps[*].waited", "always", "time is not repeated"),
    BlindSpot("steps[*].took", "always", "the same"),
    BlindSpot("steps[*].output.scores", "unused route", "a score that nobody used"),
    BlindSpot("steps[*].output.notes", "each point", "a note that another point gave too"),
    BlindSpot("hints.phrase", "no targets", "a phrase that nobody used"),
    BlindSpot("steps[0].output.targets[*].phrase", "phrase hint", "a phrase that nobody used"),
    BlindSpot("hints.points*", "unprompted", "points that nobody used"),
    BlindSpot("engine", "no result", "the label of a result"),
    BlindSpot("query", "no result", "the box and phrase of the caller were used instead"),
    BlindSpot("method*", "no result", "constants whose effect was not reached"),
    BlindSpot("hints*", "no result", "hints whose effect was not reached"),
    BlindSpot("image.width", "no result", "a query that ended before its first step"),
    BlindSpot("image.height", "no result", "the same"),
    BlindSpot("image.sha256", "no result", "the same"),
    BlindSpot("steps[*]", "no result", "the last steps, left out"),
    BlindSpot("steps[*].output*", "no result", "answers that nothing came of any more"),
    BlindSpot("steps[*].error*", "no result", "a second error beside the one that ended the query"),
)


def blind_spot(trace: Trace, path: str) -> BlindSpot | None:
    """The blind spot that the field at `path` of this trace lies in, or None: a change of it is noticed."""
    return next((spot for spot in BLIND_SPOTS if _covers(spot.path, path) and _holds(spot.when, trace, path)), None)


def _covers(pattern: str, path: str) -> bool:
    body = re.escape(pattern.removesuffix("*")).replace(r"\[\*\]", r"\[\d+\]")
    return re.fullmatch(body + (r"([.\[].*)?" if pattern.endswith("*") else ""), path) is not None


def _holds(when: When, trace: Trace, path: str) -> bool:
    index = int(re.split(r"[\[\]]", path)[1]) if "[" in path else -1
    if when in {"always", "no result"}:
        return when == "always" or trace.result is None
    if when == "unprompted":
        return not _prompted(trace, index)
    if when == "unused route":
        return trace.result is not None and _unused(trace, trace.result, trace.steps[index])
    if when == "each point":
        return trace.steps[index].seam == "points" and trace.method.get("point_prompt") == "each"
    if when == "no targets":
        return trace.result is not None and not trace.result.targets
    return trace.hints.phrase is not None


def _unused(trace: Trace, result: Result, step: Step) -> bool:
    """Whether the rule of the step's target did not use the step's route, or only the best of its masks."""
    if step.target is None:
        return False
    if step.seam == "text" and trace.method.get("text_mode") == "best":
        return True
    return result.targets[step.target - 1].rule not in {"both", step.seam}


def _prompted(trace: Trace, number: int) -> bool:
    """Whether the caller's point `number` was among the points of any call."""
    if not 0 <= number < len(trace.hints.points):
        return False
    point = trace.hints.points[number]
    return any(
        [point.x - step.input.roi[0], point.y - step.input.roi[1]] in step.input.points
        for step in trace.steps
        if step.seam == "points"
    )
