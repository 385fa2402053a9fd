"""A query's conversation with its model as lines for a terminal: what was asked and why, and what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoseg_agent.trace.conversation import WORDS, asked_of, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geoseg_agent.trace.conversation import Asked, Exchange
    from geoseg_agent.trace.model import Trace

MOST_LINE = 2000
"""Characters of one part of a reply; the trace and its page hold more."""


def dialogue(trace: Trace) -> Iterator[str]:
    """The lines, without markup and safe for a terminal; none where no model was asked."""
    asked = asked_of(trace)
    if asked is not None:
        for line in _lines(asked):
            yield visible(line)


def _lines(asked: Asked) -> Iterator[str]:
    for step in asked.terms:
        terms = step.output
        if terms is None:
            yield f"endpoint {step.input.address}"
        else:
            yield (
                f"endpoint {step.input.address}  {terms.model} on {terms.server}, "
                f"boxes asked in {terms.asked}, read in {terms.read}"
            )
    for look in asked.cache:
        yield f"cache {'hit' if look.output is not None else 'miss'}  {look.input.key[:12]}"
    for picture in asked.pictures:
        drawn = " with the result drawn over it" if picture.overlay else ""
        yield f"picture{drawn}  {picture.words}  {(picture.sha256 or '')[:12]}".rstrip()
    for one in asked.exchanges:
        yield from _exchange(one)


def _exchange(one: Exchange) -> Iterator[str]:
    reply = one.step.output
    tokens = (
        "" if reply is None or reply.usage is None else f", {reply.usage.prompt} + {reply.usage.completion} tokens"
    )
    review = "review: " if one.review else ""
    yield f"step {one.step.index}  {review}{WORDS[one.kind]}, dialect {one.step.input.dialect}{tokens}"
    if one.kind == "reask":
        yield f"  told: {_short(one.step.input.messages[-1].text)}"
    for part in one.parts:
        yield f"  {part.name}: {_short(part.text)}"
    if one.step.error is not None:
        yield f"  {one.step.error.type}: {_short(one.step.error.message)}"


def _short(text: str) -> str:
    return text if len(text) <= MOST_LINE else f"{text[:MOST_LINE]}…"
