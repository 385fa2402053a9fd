"""Looking closer: when a part may be asked for, which window is shown then, and how both are said. Pure.

A picture sent is at most about two thousand visual tokens, whatever the size of the image. Where it is clearly
coarser than the image, the model may ask for a part of it, is shown that window at up to its own resolution, and is
asked again, in a conversation of its own with that one picture.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from geoseg_agent.grounding.chat import Tool
from geoseg_agent.grounding.messages import corners, units
from geoseg_agent.grounding.reply.contract import COORDINATE, LONGEST_REASONING
from geoseg_agent.grounding.reply.zooming import BOX, CALL
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from geoseg_agent.grounding.chat import ChatRequest, Fit, SentImage, Terms
    from geoseg_prompts import Prompt

COARSE: Final = 2
"""How many times as long as the picture sent a window must be for a part of it to be worth a closer look."""

_MARGIN: Final = 0.1
_ASPECT: Final = 2
_GAIN: Final = 0.75
"""A part longer than this share of what was shown would show hardly more."""


def coarse(window: tuple[int, int], sent: tuple[int, int]) -> bool:
    """Whether a picture of size `sent` is clearly coarser than the window it shows; both (h, w)."""
    return max(window) >= COARSE * max(sent)


def window_around(box: Box, shown: Box, fit: Fit) -> Box | None:
    """The window to show where a model asks for `box` of what it was `shown`, or None where that gains nothing.

    A tenth is added on each side, the shorter side is at least half of the longer, and both are at least as long as
    a picture that is sent at the window's own resolution: more of the surroundings costs no detail. The window stays
    inside of what was shown.

    Args:
        box: absolute pixels, inside `shown`.
        shown: absolute pixels.
        fit: how large a picture may be.
    """
    least = math.isqrt(fit.most) * fit.align
    width, height = (math.ceil(side * (1 + 2 * _MARGIN)) for side in (box.width, box.height))
    longest = max(width, height)
    x1, x2 = _placed(box.x1, box.x2, max(width, -(-longest // _ASPECT), least), shown.x1, shown.x2)
    y1, y2 = _placed(box.y1, box.y2, max(height, -(-longest // _ASPECT), least), shown.y1, shown.y2)
    window = Box(x1, y1, x2, y2)
    return window if max(window.size) <= _GAIN * max(shown.size) else None


def _placed(low: int, high: int, side: int, first: int, last: int) -> tuple[int, int]:
    """`low`..`high` widened about its middle to `side`, moved into `first`..`last`."""
    side = min(side, last - first)
    start = min(max((low + high - side) // 2, first), last - side)
    return start, start + side


def zoom_tool(tool: Tool, terms: Terms, sent: SentImage) -> Tool:
    """`segment_targets` with `zoom` as the second function, and the schema of an answer that may be either.

    The schema is one flat object on purpose: strict modes refuse alternatives at its root.

    Args:
        tool: `segment_targets`.
        terms: `asked` counts.
        sent: whose size the description names where pixels are asked for.
    """
    where = f"{corners(terms.asked)} in {units(terms.asked, sent.size)}"
    box = {"type": "array", "items": dict(COORDINATE), "minItems": 4, "maxItems": 4}
    reasoning = {"type": "string", "maxLength": LONGEST_REASONING}
    zoom = Tool(
        CALL,
        f"Instead of an answer: see one part of the image at a higher resolution. Its box is {where}.",
        _object({"bbox_2d": box, "reasoning": reasoning}),
    )
    answer: dict[str, Any] = dict(tool.schema["properties"])
    status = {"type": "string", "enum": [*answer["status"]["enum"], CALL]}
    either = {"status": status, BOX: {**box, "minItems": 0}, "targets": answer["targets"], "reasoning": reasoning}
    return replace(tool, other=zoom, either=_object(either))


def offering(request: ChatRequest, terms: Terms, sent: SentImage, rounds: int, prompt: Prompt) -> ChatRequest:
    """The request for targets, with the offer to look closer.

    Args:
        request: as `request_targets` makes it, its tool that of `zoom_tool`.
        terms: `asked` counts.
        sent: the picture of the request.
        rounds: how often the model may still look closer, at least 1.
        prompt: "zoom".
    """
    window = sent.window
    parts = prompt.render(
        corners=corners(terms.asked),
        width=window.width,
        height=window.height,
        factor=f"{max(window.size) / max(sent.size):.1f}",
        rounds="once" if rounds == 1 else f"{rounds} times",
    )
    return _with(request, parts["user"], parts["system"])


def of_a_part(request: ChatRequest, sent: SentImage, shown: Box, prompt: Prompt) -> ChatRequest:
    """The request for targets, with the remark that its picture is a part, and where in the larger image that lies.

    Args:
        request: as `request_targets` makes it.
        sent: the picture of the request.
        shown: the larger image, absolute pixels.
        prompt: "zoomed".
    """
    part = sent.window
    parts = prompt.render(
        left=round(100 * (part.x1 - shown.x1) / shown.width),
        top=round(100 * (part.y1 - shown.y1) / shown.height),
        across=max(1, round(100 * part.width / shown.width)),
        down=max(1, round(100 * part.height / shown.height)),
    )
    return _with(request, parts["user"])


def _with(request: ChatRequest, remark: str, rules: str = "") -> ChatRequest:
    """The rules after the request's own, the remark before its last turn, so that the query stays last."""
    system, user = request.messages
    system = replace(system, text=f"{system.text}\n\n{rules}") if rules else system
    return replace(request, messages=(system, replace(user, text=f"{remark}\n\n{user.text}")))


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
