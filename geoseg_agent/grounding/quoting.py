"""Foreign text inside a conversation: it stays data, whatever it holds.

A query comes from a user, an answer and its values from a model that looked at a picture with writing in it. Servers
turn the text of a turn into tokens together with their own marks of turns and pictures, such as "<|im_end|>" or
"[INST]"; a text that holds one would end its turn, so marks are broken with a space.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import chain, count

# What may begin a mark. "area < 5", "<5", "<= 5" and "targets[0]" begin none.
_MARK = re.compile(r"<(?=[^\s\d=])|\[(?=/?[^\W\d]\w*\])")
_SURROGATE = re.compile("[\ud800-\udfff]")


def neutral(text: str) -> str:
    """The text without marks of turns, tools or pictures, and fit to be sent: no lone surrogates."""
    return _MARK.sub(lambda mark: f"{mark.group()} ", _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text))


def one_line(text: str, most: int) -> str:
    """The text as one neutral line of printable characters, cut to `most` of them with an ellipsis."""
    plain = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return neutral(plain if len(plain) <= most else f"{plain[: most - 1]}…")


def enclosed(text: str) -> str:
    """The neutral text on lines of its own between two tags that it does not hold, spelt in any way.

    The tags are "<query>" and "</query>", or "<query-2>" and so on where the text holds those.
    """
    inside = neutral(text)
    seen = "".join(
        character
        for character in unicodedata.normalize("NFKC", inside).casefold()
        if not character.isspace() and unicodedata.category(character) != "Cf"
    )
    names = chain(("query",), (f"query-{number}" for number in count(2)))
    tag = next(name for name in names if f"<{name}" not in seen and f"/{name}" not in seen)
    return f"<{tag}>\n{inside}\n</{tag}>"
