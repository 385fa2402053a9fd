"""One sample of an answer: the model looks, looks closer where it asks to and may, and answers.

    request    with the offer of a closer look where the picture is coarse and rounds are left
    ask        each round has attempts of its own; what all of them cost is one budget
    zoom       the part asked for becomes the next picture, in a conversation of its own
    answer     boxes are in the frame of the window shown last, and so in the original's

Without an offer the requests are those that were always made.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from geoseg_agent.grounding.ask import ask
from geoseg_agent.grounding.closer import coarse, of_a_part, offering, window_around, zoom_tool
from geoseg_agent.grounding.messages import request_targets
from geoseg_agent.grounding.reply.contract import segment_targets_tool
from geoseg_agent.grounding.reply.parse import parse
from geoseg_agent.grounding.reply.zooming import parse_zoom
from geoseg_agent.logs import log
from geoseg_agent.types import GroundingReply
from geoseg_prompts import load

if TYPE_CHECKING:
    from geoseg_agent.grounding.ask import Line
    from geoseg_agent.grounding.chat import ChatReply, ChatRequest, Pictures, SentImage
    from geoseg_agent.grounding.frames import Located
    from geoseg_agent.imagery import Image
    from geoseg_agent.types import Query
    from geoseg_prompts import Prompt


class Looking(NamedTuple):
    """What every sample of one question has in common.

    Attributes:
        line: how to reach the model.
        pictures: makes what is sent.
        image: the original.
        query: what to look for.
        sent: the picture to begin with.
        prompt: of grounding.
        rounds: how often a sample may look closer.
    """

    line: Line
    pictures: Pictures
    image: Image
    query: Query
    sent: SentImage
    prompt: Prompt
    rounds: int


async def look(looking: Looking, sample: int) -> GroundingReply:
    """The answer of one sample, boxes in absolute pixels of the original.

    Args:
        looking: what is asked.
        sample: its number, which is its seed.

    Raises:
        InvalidReply, EndpointError, BudgetExceeded: as `ask`.
    """
    terms, sent, left = looking.line.terms, looking.sent, looking.rounds
    while True:
        offered = left > 0 and coarse(sent.window.size, sent.size)
        request = _request(looking, sent, sample, left if offered else 0)
        found = await ask(looking.line, request, partial(_read, looking, sent, offered))
        if isinstance(found, GroundingReply):
            return found if sent is looking.sent else _told(found, looking, sent)
        for repair in found.repairs:
            log.info("part repaired", repair=repair)
        window = window_around(found.box, sent.window, terms.fit)
        log.info("looking closer", sample=sample, box=tuple(found.box), window=window and tuple(window))
        if window is None:
            # It would show hardly more: asked without the offer, the model answers from what it has seen.
            left = 0
            continue
        left -= 1
        sent = await looking.pictures.view(looking.image, window, terms.fit)


def _request(looking: Looking, sent: SentImage, sample: int, offered: int) -> ChatRequest:
    """The request of one round; `offered` says how often the model may still look closer."""
    terms = looking.line.terms
    tool = segment_targets_tool(terms, sent)
    tool = zoom_tool(tool, terms, sent) if offered else tool
    request = request_targets(looking.query, sent, terms, tool, looking.prompt, sample=sample)
    if sent is not looking.sent:
        request = of_a_part(request, sent, looking.sent.window, load("zoomed"))
    return offering(request, terms, sent, offered, load("zoom")) if offered else request


def _read(looking: Looking, sent: SentImage, offered: bool, reply: ChatReply) -> GroundingReply | Located:
    """The answer, or the part to see closer."""
    terms = looking.line.terms
    part = parse_zoom(reply, terms, sent) if offered else None
    if part is not None:
        return part
    parsed = parse(reply, terms, sent, zoomable=offered)
    if parsed.repairs:
        log.info("reply repaired", source=parsed.source, repairs=list(parsed.repairs))
    return parsed.reply


def _told(reply: GroundingReply, looking: Looking, sent: SentImage) -> GroundingReply:
    """The reply with the remark which part was looked at: what lies outside of it was seen coarsely only."""
    window, (height, width) = sent.window, looking.image.size
    note = (
        f"the model looked closer at the part {tuple(window)} of the image of {width} x {height} pixels and answered "
        "from there"
    )
    return replace(reply, notes=(*reply.notes, note))
