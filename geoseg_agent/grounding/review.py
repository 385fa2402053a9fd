"""What a model says of a result that it is shown: the tool it calls, and reading its answer strictly. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geoseg_agent.grounding.chat import Tool
from geoseg_agent.grounding.frames import OutOfFrame, locate
from geoseg_agent.grounding.quoting import one_line
from geoseg_agent.grounding.reply.contract import COORDINATE
from geoseg_agent.grounding.reply.extract import NOTHING, says, thoughts, was_cut
from geoseg_agent.grounding.reply.phrases import LONGEST, clean
from geoseg_agent.grounding.reply.rejected import RejectedReply, Violation
from geoseg_agent.grounding.reply.scan import Doubled, scan
from geoseg_agent.grounding.reply.shapes import doubled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geoseg_agent.grounding.chat import ChatReply, SentImage, Terms
    from geoseg_tools.geometry import Box

Judgement = Literal["accept", "reground", "drop"]
M = TypeVar("M", bound=BaseModel)

_REASONING = 500
_VALUE = 80
_NUMBERS = 4
_FORM = "must be one complete JSON object with verdicts, score and reasoning"
_KEYS = frozenset({"verdicts", "score"})


@dataclass(frozen=True, slots=True)
class TargetVerdict:
    """What is to happen to one target.

    Attributes:
        verdict: "accept" keeps it, "reground" segments it anew, "drop" removes it.
        box: where it is, absolute pixels of the original image; given exactly with "reground".
        label: a better name with "reground", or None: the name stays.
    """

    verdict: Judgement = "accept"
    box: Box | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """A model's verdict on a result.

    Attributes:
        verdicts: one for each target, in the order of their numbers; a target it does not mention is accepted.
        score: 0..10, how well all targets together answer the query; a ranking, no probability.
        reasoning: its reason, one line of at most 500 characters.
        repairs: what had to be put right in the boxes, one remark each.
    """

    verdicts: tuple[TargetVerdict, ...]
    score: float
    reasoning: str = ""
    repairs: tuple[str, ...] = ()

    @property
    def accepts_all(self) -> bool:
        """Whether nothing is to change."""
        return all(verdict.verdict == "accept" for verdict in self.verdicts)


class _Verdict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    target: int
    verdict: Judgement
    bbox_2d: list[float] | None = None
    label: str | None = None


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    verdicts: list[_Verdict]
    score: Annotated[float, Field(ge=0, le=10)]
    reasoning: str | None = None


def review_tool(count: int) -> Tool:
    """The tool `review_targets` for a picture with targets 1..`count`; every property is required.

    Args:
        count: targets drawn, at least 1.

    Raises:
        ValueError: there is no target to review.
    """
    if count < 1:
        raise ValueError(f"a review needs at least one target, got {count}")
    verdict = {
        "target": {"type": "integer", "minimum": 1, "maximum": count},
        "verdict": {"type": "string", "enum": ["accept", "reground", "drop"]},
        "bbox_2d": {"type": "array", "items": dict(COORDINATE), "minItems": 0, "maxItems": _NUMBERS},
        "label": {"type": "string", "maxLength": LONGEST},
    }
    answer = {
        "verdicts": {"type": "array", "items": _object(verdict), "minItems": 0, "maxItems": count},
        "score": {"type": "integer", "minimum": 0, "maximum": 10},
        "reasoning": {"type": "string", "maxLength": _REASONING},
    }
    return Tool("review_targets", "Say of each numbered target whether it stays, moves or goes.", _object(answer))


def parse_review(reply: ChatReply, terms: Terms, sent: SentImage, count: int) -> Review:
    """What the reply says of targets 1..`count`.

    Looked for in the arguments of calls, then the text, then, where nothing was said, at the end of the reasoning; of
    several answers in one of them the last counts. A box or label that comes with "accept" or "drop" is ignored.

    Args:
        reply: verbatim.
        terms: how new boxes are read.
        sent: the picture that was shown, in whose frame they are.
        count: targets drawn.

    Raises:
        RejectedReply: there is no answer, or it breaks a rule; the violations say which.
    """
    answer = read_answer(reply, _Answer, _KEYS, _FORM)
    cut = was_cut(reply)
    broken: list[Violation] = []
    repairs: list[str] = []
    verdicts: dict[int, TargetVerdict] = {}
    for index, given in enumerate(answer.verdicts):
        path = f"verdicts[{index}]"
        if not 1 <= given.target <= count:
            broken.append(_violation(f"{path}.target", given.target, f"must be a number from 1 to {count}"))
        elif given.target in verdicts:
            broken.append(_violation(f"{path}.target", given.target, "must have one verdict only"))
        else:
            verdicts[given.target] = _meant(given, path, terms, sent, broken, repairs)
    if broken:
        raise RejectedReply(broken, truncated=cut)
    return Review(
        verdicts=tuple(verdicts.get(number, TargetVerdict()) for number in range(1, count + 1)),
        score=answer.score,
        reasoning=one_line(answer.reasoning or "", _REASONING),
        repairs=tuple(repairs),
    )


def _meant(
    given: _Verdict, path: str, terms: Terms, sent: SentImage, broken: list[Violation], repairs: list[str]
) -> TargetVerdict:
    if given.verdict != "reground":
        return TargetVerdict(given.verdict)
    box: Box | None = None
    numbers = given.bbox_2d or []
    try:
        located = locate(numbers, terms, sent)
        box = located.box
        repairs.extend(f"{path}: {repair}" for repair in located.repairs)
    except OutOfFrame as error:
        broken.append(_violation(f"{path}.bbox_2d", numbers, str(error)))
    return TargetVerdict("reground", box, _label(given.label, path, broken))


def _label(label: str | None, path: str, broken: list[Violation]) -> str | None:
    if label is None or not label.strip():
        return None
    try:
        return clean(label)
    except ValueError as error:
        broken.append(_violation(f"{path}.label", label, str(error)))
        return None


def read_answer(reply: ChatReply, model: type[M], keys: frozenset[str], form: str) -> M:
    """The one object that a reply answers with, strictly validated; looked for as `parse_review` says.

    Args:
        reply: verbatim.
        model: what the object must be; strict, so that nothing is converted.
        keys: of which an answer has at least one.
        form: what an answer must be, as an instruction.

    Raises:
        RejectedReply: there is no answer, or it breaks a rule; the violations say which.
    """
    data = _found(reply, keys, form)
    cut = was_cut(reply)
    twice = [_violation(path, key, "must not stand twice in one object") for path, key in doubled(data)]
    if twice:
        raise RejectedReply(twice, truncated=cut)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise RejectedReply(_violations(error), truncated=cut) from None


def _found(reply: ChatReply, keys: frozenset[str], form: str) -> Any:
    """The answer in the reply, not yet validated.

    Raises:
        RejectedReply: the reply holds none, or a refusal.
    """
    if reply.refusal and reply.refusal.strip():
        raise RejectedReply([_violation("", reply.refusal, f"is a refusal; {form}")], truncated=was_cut(reply))
    called = [call.arguments for call in reply.calls if call.arguments.strip() not in NOTHING]
    thought, said = thoughts(reply.content or "")
    if called or says(said):
        text = called[-1] if called else said
        read = _read(text, keys)
        if read.answered:
            return read.data
        raise _missing(reply, text, read, form)
    for text in filter(None, (thought, reply.reasoning)):
        read = _read(text, keys)
        # What more thoughts follow is a draft.
        if read.answered and not says(text[read.end :]):
            return read.data
    raise _missing(reply, said, _Read(None, 0), form)


class _Read(NamedTuple):
    """The last object with the shape of an answer in a text, else the first of another, and what stands behind it."""

    data: dict[str, Any] | None
    end: int
    cut: bool = False
    refused: str | None = None

    @property
    def answered(self) -> bool:
        return self.data is not None and not self.cut and self.refused is None


def _read(text: str, keys: frozenset[str]) -> _Read:
    seen = scan(text)
    objects = [(value.end, _opened(value.data)) for value in seen.values if isinstance(value.data, dict)]
    answers = [(end, data) for end, data in objects if not keys.isdisjoint(data)]
    end, data = answers[-1] if answers else objects[0] if objects else (0, None)
    # Of an object of something else nothing stands behind: the answer may be what was cut off before it.
    since = end if answers else 0
    cut = seen.unclosed is not None and seen.unclosed >= since
    return _Read(data, end, cut, seen.refused if seen.refused_at >= since else None)


def _missing(reply: ChatReply, text: str, read: _Read, form: str) -> RejectedReply:
    said = next((part for part in (text, reply.content) if part), "")
    return RejectedReply([_violation("", said, read.refused or form)], truncated=read.cut or was_cut(reply))


def _opened(data: dict[str, Any]) -> dict[str, Any]:
    """The arguments, where the object is a call that was written as text."""
    if isinstance(data, Doubled):
        return data
    for key in ("arguments", "parameters"):
        inner = data.get(key)
        if "name" in data and isinstance(inner, dict):
            return inner
    return data


def _violations(error: ValidationError) -> list[Violation]:
    found = []
    for one in error.errors(include_url=False, include_context=False):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in one["loc"]).lstrip(".")
        found.append(_violation(path, one["input"], one["msg"].removeprefix("Input ")))
    return found


def _violation(path: str, value: object, rule: str) -> Violation:
    shown = value if isinstance(value, str) and not path else repr(value)
    return Violation(one_line(path, _VALUE), one_line(shown, _VALUE) or "empty", rule)


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }
