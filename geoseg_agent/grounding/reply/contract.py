"""The contract with a model: the one function that it must call, and the strict model of what it may say.

The schema keeps to the keywords that every constrained decoder takes (xgrammar in vLLM and SGLang, llama.cpp's
grammars, OpenAI's strict mode): no $ref, no patterns, bounds on numbers and lists. Servers ignore parts of it, so
`check` repeats what it says.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geoseg_agent.grounding.chat import Tool
from geoseg_agent.grounding.messages import corners, units
from geoseg_agent.grounding.reply.phrases import LONGEST
from geoseg_agent.grounding.reply.rejected import RejectedReply, Violation
from geoseg_agent.grounding.reply.shapes import TOOL

if TYPE_CHECKING:
    from geoseg_agent.grounding.chat import SentImage, Terms

LONGEST_REASONING: Final = 300
"""Most characters of the reasoning asked for; a longer one is cut, not refused."""

MOST_TARGETS: Final = 500
"""Most targets that are looked at; of fewer, those over the limit asked for are left out and told."""

_VALUE: Final = 80
_RULES: Final = {
    "missing": "must be given",
    "extra_forbidden": "is no part of the answer and must be left out",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "too_short": "must be four numbers",
    "too_long": "must be four numbers",
    "literal_error": 'must be "found", "not_found" or "ambiguous"',
    "string_type": "must be a text in double quotes",
    "list_type": "must be a list in square brackets",
    "model_type": "must be an object in braces",
}


COORDINATE: Final = {"type": "number"}
"""The schema of one number of a box. It has no bounds on purpose: a decoder that enforces them cuts the digits of a
model that speaks another frame, 1200 to 120, and so makes a wrong box of one that would be refused."""


class TargetSaid(BaseModel):
    """One target as the model says it: four finite numbers in its own frame, and a name."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)

    bbox_2d: Annotated[list[float], Field(min_length=4, max_length=4)]
    label: str


class AnswerSaid(BaseModel):
    """The whole answer as the model says it."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)

    status: Literal["found", "not_found", "ambiguous"]
    targets: list[TargetSaid]
    reasoning: str = ""


def segment_targets_tool(terms: Terms, sent: SentImage) -> Tool:
    """The function `segment_targets`.

    Args:
        terms: `asked` and `max_targets` count.
        sent: whose size the description names where pixels are asked for.
    """
    where = f"{corners(terms.asked)} in {units(terms.asked, sent.size)}"
    target = {
        "type": "object",
        "properties": {
            "bbox_2d": {"type": "array", "items": dict(COORDINATE), "minItems": 4, "maxItems": 4},
            "label": {"type": "string", "maxLength": LONGEST},
        },
        "required": ["bbox_2d", "label"],
        "additionalProperties": False,
    }
    schema = {
        "type": "object",
        "properties": {
            "status": {"type": "string", "enum": ["found", "not_found", "ambiguous"]},
            # An empty list is allowed: an answer that must name something names what is not there.
            "targets": {"type": "array", "items": target, "minItems": 0, "maxItems": terms.max_targets},
            "reasoning": {"type": "string", "maxLength": LONGEST_REASONING},
        },
        "required": ["status", "targets", "reasoning"],
        "additionalProperties": False,
    }
    return Tool(TOOL, f"Report what answers the query: each thing's box, {where}, and a short name for it.", schema)


def check(data: Any, at: str = "") -> AnswerSaid:
    """The answer that `data` is, strictly: no other keys, no converted types, finite numbers, a status that fits.

    Args:
        data: as `shape` gives it.
        at: what paths in violations begin with.

    Raises:
        RejectedReply: with every rule broken.
    """
    targets = data.get("targets") if isinstance(data, dict) else None
    if isinstance(targets, list) and len(targets) > MOST_TARGETS:
        rule = f"must name each thing once; {len(targets)} targets are more than any answer has"
        raise RejectedReply([Violation(_path(("targets",), at), shown(targets[:1]), rule)])
    try:
        answer = AnswerSaid.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        raise RejectedReply([_violation(dict(detail), at) for detail in details]) from None
    if answer.status == "found" and not answer.targets:
        rule = 'must hold at least one target when the status is "found"; use "not_found" when there is none'
        raise RejectedReply([Violation(_path(("targets",), at), "[]", rule)])
    if answer.status == "not_found" and answer.targets:
        rule = f'must be "found" or "ambiguous" when targets are given, here {len(answer.targets)}'
        raise RejectedReply([Violation(_path(("status",), at), '"not_found"', rule)])
    return answer


def shown(value: Any) -> str:
    """The value as JSON, cut to 80 characters; what nobody sees or no terminal takes is escaped."""
    plain = json.dumps(value, ensure_ascii=False, default=str)[: _VALUE + 1]
    text = "".join(sign if sign.isprintable() else json.dumps(sign)[1:-1] for sign in plain)
    return text if len(text) <= _VALUE else f"{text[: _VALUE - 1]}…"


def _violation(detail: dict[str, Any], at: str) -> Violation:
    kind = detail["type"]
    value = "missing" if kind == "missing" else shown(detail["input"])
    return Violation(_path(detail["loc"], at), value, _RULES.get(kind, f"must be valid: {detail['msg']}"))


def _path(parts: tuple[str | int, ...], at: str) -> str:
    path = at
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            name = part if part.isidentifier() and len(part) <= _VALUE // 2 else shown(part[: _VALUE // 2])
            path += f".{name}" if path else name
    return path
