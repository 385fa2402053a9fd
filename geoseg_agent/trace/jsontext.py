"""JSON as traces use it: written for people, read without trust.

Writing: UTF-8, one field a line, arrays of plain values on one line. Reading refuses what a careless reader would
let through: duplicate keys, NaN and infinity (spelt out or by overflow), and nesting that exhausts the stack.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SHORT = 100
_line = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_tight = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def compact(value: Any) -> bytes:
    """One line of JSON, UTF-8, keys in their order.

    Raises:
        ValueError: a number is not finite.
    """
    return to_bytes(_tight(value))


def pretty(value: Any) -> bytes:
    """JSON for people, UTF-8, ending in a newline.

    Raises:
        ValueError: a number is not finite.
    """
    parts: list[str] = []
    _pretty(value, "\n ", parts.append)
    return to_bytes("".join(parts) + "\n")


def to_bytes(text: str) -> bytes:
    r"""JSON text in UTF-8; a lone surrogate, of an odd file name or a model's reply, as its escape \udXXX.

    The two halves of a pair that stand side by side become the character that a reader would make of them.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return whole_characters(text).encode("utf-8", "backslashreplace")


def whole_characters(text: str) -> str:
    """The text with pairs of surrogates as the characters that they are; those that stand alone stay."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _pretty(value: Any, indent: str, write: Callable[[str], None]) -> None:
    if isinstance(value, dict) and value and (_holds_objects(value.values()) or len(_line(value)) > _SHORT):
        between = "{"
        for key, part in value.items():
            write(f"{between}{indent}{_line(key)}: ")
            _pretty(part, indent + " ", write)
            between = ","
        write(indent[:-1] + "}")
    elif isinstance(value, list) and _holds_objects(value):
        between = "["
        for part in value:
            write(between + indent)
            _pretty(part, indent + " ", write)
            between = ","
        write(indent[:-1] + "]")
    else:
        write(_line(value))


def _holds_objects(parts: Iterable[Any]) -> bool:
    return any(isinstance(part, dict) for part in parts)


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
