"""What a query asked of a multimodal model, as a page shows it: terms, pictures, and every request and reply.

Texts are a stranger's. The page escapes them, and `visible` keeps them from showing what is not there.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Literal, NamedTuple

from geoseg_agent.trace.model import CacheStep, ChatStep, EndpointStep, SentStep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.trace.model import ChatInput, Trace

MOST_EXCHANGES = 60
"""Requests that are shown with their texts."""

MOST_TEXT = 20_000
"""Characters shown of one text; the trace holds all."""

Kind = Literal["first", "retry", "dialect", "reask"]

WORDS: dict[Kind, str] = {
    "first": "asked",
    "retry": "the same again, after an error",
    "dialect": "the same in another dialect",
    "reask": "asked again, told what was wrong",
}


class Picture(NamedTuple):
    """A picture as it was sent: no pixel of it, but what identifies it.

    Attributes:
        step: where it was made.
        overlay: whether the result was drawn over it.
        words: size and kind, for people; why there is none, where it failed.
        sha256: of the encoded bytes, or None where it failed.
    """

    step: SentStep
    overlay: bool
    words: str
    sha256: str | None


class Turn(NamedTuple):
    """One turn of a conversation; `picture` says what stands before the text, in words."""

    role: str
    text: str
    picture: str | None


class Part(NamedTuple):
    """A part of a reply: "content", "call of segment_targets", ..."""

    name: str
    text: str


class Exchange(NamedTuple):
    """One request and what came back.

    Attributes:
        step: as recorded.
        kind: why it was made.
        review: whether the model was shown its own result.
        shared: how many leading turns are those of an earlier request, and not shown again.
        earlier: the step of that request.
        turns: the turns after those.
        parts: of the reply.
    """

    step: ChatStep
    kind: Kind
    review: bool
    shared: int
    earlier: int | None
    turns: list[Turn]
    parts: list[Part]


class Asked(NamedTuple):
    """Everything between the query and its model.

    Attributes:
        terms: the first look-up of the terms, and each later one that gave others.
        cache: looks into the cache.
        pictures: as sent.
        exchanges: the first `MOST_EXCHANGES` requests, in the order in which they ended.
        requests: how many there were.
        tokens: prompt and completion, summed over the replies that say it; None where none does.
    """

    terms: list[EndpointStep]
    cache: list[CacheStep]
    pictures: list[Picture]
    exchanges: list[Exchange]
    requests: int
    tokens: tuple[int, int] | None


def asked_of(trace: Trace) -> Asked | None:
    """What this query asked of a model, or None where it asked none."""
    if trace.prompt is None:
        return None
    steps = trace.steps
    chats = [step for step in steps if isinstance(step, ChatStep)]
    pictures = [_picture(step) for step in steps if isinstance(step, SentStep)]
    usages = [step.output.usage for step in chats if step.output is not None and step.output.usage is not None]
    return Asked(
        terms=_terms([step for step in steps if isinstance(step, EndpointStep)]),
        cache=[step for step in steps if isinstance(step, CacheStep)],
        pictures=pictures,
        exchanges=_exchanges(chats[:MOST_EXCHANGES], pictures),
        requests=len(chats),
        tokens=(sum(u.prompt for u in usages), sum(u.completion for u in usages)) if usages else None,
    )


def kinds(chats: Sequence[ChatStep]) -> list[Kind]:
    """Why each request was made, from those before it."""
    return [_kind(step, chats[:position]) for position, step in enumerate(chats)]


def _kind(step: ChatStep, before: Sequence[ChatStep]) -> Kind:
    for earlier in reversed(before):
        if earlier.error is not None and earlier.input == step.input:
            return "retry"
        if earlier.error is not None and earlier.input == step.input.model_copy(
            update={"dialect": earlier.input.dialect}
        ):
            return "dialect"
    return "reask" if any(message.role == "assistant" for message in step.input.messages) else "first"


def visible(text: str) -> str:
    """The text with characters that do not show, or that reorder others, as their numbers."""
    if text.isprintable():
        return text
    return "".join(one if one in "\n\t" or _shows(one) else f"⟨U+{ord(one):04X}⟩" for one in text)


def _shows(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _cut(text: str) -> str:
    left = len(text) - MOST_TEXT
    return text if left <= 0 else f"{text[:MOST_TEXT]}\n… {left:,} more characters are in the trace"


def _terms(steps: Sequence[EndpointStep]) -> list[EndpointStep]:
    return [
        step
        for position, step in enumerate(steps)
        if position == 0 or step.error is not None or step.output != steps[position - 1].output
    ]


def _picture(step: SentStep) -> Picture:
    sent, overlay = step.output, step.input.overlay is not None
    if sent is None:
        return Picture(step, overlay, "" if step.error is None else step.error.message, None)
    length = "" if sent.bytes is None else f", {sent.bytes:,} bytes"
    size = f"{sent.size[1]} × {sent.size[0]} px"  # noqa: RUF001 - the sign
    window, (height, width) = step.input.window, step.input.size
    part = "" if window == [0, 0, width, height] else f" of the part {tuple(window)}"
    return Picture(step, overlay, f"{size}{part}, {sent.media_type}{length}", sent.sha256)


def _exchanges(chats: Sequence[ChatStep], pictures: Sequence[Picture]) -> list[Exchange]:
    words = {one.sha256: one.words for one in pictures if one.sha256 is not None}
    drawn = {one.sha256 for one in pictures if one.overlay}
    found: list[Exchange] = []
    for step, kind in zip(chats, kinds(chats), strict=True):
        shared, earlier = _shared(step.input, [one.step for one in found])
        turns = [
            Turn(
                message.role,
                _cut(message.text),
                None if message.image is None else f"{message.image[:16]}… {words.get(message.image, '')}".strip(),
            )
            for message in step.input.messages[shared:]
        ]
        review = any(message.image in drawn for message in step.input.messages if message.image is not None)
        found.append(Exchange(step, kind, review, shared, earlier, turns, _parts(step)))
    return found


def _shared(asked: ChatInput, before: Sequence[ChatStep]) -> tuple[int, int | None]:
    """How many leading turns an earlier request has too, and the first that has the most."""
    best, where = 0, None
    for earlier in before:
        same = 0
        for mine, theirs in zip(asked.messages, earlier.input.messages, strict=False):
            if mine != theirs:
                break
            same += 1
        if same > best:
            best, where = same, earlier.index
    return best, where


def _parts(step: ChatStep) -> list[Part]:
    reply = step.output
    if reply is None:
        return []
    calls = [Part(f"call of {call.name[:80]}", _cut(call.arguments)) for call in reply.calls]
    texts = (("content", reply.content), ("reasoning", reply.reasoning), ("refusal", reply.refusal))
    return [*calls, *(Part(name, _cut(text)) for name, text in texts if text is not None)]
