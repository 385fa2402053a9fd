"""Noun phrases: which of the words of a target name it, and which merely help."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from geoseg_tools.classical.lexicon import lexicon

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_tools.classical.lexicon import Span, Token

_JOINS = frozenset({"and", "or", "including", "plus", ",", "&", "also"})
_REACH = 6


class Heads(NamedTuple):
    """The nouns that name a target: concepts with evidence, and words known to have none."""

    known: tuple[Span, ...]
    unknown: tuple[str, ...]


def heads(target: Sequence[Span], words: tuple[Token, ...]) -> Heads:
    """The head nouns of a target: the last of adjacent nouns, all that are joined by "and".

    A concept qualified by a word without evidence ("hospital building") is as unknown as that word.
    """
    nouns: list[tuple[Span, bool]] = []
    things = [span for span in target if span.kind in {"concept", "unknown"}]
    for span in things:
        if not nouns:
            nouns.append((span, span.kind == "concept"))
            continue
        last, sure = nouns[-1]
        gap = words[last.end : span.start]
        if _compound(gap, last, span, target):
            nouns[-1] = (span, span.kind == "concept" and sure)
        elif any(word.text in _JOINS for word in gap):
            nouns.append((span, span.kind == "concept"))
        else:
            break
    known = tuple(span for span, sure in nouns if sure)
    return Heads(known, tuple(span.words for span, sure in nouns if not sure))


def _compound(gap: Sequence[Token], last: Span, span: Span, target: Sequence[Span]) -> bool:
    """Whether two nouns are one: nothing, or only words nobody knows, between them."""
    if last.plural and gap:
        return False
    if any(last.end <= other.start and other.end <= span.start for other in target):
        return False
    fillers = lexicon().words("fillers") | _JOINS
    return len(gap) <= 1 and all(word.text.isalpha() and word.text not in fillers for word in gap)


def green_as_colour(found: Sequence[Span]) -> tuple[Span, ...]:
    """Read "green" as a colour where a noun follows, as vegetation where it stands alone."""
    out: list[Span] = []
    for at, span in enumerate(found):
        following = found[at + 1] if at + 1 < len(found) else None
        if (
            span.words == "green"
            and following is not None
            and following.kind in {"concept", "unknown", "colour", "shape", "size"}
            and following.start - span.end <= 1
        ):
            out.append(replace(span, kind="colour", value="green"))
        else:
            out.append(span)
    return tuple(out)


def cut_exceptions(found: Sequence[Span], words: tuple[Token, ...]) -> tuple[Span, ...]:
    """Leave out what a query excludes: "buildings except the sheds"; up to the next mark."""
    out: list[Span] = []
    blocked = -1
    for span in found:
        if span.kind == "unlike":
            marks = (at for at in range(span.end, len(words)) if not words[at].text.isalnum())
            blocked = max(blocked, next(marks, len(words)))
        if span.start >= blocked:
            out.append(span)
    return tuple(out)


def without_partitives(found: Sequence[Span], words: tuple[Token, ...]) -> tuple[tuple[Span, ...], bool]:
    """Look through "row of", "block of": they count or shape a thing and do not name it.

    Returns:
        The remaining spans, and whether such a word makes the target several.
    """
    partitives, frame = lexicon().words("partitives"), lexicon().words("image_words")
    dropped: set[int] = set()
    several = False
    for at in range(len(words) - 1):
        if words[at].lemma not in partitives or words[at + 1].text != "of":
            continue
        if any(span.start < at and span.end > at + 1 for span in found):
            continue
        following = next((s for s in found if s.kind in {"concept", "unknown"} and s.start > at + 1), None)
        if following is None or following.start - at > _REACH or words[at + 2].lemma in frame:
            continue
        if any(span.start <= at < span.end and span.end > at + 1 for span in found):
            continue
        dropped |= {at, at + 1}
        several |= words[at].text != words[at].lemma or words[at].lemma not in {"part", "piece", "edge", "shape"}
    kept = tuple(span for span in found if not dropped & set(range(span.start, span.end)))
    return kept, several
