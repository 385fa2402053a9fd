"""What a trace holds of a multimodal model: the terms, the cache, the picture as sent, and every request and reply.

Part of schema 1. A reply stands verbatim, a picture as its digest; no byte of it, no key and no header is kept.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from geoseg_agent.grounding.chat import Dialect, Outside, Role, Stopped  # noqa: TC001 - pydantic reads them
from geoseg_agent.trace.record_base import BoxRecord, Pair, Record, ReplyRecord, StepRecord

Two = Annotated[list[float], Field(min_length=2, max_length=2)]


class EndpointInput(Record):
    """Which model, where; the address has no user, password, query or key."""

    address: str
    model: str | None


class FitRecord(Record):
    """How large a picture is sent: sides are multiples of `align`, its area `least` to `most` visual tokens."""

    align: int
    least: int
    most: int


class VerdictRecord(Record):
    """What `geoseg doctor grounding` had found; frames by their names, None where none fits."""

    frame: str | None
    mixed: list[str]
    iou: float
    scale: Two
    shift: Two
    residual: float
    prompt: str
    found: str


class TermsRecord(Record):
    """The terms of the query; frames by their names."""

    server: str
    model: str
    rungs: list[Dialect]
    proved: bool
    family: str
    asked: str
    read: str
    outside: Outside
    max_targets: int
    fit: FitRecord
    verdict: VerdictRecord | None


class CacheInput(Record):
    """The sha256 of everything that decides the reply."""

    key: str


class SentInput(Record):
    """What was to be sent: a part of the picture, and a digest of the targets drawn over it, where there are any."""

    image: str
    size: Pair
    window: BoxRecord
    align: int
    least: int
    most: int
    overlay: str | None


class SentRecord(Record):
    """The picture as sent: size, digest and number of the encoded bytes (None where it came from a trace)."""

    size: Pair
    sha256: str
    media_type: str
    bytes: int | None


class MessageRecord(Record):
    """One turn; the picture, where there is one, by the digest of its bytes."""

    role: Role
    text: str
    image: str | None


class ToolRecord(Record):
    """The function to be called, or two, "segment_targets or zoom"; the digest is of all that describes them."""

    name: str
    sha256: str


class ChatInput(Record):
    """One request: the whole conversation, and how the answer is asked for."""

    model: str
    dialect: Dialect
    messages: list[MessageRecord]
    tool: ToolRecord
    max_tokens: int
    temperature: float
    seed: int | None


class CallRecord(Record):
    """A function call as the model wrote it."""

    name: str
    arguments: str


class UsageRecord(Record):
    """Tokens as the server counted them."""

    prompt: int
    completion: int


class ChatRecord(Record):
    """A reply, verbatim."""

    content: str | None
    reasoning: str | None
    calls: list[CallRecord]
    refusal: str | None
    finish: str | None
    stopped: Stopped | None
    usage: UsageRecord | None
    request_id: str | None


class SearchInput(Record):
    """What a search was planned for: the picture by digest and size, and the question."""

    image: str
    size: Pair
    query: str


class SearchRecord(Record):
    """Where it looks: `windows` that have data (the whole image alone is no search), at 1/`scale`, and why.

    `skipped` windows have no data; `calls` and `tokens` are what it was planned to cost at most.
    """

    windows: list[BoxRecord]
    skipped: int
    scale: float
    calls: int
    tokens: int
    why: str


class SearchStep(StepRecord):
    """The plan of a search, made before anything is asked."""

    seam: Literal["search"]
    input: SearchInput
    output: SearchRecord | None


class EndpointStep(StepRecord):
    """The terms under which the model is asked."""

    seam: Literal["endpoint"]
    input: EndpointInput
    output: TermsRecord | None


class CacheStep(StepRecord):
    """A look into the cache; no output and no error is a miss."""

    seam: Literal["cache"]
    input: CacheInput
    output: ReplyRecord | None


class SentStep(StepRecord):
    """The picture made ready for the model."""

    seam: Literal["sent"]
    input: SentInput
    output: SentRecord | None


class ChatStep(StepRecord):
    """One attempt to get a reply."""

    seam: Literal["chat"]
    input: ChatInput
    output: ChatRecord | None
