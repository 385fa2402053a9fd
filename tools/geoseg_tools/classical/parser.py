"""From a question to a `Reading`: concepts, colours, places, relations, superlatives, purposes.

A query is cut at its first relation that refers to something known; what stands before is the target, what
stands after are the references. Nothing here looks at an image.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from geoseg_tools.classical.intents import intent
from geoseg_tools.classical.lexicon import Span, lexicon, spans, tokens
from geoseg_tools.classical.phrases import cut_exceptions, green_as_colour, heads, without_partitives
from geoseg_tools.classical.places import places
from geoseg_tools.classical.reading import Reading, Relation, noun_phrase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_tools.classical.intents import Intent
    from geoseg_tools.classical.lexicon import Token
    from geoseg_tools.classical.phrases import Heads

_STOPS = frozenset(".;:?!")
_DETERMINERS = frozenset({"the", "a", "an", "this", "that", "one", "which"})
_LONG = 9


@lru_cache(maxsize=512)
def read(query: str) -> Reading:
    """Parse a query; a `Reading` without concepts when nothing in it is known."""
    words = tokens(query)
    direct = _direct(words)
    purpose = intent(words)
    named = bool(direct.concepts or direct.unknown)
    if purpose is None or (named and not _asks_for_purpose(words)):
        return direct
    return _implicit(direct, purpose)


def _implicit(direct: Reading, purpose: Intent) -> Reading:
    superlative = direct.superlative or purpose.superlative
    return Reading(
        concepts=(purpose.concept,),
        otherwise=purpose.otherwise,
        superlative=superlative,
        plural=superlative is None,
        places=direct.places,
        implicit=True,
        phrase=noun_phrase([purpose.concept], []),
    )


def _imperative(words: tuple[Token, ...]) -> bool:
    start = " ".join(word.text for word in words[:4]) + " "
    return any(start.startswith(phrase + " ") for phrase in lexicon().raw["imperatives"])


def _asks_for_purpose(words: tuple[Token, ...]) -> bool:
    """Whether a sentence with a named concept still rather asks for what a purpose needs."""
    if _imperative(words):
        return False
    texts = [word.text for word in words]
    if "where" not in texts:
        return len([text for text in texts if text.isalnum()]) >= _LONG
    # "Where is the lake?" names what it wants.
    after = texts[texts.index("where") + 1 :][:2]
    named = after[:1] in (["is"], ["are"]) and (after[1:] in (["the"], ["all"]) or len(words) <= 4)
    return not named


class _Cut(NamedTuple):
    relation: Relation | None
    target: tuple[Span, ...]
    begin: int
    end: int
    after: int


def _direct(words: tuple[Token, ...]) -> Reading:
    found = green_as_colour(cut_exceptions(spans(words), words))
    found, several = without_partitives(found, words)
    cut = _cut(found, words)
    named = heads(cut.target, words)
    attributes = [span for span in cut.target if span.kind in {"colour", "shape", "size"}]

    def of(kind: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(span.value for span in attributes if span.kind == kind))

    superlatives = [s for s in found if s.kind == "superlative" and (s.start < cut.end or s.start >= cut.after)]
    number = next((int(s.value) for s in cut.target if s.kind == "number"), None)
    if not named.known:
        return Reading(unknown=named.unknown)
    concepts = tuple(dict.fromkeys(span.value for span in named.known))
    return Reading(
        concepts=concepts,
        colours=of("colour"),
        shapes=of("shape"),
        sizes=of("size"),
        superlative=superlatives[0].value if superlatives else None,
        number=number if number is None or number < 10 else None,
        plural=_plural(named, cut, words, several=several, number=number),
        places=places(found, words, cut.relation),
        relation=cut.relation,
        unknown=named.unknown,
        ignored=_ignored(named, cut, found, words),
        phrase=_phrase(named, concepts, [span for span in attributes if span.kind == "colour"]),
    )


def _plural(named: Heads, cut: _Cut, words: tuple[Token, ...], *, several: bool, number: int | None) -> bool:
    if number == 1:
        return False
    first = named.known[0]
    mass = any(span.words in lexicon().words("mass") for span in named.known)
    every = any(span.kind == "every" for span in cut.target)
    bare = not any(word.text in _DETERMINERS for word in words[cut.begin : first.start])
    return any(span.plural for span in named.known) or len(named.known) > 1 or several or mass or every or bare


def _ignored(named: Heads, cut: _Cut, found: Sequence[Span], words: tuple[Token, ...]) -> tuple[str, ...]:
    book = lexicon()
    known = {at for span in found for at in range(span.start, span.end)}
    small = book.words("fillers") | book.words("partitives") | book.words("image_words")
    small |= {part for phrase in book.raw["imperatives"] for part in phrase.split()} | {"including", "plus"}
    last = named.known[-1].end
    return tuple(
        word.text
        for at, word in enumerate(words[:last])
        if at >= cut.begin and at not in known and word.text.isalpha() and not {word.text, word.lemma} & small
    )


def _phrase(named: Heads, concepts: tuple[str, ...], colours: Sequence[Span]) -> str:
    """The words of the query where they read back to the same, else the plainest words that do."""
    shade = " or ".join(dict.fromkeys(span.words for span in colours))
    values = tuple(dict.fromkeys(span.value for span in colours))
    phrase = " ".join(filter(None, (shade, " and ".join(dict.fromkeys(span.words for span in named.known)))))
    again = green_as_colour(spans(tokens(phrase)))
    same = tuple(dict.fromkeys(s.value for s in again if s.kind == "concept")) == concepts
    same = same and tuple(dict.fromkeys(s.value for s in again if s.kind == "colour")) == values
    return phrase if same and len(phrase) <= 100 else noun_phrase(concepts, values)


def _cut(found: Sequence[Span], words: tuple[Token, ...]) -> _Cut:
    """Separate the target from what it is related to."""
    referring = []
    for span in found:
        if span.kind == "relation":
            named, stop = _references(span, found, words)
            if named:
                referring.append((span, named, stop))
    things = [span for span in found if span.kind in {"concept", "unknown"}]
    end = len(words)
    usable = []
    for span, named, stop in referring:
        before = [thing for thing in things if thing.end <= span.start]
        same = {thing.value for thing in before} & {thing.value for thing in named}
        if span.value in {"of", "with", "on"} and not before:
            continue
        if span.value == "of" and same:
            continue
        usable.append((span, named, stop))
    if not usable:
        return _Cut(None, tuple(found), 0, end, end)
    rank = {"with": 2, "of": 1}
    span, named, stop = min(usable, key=lambda item: (rank.get(item[0].value, 0), item[0].start))
    concepts = tuple(dict.fromkeys(thing.value for thing in named if thing.kind == "concept"))
    relation = Relation(span.value, concepts, " ".join(word.text for word in words[span.start : named[-1].end]))
    if not any(thing.end <= span.start for thing in things):
        # "Next to the river there is a white hall": the target follows its relation.
        begin = named[-1].end
        return _Cut(relation, tuple(s for s in found if s.start >= begin), begin, end, end)
    edge = min(item[0].start for item in usable)
    target = tuple(s for s in found if s.end <= edge)
    return _Cut(relation, target, _sentence(words, target), edge, stop)


def _references(span: Span, found: Sequence[Span], words: tuple[Token, ...]) -> tuple[tuple[Span, ...], int]:
    """The things a relation refers to, and where they end."""
    stop = next((at for at in range(span.end, len(words)) if words[at].text in _STOPS), len(words))
    later = [s.start for s in found if s.kind == "relation" and s.value != "of" and s.start >= span.end]
    part = tuple(s for s in found if s.start >= span.end and s.end <= min([stop, *later]))
    if span.value != "between":
        comma = next((at for at in range(span.end, stop) if words[at].text == ","), stop)
        part = tuple(s for s in part if s.end <= comma) or part
        named = heads(part, words)
        things = tuple(named.known) or tuple(s for s in part if s.kind == "unknown")[:1]
    else:
        things = tuple(s for s in part if s.kind in {"concept", "unknown"})[:2]
    return things, things[-1].end if things else span.end


def _sentence(words: tuple[Token, ...], target: Sequence[Span]) -> int:
    """Where the sentence starts that names the target."""
    first = next((s.start for s in target if s.kind == "concept"), 0)
    return max((at + 1 for at in range(first) if words[at].text in _STOPS), default=0)
