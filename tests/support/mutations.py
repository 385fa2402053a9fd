"""Every way to change one field of a trace that a careful forger might try."""

import base64
import copy

import numpy as np

from geoseg_agent.trace.model import Rle
from geoseg_agent.trace.rle import decode_mask, encode_mask

CHOICES = {
    "status": ("done", "failed", "interrupted", "found", "not_found", "ambiguous"),
    "rule": ("both", "points", "text", "none"),
    "seam": ("ground", "encode", "similarity", "points", "text", "endpoint", "cache", "sent", "chat", "stability"),
    "dialect": ("tool", "json_schema", "json_object", "plain"),
    "role": ("system", "user", "assistant"),
    "outside": ("tolerate", "clamp"),
    "stopped": ("answer", "whitespace", "repetition", "size"),
    "server": ("vllm", "unknown"),
    "asked": ("norm1000", "norm1000-yxyx", "unit", "pixels"),
    "read": ("norm1000", "norm1000-yxyx", "unit", "pixels"),
    "profile": ("default", "paper", "released-code"),
    "rounding": ("outward", "truncate"),
    "picker": ("topk-nms", "threshold"),
    "heat_norm": ("minmax", "none"),
    "point_prompt": ("together", "each"),
    "text_mode": ("instances", "semantic", "both"),
    "variant": ("full", "clip-sam3", "sam3-text", "points", "text", "no-refinement"),
    "type": ("ToolFailed", "OutOfMemory", "ConfigError", "InvalidReply", "Overloaded", "EndpointUnavailable"),
    "code": ("tool", "tool_oom", "config", "cancelled", "interrupted", "endpoint", "internal"),
}


def mutations(tree, only=lambda _: True):
    """(path, changed copy) for every field but the seal, several per field, each of a plausible type and form."""
    for way in fields({key: value for key, value in tree.items() if key != "seal"}):
        if not only(path_of(way)):
            continue
        old = _at(tree, way)
        for new in _others(way, old, _at(tree, way[:-1])):
            yield path_of(way), with_field(tree, way, new)
        parent = _at(tree, way[:-1])
        if isinstance(parent, list):
            at = way[-1]
            for cut in ([*parent[:at], *parent[at + 1 :]], [*parent[:at], old, *parent[at:]]):
                yield path_of(way), with_field(tree, way[:-1], cut)


def path_of(way):
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in way).lstrip(".")


def _at(tree, way):
    for part in way:
        tree = tree[part]
    return tree


def with_field(tree, way, value):
    """A copy with another value in one place; what is not on the way there is shared."""
    if not way:
        return value
    changed = copy.copy(tree)
    changed[way[0]] = with_field(tree[way[0]], way[1:], value)
    return changed


def fields(value, way=()):
    """Where the fields are: objects and lists of objects are entered, their elements are fields too."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from fields(part, (*way, key))
    elif isinstance(value, list) and any(isinstance(part, dict) for part in value):
        for index, part in enumerate(value):
            if isinstance(part, dict):
                yield (*way, index)
            yield from fields(part, (*way, index))
    else:
        yield way


def _others(way, old, parent):
    name = way[-1]
    if name == "counts":
        for flat in (0, -1):
            mask = decode_mask(Rle(**parent))
            mask.flat[flat] ^= True
            yield encode_mask(mask).counts
    elif name == "float32":
        for row in (0, len(old) // 2):
            heat = np.frombuffer(base64.b64decode(old[row]), dtype="<f4").copy()
            heat[len(heat) // 2] += np.float32(1e-6)
            yield [*old[:row], base64.b64encode(heat.tobytes()).decode(), *old[row + 1 :]]
        yield old[:-1]
    elif isinstance(old, bool):
        yield not old
    elif isinstance(old, int):
        yield old + 1
    elif isinstance(old, float):
        yield from (old + 1e-6, None)
    elif isinstance(old, str):
        yield from (choice for choice in CHOICES.get(name, ()) if choice != old)
        yield from (old + "x", old[:-1] + ("0" if old[-1:] != "0" else "1"))
    elif old is None:
        yield from ("x", 1, 0.5, [1], [0, 0, 5, 5], {"name": "p", "version": "1", "sha256": "0" * 64})
        yield from (
            {"prompt": 1, "completion": 1},
            {"status": "not_found", "targets": [], "reasoning": "", "notes": []},
        )
    elif isinstance(old, list) and old and not isinstance(old[0], dict):
        yield from (old[:-1], [*old, old[-1]], old[::-1] if old[::-1] != old else old[1:])
        for position, part in enumerate(old[:1]):
            for new in _others((name, position), part, old):
                yield [*old[:position], new, *old[position + 1 :]]
    elif old in ([], {}):
        yield from ([1], ["x"], [{"x": 1, "y": 1, "positive": True}], {"a": "b"})
