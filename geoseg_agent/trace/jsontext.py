"""JSON as traces use it: written for people, read without trust.

Writing: UTF-8, one field a line, arrays of plain values on one line. Reading refuses what a careless reader would
let through: duplicate keys, NaN and infinity (spelt out or by overflow), and nesting that exhausts the stack.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHORT = 100


def compact(value: Any) -> bytes:
    """One line of JSON, UTF-8, keys in their order. A lone surrogate (of an odd file name) becomes "?".

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


def pretty(value: Any) -> bytes:
    """JSON for people, UTF-8, ending in a newline.

    Raises:
        ValueError: a number is not finite.
    """
    return ("".join(_pretty(value, 1)) + "\n").encode("utf-8", "replace")


def _pretty(value: Any, depth: int) -> Iterator[str]:
    if not isinstance(value, dict | list) or not value:
        yield _line(value)
        return
    if not any(isinstance(part, dict) for part in (value.values() if isinstance(value, dict) else value)):
        line = _line(value)
        if isinstance(value, list) or len(line) <= _SHORT:
            yield line
            return
    indent, (first, last) = "\n" + " " * depth, "{}" if isinstance(value, dict) else "[]"
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for number, (key, part) in enumerate(parts):
        yield first if number == 0 else ","
        yield indent
        if isinstance(value, dict):
            yield _line(key) + ": "
        yield from _pretty(part, depth + 1)
    yield "\n" + " " * (depth - 1) + last


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def parse(data: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: not JSON, not UTF-8, a key twice, a number that is not finite or far too long, nested too deep.
    """
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=_finite,
            parse_constant=_no_constant,
        )
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:80]!r} stands twice in one object")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:80]} is beyond the range of numbers")
    return number


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")
