"""The words the offline default understands, from `lexicon.json`, and how to find them in a sentence."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

Kind = Literal[
    "concept",
    "unknown",
    "colour",
    "shape",
    "size",
    "superlative",
    "number",
    "every",
    "place",
    "relation",
    "unlike",
]

_WORD = re.compile(r"[a-z0-9]+|[,;:.?!&]")
_HISSING = ("ches", "shes", "xes", "sses", "zes")


class Token(NamedTuple):
    """One word or mark of a query: lower case as written, and its singular."""

    text: str
    lemma: str


@dataclass(frozen=True, slots=True)
class Span:
    """Words start..end (exclusive) of a query that the lexicon knows, and what they stand for."""

    start: int
    end: int
    kind: Kind
    value: str
    words: str
    plural: bool


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The parsed data file.

    Attributes:
        table: words in the singular -> (kind, value); the longest match at a position wins.
        longest: number of words of the longest entry.
        raw: the data file as it stands, for the smaller lists.
    """

    table: dict[tuple[str, ...], tuple[Kind, str]]
    longest: int
    raw: dict[str, Any]

    def words(self, name: str) -> frozenset[str]:
        """One of the plain word lists."""
        return frozenset(self.raw[name])

    def noun(self, concept: str) -> str:
        """The plainest name of a concept."""
        return str(self.raw["nouns"][concept])


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The lexicon, read once."""
    raw = json.loads((files("geoseg_tools.classical") / "lexicon.json").read_text(encoding="utf-8"))
    table: dict[tuple[str, ...], tuple[Kind, str]] = {}
    groups: tuple[tuple[Kind, str], ...] = (
        ("superlative", "superlatives"),
        ("relation", "relations"),
        ("concept", "concepts"),
        ("colour", "colours"),
        ("shape", "shapes"),
        ("size", "sizes"),
        ("place", "places"),
    )
    irregular = raw["irregular"]

    def enter(phrase: str, kind: Kind, value: str) -> None:
        table.setdefault(tuple(singular(word, irregular) for word in _WORD.findall(phrase)), (kind, value))

    for kind, group in groups:
        for value, phrases in raw[group].items():
            for phrase in phrases:
                enter(phrase, kind, value)
    for phrase in raw["unknown"]:
        enter(phrase, "unknown", phrase)
    for phrase in raw["unlike"]:
        enter(phrase, "unlike", phrase)
    for phrase, number in raw["numbers"].items():
        enter(phrase, "number", str(number))
    for phrase in raw["every"]:
        enter(phrase, "every", phrase)
    return Lexicon(table, max(map(len, table)), raw)


def singular(word: str, irregular: dict[str, str]) -> str:
    """The singular of an English noun, well enough for the words of the lexicon."""
    if word in irregular:
        return irregular[word]
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(_HISSING):
        return word[:-2]
    return word[:-1]


def tokens(text: str) -> tuple[Token, ...]:
    """The words and marks of a text; hyphens separate words, a possessive s is dropped."""
    irregular = lexicon().raw["irregular"]
    plain = re.sub(r"['\u2019]s\b|['\u2019]", "", text.lower())
    return tuple(Token(word, singular(word, irregular)) for word in _WORD.findall(plain))


def spans(words: tuple[Token, ...]) -> tuple[Span, ...]:
    """All known words of a query, from left to right, never overlapping; the longest entry wins."""
    book = lexicon()
    out: list[Span] = []
    at = 0
    while at < len(words):
        for end in range(min(len(words), at + book.longest), at, -1):
            entry = book.table.get(tuple(word.lemma for word in words[at:end]))
            if entry is not None:
                text = " ".join(word.lemma for word in words[at:end])
                plural = words[end - 1].text != words[end - 1].lemma
                out.append(Span(at, end, *entry, text, plural))
                at = end
                break
        else:
            at += 1
    return tuple(out)
