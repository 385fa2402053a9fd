"""The blind spots of replay: fields that can be changed, digests recomputed, without a replay noticing.

Most say how a query ran and not what came of it. A file whose seal was not recomputed has no blind spot.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from geoseg_agent.trace.numbering import step_numbers

if TYPE_CHECKING:
    from geoseg_agent.trace.model import Result, Step, Trace

When = Literal[
    "always",
    "no result",
    "unused route",
    "each point",
    "phrase hint",
    "no targets",
    "unprompted",
    "endpoint",
    "sent",
    "chat",
    "replaced",
    "stability",
    "search",
]

WHEN: dict[When, str] = {
    "always": "in every trace",
    "no result": "where the query failed or was interrupted, unless the error or a later call follows from it",
    "unused route": "where the rule of fusion did not use the route's score",
    "each point": "where every keypoint prompted by itself",
    "no targets": "where nothing was found",
    "phrase hint": "where the caller's phrase replaced it",
    "unprompted": "where the points were in no region, or none of them was positive",
    "endpoint": "in an `endpoint` step",
    "sent": "in a `sent` step",
    "chat": "in a `chat` step",
    "replaced": "in the steps of a target that a review moved or dropped",
    "stability": "in a `stability` step",
    "search": "in a `search` step",
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
    BlindSpot("image.opened", "always", "how its pixels were read; what follows from that stands in the steps"),
    BlindSpot("steps[*].waited", "always", "time is not repeated"),
    BlindSpot("steps[*].took", "always", "the same"),
    BlindSpot("steps[*].output.scores", "unused route", "a score that nobody used"),
    BlindSpot("steps[*].output.notes", "each point", "a note that another point gave too"),
    BlindSpot("hints.phrase", "no targets", "a phrase that nobody used"),
    BlindSpot("steps[*].output.targets[*].phrase", "phrase hint", "a phrase that nobody used"),
    BlindSpot("hints.points*", "unprompted", "points that nobody used"),
    BlindSpot("steps[*].output*", "replaced", "what was not drawn when the model looked at the result"),
    BlindSpot("steps[*].output.agreements", "stability", "each of them; only their mean, the confidence, is seen"),
    BlindSpot("steps[*].output.calls", "search", "what the search was planned to cost; what it did cost is seen"),
    BlindSpot("steps[*].output.tokens", "search", "the same"),
    BlindSpot("steps[*].output.scale", "search", "it follows from the windows, and is told with one decimal"),
    BlindSpot("steps[*].input.address", "endpoint", "where the model was; only the key of a cached reply holds it"),
    BlindSpot("steps[*].input.model", "endpoint", "what it was configured as; the label of the result says it again"),
    BlindSpot("steps[*].output.server", "endpoint", "who served the model; nothing is read by it"),
    BlindSpot("steps[*].output.rungs", "endpoint", "dialects that no request came to"),
    BlindSpot("steps[*].output.proved", "endpoint", "whether the server was seen to keep to its dialect"),
    BlindSpot("steps[*].output.family", "endpoint", "where the frames came from, which are seen"),
    BlindSpot("steps[*].output.max_targets", "endpoint", "it counts for grounding, and not for a review"),
    BlindSpot("steps[*].output.read", "endpoint", "the frame of boxes, where a reply had none"),
    BlindSpot("steps[*].output.outside", "endpoint", "a rule for boxes over the edge, where there was none"),
    BlindSpot(
        "steps[*].output.verdict*", "endpoint", "what the doctor found; the frame that replies are read in is seen"
    ),
    BlindSpot("steps[*].output.size", "sent", "it counts for boxes in pixels of the picture sent, and for budgets"),
    BlindSpot("steps[*].output.media_type", "sent", "how it was encoded; its digest is seen"),
    BlindSpot("steps[*].output.bytes", "sent", "the same"),
    BlindSpot("steps[*].output.content", "chat", "what a tolerant reader passes over; the answer in it is seen"),
    BlindSpot("steps[*].output.calls*", "chat", "the same, and the name of the function"),
    BlindSpot("steps[*].output.reasoning", "chat", "the same, where the answer stood elsewhere"),
    BlindSpot("steps[*].output.refusal", "chat", "the same"),
    BlindSpot(
        "steps[*].output.finish", "chat", "it tells a reply that was cut off, and only where the reply is not valid"
    ),
    BlindSpot("steps[*].output.stopped", "chat", "the same"),
    BlindSpot("steps[*].output.usage*", "chat", "what it cost; it counts where there is a budget"),
    BlindSpot("steps[*].output.request_id", "chat", "the server's name for it"),
    BlindSpot("steps[*].error*", "chat", "why an attempt failed, where the next would have been made all the same"),
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
    match when:
        case "always":
            found = True
        case "no result":
            found = trace.result is None
        case "unprompted":
            found = not _prompted(trace, index)
        case "unused route":
            found = trace.result is not None and _unused(trace, trace.result, trace.steps[index])
        case "each point":
            found = trace.steps[index].seam == "points" and trace.method.get("point_prompt") == "each"
        case "no targets":
            found = trace.result is not None and not trace.result.targets
        case "phrase hint":
            found = trace.hints.phrase is not None
        case "replaced":
            found = _replaced(trace, index)
        case _:
            found = trace.steps[index].seam == when
    return found


def _unused(trace: Trace, result: Result, step: Step) -> bool:
    """Whether the rule of the step's target did not use the step's route."""
    if step.target is None:
        return False
    numbers = step_numbers(trace)
    if step.target not in numbers:
        return True
    return result.targets[numbers.index(step.target)].rule not in {"both", step.seam}


def _replaced(trace: Trace, index: int) -> bool:
    """Whether the step is of a target that is not in the result."""
    target = trace.steps[index].target if trace.result is not None else None
    return target is not None and target not in step_numbers(trace)


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
