"""From what crosses the seams to a multimodal model to records and back, each exactly.

A picture is reduced to its digest; all else comes back as it was. Decoding raises ValueError with the reason.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from geoseg_agent.grounding.chat import Call, ChatReply, Fit, Frame, SentImage, Terms, Usage, Verdict
from geoseg_agent.grounding.search.plan import Plan
from geoseg_agent.trace.jsontext import whole_characters
from geoseg_agent.trace.model_chat import (
    CacheInput,
    CallRecord,
    ChatInput,
    ChatRecord,
    EndpointInput,
    FitRecord,
    MessageRecord,
    SearchInput,
    SearchRecord,
    SentInput,
    SentRecord,
    TermsRecord,
    ToolRecord,
    UsageRecord,
    VerdictRecord,
)
from geoseg_agent.trace.rle import encode_mask
from geoseg_tools.geometry import Box, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.grounding.chat import ChatRequest, Endpoint, Tool
    from geoseg_agent.imagery import Image
    from geoseg_agent.types import Query, TargetMask
    from geoseg_tools.arrays import Size

_canonical = json.JSONEncoder(ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def endpoint_input(endpoint: Endpoint) -> EndpointInput:
    """What identifies the question for the terms."""
    return EndpointInput(address=endpoint.address, model=endpoint.model)


def encode_terms(terms: Terms) -> TermsRecord:
    """The terms, frames by their names."""
    return TermsRecord(
        server=terms.server,
        model=terms.model,
        rungs=list(terms.rungs),
        proved=terms.proved,
        family=terms.family,
        asked=str(terms.asked),
        read=str(terms.read),
        outside=terms.outside,
        max_targets=terms.max_targets,
        fit=FitRecord(align=terms.fit.align, least=terms.fit.least, most=terms.fit.most),
        verdict=None if terms.verdict is None else _encode_verdict(terms.verdict),
    )


def _encode_verdict(verdict: Verdict) -> VerdictRecord:
    return VerdictRecord(
        frame=None if verdict.frame is None else str(verdict.frame),
        mixed=list(verdict.mixed),
        iou=float(verdict.iou),
        scale=[float(factor) for factor in verdict.scale],
        shift=[float(pixels) for pixels in verdict.shift],
        residual=float(verdict.residual),
        prompt=verdict.prompt,
        found=verdict.found,
    )


def decode_terms(record: TermsRecord) -> Terms:
    """As they were.

    Raises:
        ValueError: there is no such frame, there is no dialect, or a number cannot be.
    """
    fit = Fit(record.fit.align, record.fit.least, record.fit.most)
    if not record.rungs or record.max_targets < 1 or fit.align < 1 or not 1 <= fit.least <= fit.most:
        raise ValueError("terms have a dialect, at least one target, and a picture of some size")
    return Terms(
        server=record.server,
        model=record.model,
        rungs=tuple(record.rungs),
        proved=record.proved,
        family=record.family,
        asked=Frame.parse(record.asked),
        read=Frame.parse(record.read),
        outside=record.outside,
        max_targets=record.max_targets,
        fit=fit,
        verdict=None if record.verdict is None else _decode_verdict(record.verdict),
    )


def _decode_verdict(record: VerdictRecord) -> Verdict:
    return Verdict(
        frame=None if record.frame is None else Frame.parse(record.frame),
        mixed=tuple(record.mixed),
        iou=record.iou,
        scale=(record.scale[0], record.scale[1]),
        shift=(record.shift[0], record.shift[1]),
        residual=record.residual,
        prompt=record.prompt,
        found=record.found,
    )


def cache_input(key: str) -> CacheInput:
    """What identifies a look into the cache."""
    return CacheInput(key=key)


def search_input(image: Image, query: Query) -> SearchInput:
    """What identifies the plan of a search."""
    return SearchInput(image=image.sha256, size=list(image.size), query=query.text)


def encode_plan(plan: Plan) -> SearchRecord:
    """The plan, whole."""
    return SearchRecord(
        windows=[list(window) for window in plan.windows],
        skipped=plan.skipped,
        scale=float(plan.scale),
        calls=plan.calls,
        tokens=plan.tokens,
        why=plan.why,
    )


def decode_plan(record: SearchRecord, size: Size) -> Plan:
    """As it was, for an image of `size` (h, w).

    Raises:
        ValueError: a window is none, or reaches over the image.
    """
    windows = tuple(Box(*window) for window in record.windows)
    if not all(whole(size).contains(window) for window in windows):
        raise ValueError(f"a window reaches over the image of {size[1]} x {size[0]} pixels")
    return Plan(windows, record.skipped, record.scale, record.calls, record.tokens, record.why)


def sent_input(image: Image, window: Box, fit: Fit, overlay: Sequence[TargetMask] | None) -> SentInput:
    """What identifies a picture to be sent."""
    return SentInput(
        image=image.sha256,
        size=list(image.size),
        window=list(window),
        align=fit.align,
        least=fit.least,
        most=fit.most,
        overlay=None if overlay is None else overlay_digest(overlay),
    )


def overlay_digest(targets: Sequence[TargetMask]) -> str:
    """sha256 of everything of the targets that is drawn over a picture."""
    drawn = [
        {
            "roi": list(target.roi),
            "box": list(target.box),
            "phrase": target.phrase,
            "mask": encode_mask(target.mask).model_dump(),
        }
        for target in targets
    ]
    return _digest(drawn)


def _digest(value: object) -> str:
    return hashlib.sha256(_canonical(value).encode("ascii")).hexdigest()


def encode_sent(sent: SentImage) -> SentRecord:
    """The picture as sent, without its bytes."""
    return SentRecord(
        size=list(sent.size),
        sha256=sent.sha256,
        media_type=sent.media_type,
        bytes=None if sent.data is None else len(sent.data),
    )


def decode_sent(record: SentRecord, window: Box) -> SentImage:
    """The picture that showed `window`, without its bytes.

    Raises:
        ValueError: it has no pixel.
    """
    height, width = record.size
    if min(height, width) < 1:
        raise ValueError(f"a picture cannot have {width} x {height} pixels")
    return SentImage((height, width), window, record.media_type, record.sha256, None)


def chat_input(request: ChatRequest) -> ChatInput:
    """What identifies a request."""
    return ChatInput(
        model=request.model,
        dialect=request.dialect,
        messages=[
            MessageRecord(
                role=message.role,
                text=message.text,
                image=None if message.image is None else message.image.sha256,
            )
            for message in request.messages
        ],
        tool=ToolRecord(name=_name(request.tool), sha256=tool_digest(request.tool)),
        max_tokens=request.max_tokens,
        temperature=float(request.temperature),
        seed=request.seed,
    )


def tool_digest(tool: Tool) -> str:
    """sha256 of the function's name, description and schema, as canonical JSON; of two, of everything on both."""
    return _digest(_described(tool))


def _described(tool: Tool) -> dict[str, object]:
    one: dict[str, object] = {"name": tool.name, "description": tool.description, "schema": dict(tool.schema)}
    if tool.other is not None:
        one["other"] = _described(tool.other)
    if tool.either is not None:
        one["either"] = dict(tool.either)
    return one


def _name(tool: Tool) -> str:
    return tool.name if tool.other is None else f"{tool.name} or {tool.other.name}"


def joined(reply: ChatReply) -> ChatReply:
    """The reply with the two halves of a character, where a stream left them apart, as that character.

    A file cannot tell the one from the other, so nobody may see them apart.
    """

    def join(text: str | None) -> str | None:
        return None if text is None else whole_characters(text)

    return replace(
        reply,
        content=join(reply.content),
        reasoning=join(reply.reasoning),
        calls=tuple(Call(whole_characters(call.name), whole_characters(call.arguments)) for call in reply.calls),
        refusal=join(reply.refusal),
        finish=join(reply.finish),
        request_id=join(reply.request_id),
    )


def encode_chat(reply: ChatReply) -> ChatRecord:
    """The reply, verbatim."""
    return ChatRecord(
        content=reply.content,
        reasoning=reply.reasoning,
        calls=[CallRecord(name=call.name, arguments=call.arguments) for call in reply.calls],
        refusal=reply.refusal,
        finish=reply.finish,
        stopped=reply.stopped,
        usage=(
            None if reply.usage is None else UsageRecord(prompt=reply.usage.prompt, completion=reply.usage.completion)
        ),
        request_id=reply.request_id,
    )


def decode_chat(record: ChatRecord) -> ChatReply:
    """As it was."""
    return ChatReply(
        content=record.content,
        reasoning=record.reasoning,
        calls=tuple(Call(call.name, call.arguments) for call in record.calls),
        refusal=record.refusal,
        finish=record.finish,
        stopped=record.stopped,
        usage=None if record.usage is None else Usage(record.usage.prompt, record.usage.completion),
        request_id=record.request_id,
    )
