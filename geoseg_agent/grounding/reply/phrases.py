"""Make a model's words safe to pass on: to the segmentation tools, pages, logs and file names.

A model repeats what it reads in a picture and what a query tells it, so its words are foreign text.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST: Final = 80
"""Most characters of a phrase."""

_READ: Final = 4000
"""Characters that are looked at: cleaning costs the same whatever a model writes."""

_MARKUP: Final = re.compile(r"<[^<>]*+>|&(?:#\w{1,8}|[A-Za-z]{2,8});")
_ADDRESS: Final = re.compile(
    r"\b[a-z][a-z0-9+.-]{1,20}:/\S*+|\b(?:www\.|mailto:|javascript:|data:)\S*+|(?<![\w.-])[\w-]++(?:\.[\w-]++)++/\S*+",
    re.IGNORECASE,
)
_DOTS: Final = re.compile(r"\.{2,}|…+")
_PUNCTUATION: Final = frozenset("-',.()+%°")
_PLAIN: Final = {ord("_"): " ", 0x2019: "'", 0x2013: "-", 0x2010: "-"}
"""Names written as identifiers, and typographic signs."""

_MOST_MARKS: Final = 2


def clean(text: str) -> str:
    """A short noun phrase from a label: NFKC, words and simple punctuation only, single spaces, 1 to 80 characters.

    Markup, addresses, symbols (emoji too), control, bidi and zero-width characters go; a long one is cut at a word.
    Cleaning twice changes nothing.

    Raises:
        ValueError: no letter or digit is left.
    """
    seen = _without_hidden(unicodedata.normalize("NFKC", text[:_READ])).translate(_PLAIN)
    plain = "".join(_words(_ADDRESS.sub(" ", _MARKUP.sub(" ", seen))))
    plain = _DOTS.sub(" ", unicodedata.normalize("NFKC", plain))
    phrase = _cut(" ".join(plain.split()).lstrip("-',.+)%° "), LONGEST).rstrip("-',.+( ")
    if not any(character.isalnum() for character in phrase):
        raise ValueError("must name the thing in words")
    return phrase


def remark(text: str, most: int) -> str:
    """A model's free text as one printable line of at most `most` characters, without markup and addresses.

    For reading only: unlike a phrase it keeps its punctuation and symbols. It may be empty.
    """
    seen = _without_hidden(unicodedata.normalize("NFC", text[:_READ]))
    plain = _ADDRESS.sub(" ", _MARKUP.sub(" ", seen)).replace("<", " ").replace(">", " ")
    line = " ".join(plain.split())
    return line if len(line) <= most else f"{_cut(line, most - 1)}…"


def _without_hidden(text: str) -> str:
    """The text without characters that nobody sees; they go first, because they hide markup."""
    kept = (" " if character.isspace() else character for character in text)
    return "".join(character for character in kept if unicodedata.category(character)[0] != "C")


def _words(text: str) -> Iterator[str]:
    """Letters, digits with at most two marks on each, and simple punctuation; a space for anything else."""
    room = 0
    for character in text:
        kind = unicodedata.category(character)[0]
        if kind == "M":
            room -= 1
            if room >= 0:
                yield character
            continue
        room = _MOST_MARKS if kind in {"L", "N"} else 0
        yield character if room or character in _PUNCTUATION else " "


def _cut(text: str, most: int) -> str:
    """The text cut to `most` characters, at the end of a word where there is one in the second half."""
    if len(text) <= most:
        return text
    end = text.rfind(" ", most // 2, most + 1)
    return text[:end] if end > 0 else text[:most]
