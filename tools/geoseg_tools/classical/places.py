"""Where in the image a target is said to lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoseg_tools.classical.lexicon import lexicon

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_tools.classical.lexicon import Span, Token
    from geoseg_tools.classical.reading import Relation

_DIRECTIONS = frozenset({"top", "bottom", "left", "right"})


def places(found: Sequence[Span], words: tuple[Token, ...], relation: Relation | None) -> tuple[str, ...]:
    """The places of a query: "top", "left", "centre", or "edge-top" for what touches a border."""
    out: list[str] = []
    for at, span in enumerate(found):
        if _loose_middle(span, relation):
            out.append("centre")
        if span.kind != "place" or span.value == "edge" or _belongs_elsewhere(at, found, words):
            continue
        border = _border_follows(at, found, words)
        if span.value in _DIRECTIONS:
            out.append(f"edge-{span.value}" if border else span.value)
        else:
            out.append(span.value)
    if {"centre"} & set(out) and set(out) & _DIRECTIONS:
        # "the top centre": the direction says more; the centre then only means not left and not right.
        return tuple(dict.fromkeys("middle" if place == "centre" else place for place in out))
    return tuple(dict.fromkeys(out))


def _loose_middle(span: Span, relation: Relation | None) -> bool:
    """Whether "in the middle of" was left over: of the image, not of some thing."""
    middle = span.kind == "relation" and span.words in {"in the middle of", "in the centre of", "in the center of"}
    return middle and (relation is None or not relation.words.startswith(span.words))


def _belongs_elsewhere(at: int, found: Sequence[Span], words: tuple[Token, ...]) -> bool:
    """Whether a place word belongs to a thing or a relation: "top of the hill", "right next to"."""
    span = found[at]
    following = found[at + 1] if at + 1 < len(found) else None
    if following is not None and following.kind == "relation" and following.start == span.end:
        if following.value != "of":
            return following.value not in {"on", "with"}
        rest = [word.lemma for word in words[following.end : following.end + 2] if word.text != "the"]
        return not set(rest) & (lexicon().words("image_words") | {"it"})
    return False


def _border_follows(at: int, found: Sequence[Span], words: tuple[Token, ...]) -> bool:
    for other in found[at + 1 :]:
        between = words[found[at].end : other.start]
        if any(word.text not in {"hand", "and", "image", "most"} for word in between):
            return False
        if other.words in {"edge", "border", "margin"}:
            return True
        if other.kind != "place":
            return False
    return False
