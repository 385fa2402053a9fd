"""When to stop reading a reply that streams in: its answer is complete, or none will come. Pure, one pass."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from geoseg_agent.grounding.endpoint.brackets import Brackets

if TYPE_CHECKING:
    from geoseg_agent.grounding.chat import Stopped

MOST_BLANK: Final = 64
"""Whitespace in a row inside a JSON value; indented JSON has less."""

MOST_REPEATS: Final = 3
"""Times that the same box may be completed in one reply, the last one included."""

_PIECES: Final = re.compile(r"[^\]}]*[\]}]|[^\]}]+")
_ARRAY: Final = re.compile(r"\[([^\[\]{}]{7,120})\]\Z")
_TAIL = 128
_MOST_STARTS = 64
_EDGE = 16
_MARKS = re.compile(r"[{\[<>]")


class Watch:
    """Follows one channel of a reply: the content, or the arguments of one call.

    Attributes:
        complete: whether an answer was read to its end.

    Args:
        names: keys of which an answer has one.
        thinking: whether the text may begin with thoughts that only end with </think>, as chat templates of thinking
            models write the opening tag themselves.
    """

    def __init__(self, names: frozenset[str], *, thinking: bool = False) -> None:
        self.complete = False
        self._names = names
        self._thinking = thinking
        self._brackets = Brackets()
        self._pieces: list[str] = []
        self._tail = ""
        self._boxes: Counter[tuple[bool, tuple[float, ...]]] = Counter()

    def feed(self, fragment: str) -> Stopped | None:
        """Read on, and say why reading could stop here; "answer" is said once."""
        found: Stopped | None = None
        for piece in _PIECES.findall(fragment):
            event = self._piece(piece)
            if event is not None and event != "answer":
                return event
            found = found or event
        return found

    def _piece(self, piece: str) -> Stopped | None:
        self._tail = (self._tail + piece)[-_TAIL:]
        if self._thinking:
            if "</think>" not in self._tail:
                return None
            self._thinking = False
        self._pieces.append(piece)
        closed = self._brackets.feed(self._telling(piece))
        if self._brackets.depth and self._brackets.blank > MOST_BLANK:
            return "whitespace"
        if piece.endswith("]") and not self._brackets.in_string and self._repeats():
            return "repetition"
        if closed:
            return self._closed()
        return None

    def _telling(self, piece: str) -> str:
        """What of a piece the brackets must see: they look at each character, and a megabyte of text has none."""
        if self._brackets.in_string:
            return piece if '"' in piece or "\\" in piece else piece[:1]
        if self._brackets.depth == 0 and len(piece) > 2 * _EDGE and not _MARKS.search(piece):
            return piece[:_EDGE] + piece[-_EDGE:]
        return piece

    def _closed(self) -> Stopped | None:
        text = "".join(self._pieces)
        self._pieces.clear()
        self._brackets = Brackets()
        if not self.complete and self._answers(_last_value(text)):
            self.complete = True
            return "answer"
        return None

    def _answers(self, value: Any) -> bool:
        if isinstance(value, dict):
            return not self._names.isdisjoint(value)
        return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)

    def _repeats(self) -> bool:
        """Whether a box of four numbers has just been completed once too often; a box in prose counts apart."""
        array = _ARRAY.search(self._tail)
        if array is None:
            return False
        parts = array[1].split(",")
        if len(parts) != 4:
            return False
        try:
            box = tuple(float(part.strip().strip("\"'")) for part in parts)
        except ValueError:
            return False
        inside = self._brackets.depth > 0 or self._brackets.closed
        self._boxes[inside, box] += 1
        return self._boxes[inside, box] >= MOST_REPEATS


def _last_value(text: str) -> Any:
    """The JSON value that ends the text, whatever stands before it; None where there is none."""
    for number, start in enumerate(re.finditer(r"[\[{]", text)):
        if number == _MOST_STARTS:
            break
        try:
            return json.loads(text[start.start() :])
        except (ValueError, RecursionError):
            continue
    return None
