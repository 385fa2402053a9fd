"""Tell while a reply still streams in that its JSON value is complete. Pure, one pass, constant memory."""

from __future__ import annotations

from typing import Final

_THOUGHTS: Final = ("<think>", "</think>")
_LONGEST: Final = max(map(len, _THOUGHTS))
_CLOSES: Final = {"{": "}", "[": "]"}
_BEGINS: Final = {"{": '"', "[": "{["}
"""What follows the bracket of a value: prose has brackets too, as in "[0, 1000)" or "{x1, y1}"."""

_ONE_OF_MANY: Final = frozenset({"bbox_2d", "box_2d", "bbox", "box", "x1", "label", "name", "function", "type"})
"""First keys of a single target and of a call written as text: another may follow."""

_LONGEST_KEY: Final = 16


class Brackets:
    """Follows the brackets of a text that arrives in fragments.

    A value begins at an object with a key or a list of objects or lists, outside <think>...</think>; brackets in
    prose begin none. A single target or a call written as text closes nothing, for another may follow. Not to stop
    is always safe, so whatever is unclear is read on.

    Attributes:
        depth: how many brackets of the value are open.
        in_string: whether the text stands inside a string of the value.
        blank: length of the current run of whitespace outside strings.
        closed: whether the first value is complete.
    """

    def __init__(self) -> None:
        self.depth = 0
        self.in_string = False
        self.blank = 0
        self.closed = False
        self._expected: list[str] = []
        self._escaped = False
        self._first_key = ""  # of the value, as far as it is read
        self._naming = False
        self._maybe: str | None = None  # a bracket of which it is not yet known whether it begins a value
        self._thinking = False
        self._tail = ""

    def feed(self, fragment: str) -> bool:
        """Read on; True once the first complete value has closed, and ever after."""
        for character in fragment:
            if self.closed:
                break
            self._read(character)
        return self.closed

    def _read(self, character: str) -> None:
        if self.in_string:
            self._in_string(character)
            return
        self.blank = self.blank + 1 if character.isspace() else 0
        if self.depth == 0:
            self._before(character)
        elif character == '"':
            self.in_string = True
        elif character in _CLOSES:
            self._open(character)
        elif character in "]}":
            self._close(character)

    def _in_string(self, character: str) -> None:
        if self._escaped:
            self._escaped = False
        elif character == "\\":
            self._escaped = True
        elif character == '"':
            self.in_string = False
            self._naming = False
        elif self._naming:
            self._first_key = (self._first_key + character)[:_LONGEST_KEY]

    def _before(self, character: str) -> None:
        """In the text before a value: look for thoughts, and for a bracket that begins one."""
        self._tail = (self._tail + character)[-_LONGEST:]
        if character == ">" and self._tail.endswith(_THOUGHTS):
            self._thinking = self._tail.endswith(_THOUGHTS[0])
        if self._thinking:
            self._maybe = None
        elif self._maybe is not None and character in _BEGINS[self._maybe]:
            self._first_key, self._naming = "", self._maybe == "{"
            self._open(self._maybe)
            self._maybe = None
            self._read(character)
        elif character in _CLOSES:
            self._maybe = character
        elif not character.isspace():
            self._maybe = None

    def _open(self, character: str) -> None:
        self._expected.append(_CLOSES[character])
        self.depth += 1

    def _close(self, character: str) -> None:
        if self._expected[-1] != character:
            # Not JSON after all: look for the next value.
            self._expected.clear()
            self.depth = 0
            return
        self._expected.pop()
        self.depth -= 1
        self.closed = self.depth == 0 and self._first_key not in _ONE_OF_MANY
