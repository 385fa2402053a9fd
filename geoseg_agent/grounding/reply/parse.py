"""Read a model's reply as targets in pixels of the original image, or say exactly which rules it breaks. Pure.

extract   where the answer is, whatever stands around it
shape     the documented variants as the one shape; each change is a named repair
check     the strict contract
locate    numbers of the model as pixels
settle    duplicates, and what is over the limit, go; the reader is told
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from geoseg_agent.grounding.frames import OutOfFrame, locate
from geoseg_agent.grounding.reply.contract import check, shown
from geoseg_agent.grounding.reply.extract import Source, extract, was_cut
from geoseg_agent.grounding.reply.phrases import clean, remark
from geoseg_agent.grounding.reply.rejected import RejectedReply, Violation
from geoseg_agent.grounding.reply.shapes import doubled, shape
from geoseg_agent.grounding.reply.zooming import without_wish
from geoseg_agent.types import GroundingReply, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.grounding.chat import ChatReply, SentImage, Terms
    from geoseg_agent.grounding.reply.contract import AnswerSaid, TargetSaid
    from geoseg_agent.types import Status

SAME: Final = 0.9
"""Intersection over union above which two boxes of one name are one target."""

LONGEST_REASONING: Final = 500
"""Most characters of the reasoning kept."""


class Parsed(NamedTuple):
    """A valid reply.

    Attributes:
        reply: targets in absolute pixels of the original image.
        repairs: everything that was put right, for the trace and the log; the reply's notes are among it.
        source: where in the reply the answer stood.
    """

    reply: GroundingReply
    repairs: tuple[str, ...]
    source: Source


class _Remarks:
    """What was put right: all of it, and what the person who asked should know."""

    def __init__(self, repairs: Sequence[str]) -> None:
        self.repairs = list(repairs)
        self.notes: list[str] = []

    def tell(self, note: str) -> None:
        self.notes.append(note)
        self.repairs.append(note)


def parse(reply: ChatReply, terms: Terms, sent: SentImage, *, zoomable: bool = False) -> Parsed:
    """The targets that a reply names.

    A complete valid answer is taken whatever the server says of its end; a list that was cut off never is.

    Args:
        reply: verbatim.
        terms: `read`, `outside` and `max_targets` count.
        sent: the picture that the model saw.
        zoomable: whether a closer look was offered, so that an answer may hold the empty box of a part.

    Raises:
        RejectedReply: rules are broken; each is named.
    """
    found = extract(reply)
    remarks = _Remarks(found.repairs)
    try:
        answers = [without_wish(answer) for answer in found.answers] if zoomable else found.answers
        said = _checked(answers, terms, remarks)
        located = _located(said, terms, sent, remarks)
    except RejectedReply as rejected:
        raise RejectedReply(rejected.violations, truncated=was_cut(reply)) from None
    targets = _settled(located, terms.max_targets, remarks)
    reasoning = remark(" ".join(answer.reasoning for answer in said), LONGEST_REASONING)
    answer = GroundingReply(_status(said), targets, reasoning, tuple(remarks.notes))
    return Parsed(answer, tuple(dict.fromkeys(remarks.repairs)), found.source)


def _checked(answers: Sequence[Any], terms: Terms, remarks: _Remarks) -> list[AnswerSaid]:
    """Each answer in the one shape, strictly checked."""
    said: list[AnswerSaid] = []
    broken: list[Violation] = []
    boxless = 0
    for index, data in enumerate(answers):
        at = f"calls[{index}]" if len(answers) > 1 else ""
        twice = [Violation(path, shown(key), "must stand only once in its object") for path, key in doubled(data, at)]
        if twice:
            broken += twice
            continue
        shaped = shape(data, terms.read.order)
        remarks.repairs += shaped.repairs
        boxless += shaped.boxless
        try:
            said.append(check(shaped.data, at))
        except RejectedReply as rejected:
            broken += rejected.violations
    if broken:
        raise RejectedReply(broken)
    if boxless and any(answer.targets for answer in said):
        remarks.tell(f"left out {_targets(boxless)} that the model named without a box")
    return said


def _status(said: Sequence[AnswerSaid]) -> Status:
    """Of several calls together: found as soon as one has found something."""
    statuses = {answer.status for answer in said}
    if "found" in statuses:
        return "found"
    return "ambiguous" if "ambiguous" in statuses else "not_found"


def _located(said: Sequence[AnswerSaid], terms: Terms, sent: SentImage, remarks: _Remarks) -> list[Target]:
    """Each target in pixels of the original image, in the model's order."""
    targets: list[Target] = []
    broken: list[Violation] = []
    for call, answer in enumerate(said):
        at = f"calls[{call}].targets" if len(said) > 1 else "targets"
        for index, target in enumerate(answer.targets):
            placed = _placed(target, f"{at}[{index}]", terms, sent, remarks)
            if isinstance(placed, Target):
                targets.append(placed)
            else:
                broken += placed
    if broken:
        raise RejectedReply(broken)
    return targets


def _placed(
    said: TargetSaid, path: str, terms: Terms, sent: SentImage, remarks: _Remarks
) -> Target | list[Violation]:
    """One target, or the rules that it breaks."""
    broken: list[Violation] = []
    try:
        phrase = clean(said.label)
    except ValueError as error:
        phrase = ""
        broken.append(Violation(f"{path}.label", shown(said.label), str(error)))
    numbers = [int(number) if number.is_integer() else number for number in said.bbox_2d]
    try:
        located = locate(numbers, terms, sent)
    except OutOfFrame as error:
        rule = f"must be a box inside the picture, at least 2 px on each side: {error}"
        return [*broken, Violation(f"{path}.bbox_2d", shown(numbers), rule)]
    if broken:
        return broken
    if phrase != said.label:
        remarks.repairs.append("label cleaned")
    for repair in located.repairs:
        remarks.tell(f"box of {phrase!r}: {repair}")
    return Target(located.box, phrase)


def _settled(located: Sequence[Target], most: int, remarks: _Remarks) -> tuple[Target, ...]:
    """The first of each thing named twice, and of these the first `most`."""
    kept: list[Target] = []
    same = dropped = 0
    for target in located:
        if any(_is_same(target, other) for other in kept):
            same += 1
        elif len(kept) == most:
            dropped += 1
        else:
            kept.append(target)
    if same:
        remarks.tell(f"merged {_targets(same)} with another of the same name and place")
    if dropped:
        remarks.tell(f"left out {_targets(dropped)}: the model named more than the {most} asked for")
    return tuple(kept)


def _is_same(target: Target, other: Target) -> bool:
    return target.phrase.casefold() == other.phrase.casefold() and target.box.iou(other.box) > SAME


def _targets(count: int) -> str:
    return "1 target" if count == 1 else f"{count} targets"
