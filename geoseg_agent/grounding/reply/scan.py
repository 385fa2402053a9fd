"""Find the complete JSON values in what a model wrote, whatever stands around them. One pass; nothing is repaired.

Prose, fences, <think>, <tool_call> and other markup are passed over; a value that never closes is reported, never
read in part. Every character is looked at once for brackets and once for JSON at most, and the brackets are counted.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

DEEPEST: Final = 24
"""Most brackets inside each other; an answer has five, a call written as text seven."""

MOST_VALUES: Final = 1000
"""Most values that are read in one text."""

MOST_STEPS: Final = 100_000
"""Most brackets, strings and marks that are looked at in one text; five hundred targets have a tenth of that."""

_MOST_DIGITS: Final = 40

# Marks that no value reaches across; the bare fence also ends one that was cut off inside it.
_MARK: Final = r"```|</?tool_call>|</?think>|<\|begin_of_box\|>|<\|end_of_box\|>|</?function\b"
_INSIDE: Final = re.compile(rf'["{{}}\[\]]|{_MARK}')
_STRING: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
# A key without its double quotes begins a value too: one that is refused whole, not read in part.
_KEY: Final = r"""(?:"[^"\\]{0,200}+(?:"\s*+(?::|\Z)|\Z)|'[^']{0,200}+'\s*+:|[A-Za-z_]\w{0,80}+\s*+:)"""
_NUMBER: Final = r'\s*+"?[-+]?[\d.]++(?:[eE][-+]?\d++)?"?\s*+'
_BEGINS: Final = re.compile(
    rf"(?P<numbers>\[{_NUMBER}(?:,{_NUMBER})*+(?:(?P<closed>\])|,?\s*+\Z))"
    rf"|\{{\s*+(?:\}}|{_KEY}|\Z)|\[\s*+(?:[\[{{\]]|\Z)"
)
_CLOSES: Final = {"{": "}", "[": "]"}


class Doubled(dict[str, Any]):
    """A JSON object in which a key stands more than once; it holds the last value of each.

    Attributes:
        keys_doubled: those keys, in order.
    """

    keys_doubled: tuple[str, ...] = ()


class Value(NamedTuple):
    """A complete JSON value in a text.

    Attributes:
        start: index of its first character.
        end: index behind its last.
        data: decoded; an object with a doubled key is a `Doubled`, NaN and Infinity are floats.
        repairs: what was not quite JSON.
    """

    start: int
    end: int
    data: Any
    repairs: tuple[str, ...] = ()


class Scan(NamedTuple):
    """What stands in a text.

    Attributes:
        values: complete ones that are not inside another, in order.
        unclosed: where a value begins that never closes, or None.
        refused: why the last stretch in balanced brackets is no JSON, or None.
        refused_at: where that stretch begins.
        steps: how many brackets, strings and marks were looked at.
    """

    values: tuple[Value, ...]
    unclosed: int | None
    refused: str | None
    steps: int
    refused_at: int = 0


class _Stretch(NamedTuple):
    """From a bracket to the one that closes it."""

    start: int
    end: int
    steps: int
    closed: bool
    problem: str | None = None


def scan(text: str) -> Scan:
    """Every complete JSON object and array in `text`, and whether one begins that never closes.

    A bracket begins a value where a key, an object, an array or numbers follow it; other brackets are prose. What is
    balanced but no JSON is refused whole.
    """
    values: list[Value] = []
    refused: str | None = None
    unclosed: int | None = None
    position = steps = refused_at = 0
    while (beginning := _BEGINS.search(text, position)) is not None:
        steps += 1
        if beginning["numbers"]:
            stretch = _Stretch(beginning.start(), beginning.end(), 0, closed=beginning["closed"] is not None)
        else:
            stretch = _balance(text, beginning.start(), MOST_STEPS - steps)
        steps += stretch.steps
        position = stretch.end
        if stretch.problem is None and stretch.closed:
            value = _decode(text, stretch.start, stretch.end)
            if isinstance(value, Value):
                values.append(value)
            else:
                refused, refused_at = value, stretch.start
        elif stretch.problem:
            refused, refused_at = stretch.problem, stretch.start
        else:
            unclosed = stretch.start
        if len(values) > MOST_VALUES or steps > MOST_STEPS:
            return Scan((), None, "must be one JSON object; this is endless", steps)
    return Scan(tuple(values), unclosed, refused, steps, refused_at)


def is_inside(index: int, values: Sequence[Value]) -> bool:
    """Whether the character at `index` belongs to one of the values, which are in order."""
    before = bisect_right(values, index, key=lambda value: value.start) - 1
    return before >= 0 and index < values[before].end


def _decode(text: str, start: int, end: int) -> Value | str:
    """The JSON value that `text[start:end]` is, or what is wrong with it, as an instruction."""
    part = text[start:end]
    try:
        return Value(start, end, _load(part, strict=True))
    except json.JSONDecodeError as error:
        if error.msg.startswith("Invalid control character"):
            with suppress(json.JSONDecodeError):
                return Value(start, end, _load(part, strict=False), ("line break inside a string accepted",))
        near = " ".join(part[max(0, error.pos - 20) : error.pos + 10].split())
        return f"must be valid JSON; it breaks near {near!r}: {error.msg}"


def _load(part: str, *, strict: bool) -> Any:
    return json.loads(part, strict=strict, object_pairs_hook=as_object, parse_int=_whole)


def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these keys and values; a `Doubled` where a key comes twice."""
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    doubled = Doubled(plain)
    doubled.keys_doubled = tuple(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
    return doubled


def _whole(digits: str) -> int | float:
    # Python refuses to read whole numbers of thousands of digits; none of these is a coordinate.
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _balance(text: str, start: int, most: int) -> _Stretch:
    """Pair the brackets from the one at `start` on, until it closes or cannot, in at most about `most` steps."""
    expected: list[str] = []
    position, steps = start, 0
    problem: str | None = None
    while problem is None and steps <= most and (token := _INSIDE.search(text, position)) is not None:
        steps += 1
        position, mark = token.end(), token.group()
        if mark == '"':
            string = _STRING.match(text, token.start())
            if string is None:
                break
            position = string.end()
        elif mark in _CLOSES:
            expected.append(_CLOSES[mark])
            if len(expected) > DEEPEST:
                # What else may follow is not worth the reading.
                position, problem = len(text), f"must not be nested deeper than {DEEPEST} brackets"
        elif mark not in _CLOSES.values():
            # A fence or the like: what was open is cut off here.
            return _Stretch(start, token.start(), steps, closed=False)
        elif expected.pop() != mark:
            problem = f"must be valid JSON; a bracket is closed by {mark!r}, which does not fit it"
        elif not expected:
            return _Stretch(start, position, steps, closed=True)
    end = position if problem or steps > most else len(text)
    return _Stretch(start, end, steps, closed=False, problem=problem)
