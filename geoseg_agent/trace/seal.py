"""The seal: a short digest of every field, so that a change is named and not just noticed.

The seal finds accidents and edits by hand. It is no signature: whoever changes a field can recompute it; what is
then still noticed is shown by `geoseg_agent.trace.replay`.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from json.encoder import encode_basestring
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from geoseg_agent.trace.jsontext import to_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIGITS = 16
_SHORT = 64
_canonical = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


class Change(NamedTuple):
    """A field that is not as it was sealed.

    Attributes:
        path: for example "steps[4].output.masks[0].counts".
        kind: what happened to it.
    """

    path: str
    kind: str


def leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Every field with its path: objects and lists of objects are entered, all else counts as one field."""
    found: list[tuple[str, Any]] = []
    _collect(value, path, found)
    return found


def _collect(value: Any, path: str, found: list[tuple[str, Any]]) -> None:
    if isinstance(value, dict) and value:
        before = f"{path}." if path else ""
        for key, part in value.items():
            if isinstance(part, (dict, list)):
                _collect(part, f"{before}{key}", found)
            else:
                found.append((f"{before}{key}", part))
    elif isinstance(value, list) and any(isinstance(part, dict) for part in value):
        for index, part in enumerate(value):
            _collect(part, f"{path}[{index}]", found)
    else:
        found.append((path, value))


def seal(tree: Mapping[str, Any]) -> dict[str, str]:
    """Path to digest, of every field but the seal itself."""
    return {path: _digest(value) for path, value in leaves({k: v for k, v in tree.items() if k != "seal"})}


def reseal(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree with a seal that fits it."""
    return {**tree, "seal": seal(tree)}


def changes(tree: Mapping[str, Any], sealed: Mapping[str, str]) -> list[Change]:
    """What is not as it was sealed, in the order of the file."""
    found = seal(tree)
    changed = [
        Change(path, "was added" if path not in sealed else "was changed")
        for path, digest in found.items()
        if sealed.get(path) != digest
    ]
    return changed + [Change(path, "was removed") for path in sealed if path not in found]


def _digest(value: Any) -> str:
    text = _text(value)
    return _of_short(text) if len(text) <= _SHORT else _of(text)


def _text(value: Any) -> str:
    """As `_canonical`, by the shorter way for what most fields are: its cost is that of setting up an encoder."""
    kind = type(value)
    if kind is str:
        return encode_basestring(value)
    if kind is int or (kind is float and isfinite(value)):
        return repr(value)
    return "null" if value is None else _canonical(value)


def _of(text: str) -> str:
    return hashlib.sha256(to_bytes(text)).hexdigest()[:_DIGITS]


# Nearly every field is a short name or number that stands in many steps, and in every trace.
_of_short = lru_cache(maxsize=4096)(_of)
