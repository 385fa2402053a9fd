"""The conversations with a model: asking, asking again, and having a result reviewed. Pure.

    system    the rules; the same for every picture (per frame and number of targets)
    user      picture, then its frame, then the query, last
    assistant, user    only when asking again: its own answer, and what is wrong with it

Several queries on one picture share everything up to the query, so a server that caches prefixes reads the picture
once. Asking again appends to the same turns for the same reason.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING

from geoseg_agent.grounding.chat import ChatRequest, Message
from geoseg_agent.grounding.quoting import enclosed, neutral, one_line
from geoseg_prompts import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.grounding.chat import ChatReply, Dialect, Fit, Frame, SentImage, Terms, Tool
    from geoseg_agent.grounding.reply.rejected import RejectedReply
    from geoseg_agent.method import Profile
    from geoseg_agent.types import Query, TargetMask
    from geoseg_prompts import Prompt
    from geoseg_tools.arrays import Size

VARIED = 0.7  # temperature of samples and repetitions: what Qwen publishes for its Instruct models
MOST_TOKENS = 8192
ECHO = 2000
SEEDS = 1000  # a request asked again has the seed of its sample, which is smaller, and a multiple of this
_VALUE = 200
_VIOLATIONS = 20
_TEMPLATE = 192  # what a chat template adds, most of it how to call a tool
_TURN = 16
_CUT = "\n[the rest of the answer is cut off here]"


def prompt_of(profile: Profile, version: str | None = None) -> Prompt:
    """The grounding prompt of a profile: boxes in the model's own frame, or in pixels with W x H (Eq. 1).

    Args:
        profile: "paper" and "released-code" ask for pixels.
        version: the newest where None; a replay names the one that its trace was made with.
    """
    return load("grounding" if profile == "default" else "grounding_pixels", version)


def request_targets(
    query: Query, sent: SentImage, terms: Terms, tool: Tool, prompt: Prompt, *, sample: int = 0
) -> ChatRequest:
    """The request for the targets of a query, in the first dialect of the terms.

    Args:
        query: what to look for.
        sent: the picture as the model gets it.
        terms: which frame and how many targets are asked for.
        tool: `segment_targets`.
        prompt: as `prompt_of`.
        sample: 0 asks for the likeliest answer, any other number for a varied one with that seed.
    """
    known = {
        "corners": corners(terms.asked),
        "units": units(terms.asked, sent.size),
        "limit": terms.max_targets,
        "width": sent.size[1],
        "height": sent.size[0],
        "query": enclosed(query.text),
    }
    return ChatRequest(
        model=terms.model,
        messages=_turns(prompt, {name: value for name, value in known.items() if name in prompt.gaps}, sent),
        tool=tool,
        dialect=terms.rungs[0],
        max_tokens=answer_tokens(terms.max_targets),
        temperature=VARIED if sample else 0.0,
        seed=sample,
    )


def reask(
    request: ChatRequest, reply: ChatReply, rejected: RejectedReply, *, prompt: Prompt | None = None
) -> ChatRequest:
    """The request again, with the model's own answer and exactly what is wrong with it appended.

    The first turns are the same objects; the answer and violations of an earlier repetition are left out, so that
    the conversation stays short. It is asked at a higher temperature and with another seed, and with twice the
    tokens where the answer was cut off.

    Args:
        request: as it was answered.
        reply: the answer.
        rejected: which rules it breaks.
        prompt: of asking again; the newest where None.
    """
    first = tuple(takewhile(lambda message: message.role != "assistant", request.messages))
    listed = [
        f"- {one_line(broken.path, _VALUE) or 'the answer'}: {one_line(broken.value, _VALUE)}: "
        f"{one_line(broken.rule, _VALUE)}"
        for broken in rejected.violations[:_VIOLATIONS]
    ]
    if len(rejected.violations) > _VIOLATIONS:
        listed.append(f"- and {len(rejected.violations) - _VIOLATIONS} more like these")
    told = (prompt or load("reask")).render(violations="\n".join(listed))["user"]
    tokens = request.max_tokens
    return replace(
        request,
        messages=(*first, Message("assistant", _echo(reply)), Message("user", told)),
        max_tokens=max(tokens, min(2 * tokens, MOST_TOKENS)) if rejected.truncated else tokens,
        temperature=VARIED,
        seed=(request.seed or 0) + SEEDS,
    )


def with_dialect(request: ChatRequest, dialect: Dialect) -> ChatRequest:
    """The same request, asked for in another way on the wire; the conversation stays as it is."""
    return request if request.dialect == dialect else replace(request, dialect=dialect)


def request_review(
    query: Query, overlay: SentImage, targets: Sequence[TargetMask], terms: Terms, tool: Tool, prompt: Prompt
) -> ChatRequest:
    """The request to judge a result: one picture, with the targets drawn over it and numbered from 1.

    Args:
        query: what was asked.
        overlay: the picture with the targets' masks and numbers.
        targets: in the order of their numbers, at least one.
        terms: the frame in which new boxes are asked for.
        tool: `review_targets`.
        prompt: "verify".
    """
    listed = "\n".join(
        f"{number}: {one_line(target.phrase, _VALUE)}" for number, target in enumerate(targets, start=1)
    )
    values = {
        "corners": corners(terms.asked),
        "units": units(terms.asked, overlay.size),
        "count": len(targets),
        "targets": listed,
        "query": enclosed(query.text),
    }
    return ChatRequest(
        model=terms.model,
        messages=_turns(prompt, values, overlay),
        tool=tool,
        dialect=terms.rungs[0],
        max_tokens=answer_tokens(len(targets)),
        temperature=0.0,
        seed=0,
    )


def answer_tokens(targets: int) -> int:
    """Tokens of an answer with `targets` entries and a sentence, when the model does not think aloud first.

    An entry is about 45: these models write every digit as a token.
    """
    return min(256 + 64 * targets, MOST_TOKENS)


def estimate_tokens(request: ChatRequest, fit: Fit) -> int:
    """Tokens of the prompt, rather too many than too few: pictures by area, digits one each, other text by length."""
    texts = [message.text for message in request.messages]
    for tool in filter(None, (request.tool, request.tool.other)):
        texts += [tool.name, tool.description, json.dumps(dict(tool.schema))]
    tokens = _TEMPLATE + _TURN * len(request.messages)
    tokens += sum(map(_text_tokens, texts))
    for message in request.messages:
        if message.image is not None:
            height, width = message.image.size
            tokens += math.ceil(height / fit.align) * math.ceil(width / fit.align)
    return tokens


def corners(frame: Frame) -> str:
    """The names of a box's four numbers in the frame's order."""
    return "x1, y1, x2, y2" if frame.order == "xyxy" else "y1, x1, y2, x2"


def units(frame: Frame, size: Size) -> str:
    """What the numbers of a frame count, in words, for a picture of `size` (h, w)."""
    match frame.space:
        case "norm1000":
            return (
                "whole numbers from 0 to 1000 relative to the image's width and height: 0 is its left or top edge, "
                "1000 its right or bottom edge"
            )
        case "unit":
            return (
                "decimal numbers from 0 to 1 relative to the image's width and height: 0 is its left or top edge, "
                "1 its right or bottom edge"
            )
        case "pixels":
            return f"whole pixels of this image, which is {size[1]} x {size[0]} pixels (width x height)"


def _turns(prompt: Prompt, values: dict[str, object], sent: SentImage) -> tuple[Message, ...]:
    parts = prompt.render(**values)
    return Message("system", parts["system"]), Message("user", parts["user"], sent)


def _echo(reply: ChatReply) -> str:
    """What the model answered, as text; servers refuse an empty turn."""
    called = "\n".join(call.arguments for call in reply.calls)
    said = (called, reply.content, reply.refusal, reply.reasoning)
    text = next((part.strip() for part in said if part and part.strip()), "(no answer)")
    return neutral(text if len(text) <= ECHO else text[:ECHO] + _CUT)


@lru_cache(maxsize=256)  # the rules and the schema are the same in every request
def _text_tokens(text: str) -> int:
    ascii_ = len(text.encode("ascii", "ignore"))
    digits = sum(text.count(digit) for digit in "0123456789")
    other = len(text.encode("utf-8", "replace")) - ascii_
    return digits + math.ceil((ascii_ - digits) / 3) + math.ceil(other / 2)
