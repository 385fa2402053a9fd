"""Questions that name a purpose instead of a thing: "Where does the farmer plough?"."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from geoseg_tools.classical.lexicon import lexicon, singular

if TYPE_CHECKING:
    from geoseg_tools.classical.lexicon import Token

_ENDINGS = frozenset({"", "s", "es", "d", "ed", "r", "er", "ers", "ing"})


class Intent(NamedTuple):
    """What a purpose asks for: a concept, one to fall back to, a superlative that goes without saying."""

    concept: str
    otherwise: str | None
    superlative: str | None


def intent(words: tuple[Token, ...]) -> Intent | None:
    """The first row of the intent table that the words fit, or None."""
    for row in lexicon().raw["intents"]:
        wanted = row.get("all")
        if wanted is not None:
            fits = all(_mentions(words, phrase) for phrase in wanted)
        else:
            fits = any(_mentions(words, phrase) for phrase in row["any"])
        if fits:
            return Intent(row["concept"], row.get("otherwise"), row.get("superlative"))
    return None


def _mentions(words: tuple[Token, ...], phrase: str) -> bool:
    parts = phrase.split()
    irregular = lexicon().raw["irregular"]
    for start in range(len(words) - len(parts) + 1):
        window = words[start : start + len(parts)]
        if all(_inflected(token, part, irregular) for token, part in zip(window, parts, strict=True)):
            return True
    return False


def _inflected(token: Token, word: str, irregular: dict[str, str]) -> bool:
    if token.lemma == singular(word, irregular):
        return True
    return token.text.startswith(word) and token.text[len(word) :] in _ENDINGS
