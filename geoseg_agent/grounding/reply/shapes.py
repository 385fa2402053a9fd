"""Bring the documented variants of an answer into its one shape; every change is a named repair. Nothing is checked.

Sources of the variants: the families' model cards and demos (Qwen-VL, InternVL, GLM-V, Gemini, Kimi-VL), and what
servers make of calls (vLLM, Ollama, LM Studio). What is not listed here stays as it is, for the contract to refuse.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from geoseg_agent.grounding.reply.scan import Doubled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geoseg_agent.grounding.chat import Order

TOOL: Final = "segment_targets"

_BOXES: Final = ("bbox_2d", "box_2d", "bbox", "box")
_CORNERS: Final = {"xyxy": ("x1", "y1", "x2", "y2"), "yxyx": ("y1", "x1", "y2", "x2")}
_ARGUMENTS: Final = ("arguments", "parameters")
_NUMERIC: Final = re.compile(r"\s*[-+]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][-+]?\d{1,3})?\s*", re.ASCII)
_EMPTY_BOXES: Final[tuple[Any, ...]] = (None, [], {})


class Shaped(NamedTuple):
    """An answer in its one shape.

    Attributes:
        data: for the contract to check; usually a dict of status, targets and reasoning.
        repairs: what was changed, each named once.
        boxless: how many targets had no box and were left out.
    """

    data: Any
    repairs: tuple[str, ...]
    boxless: int


def is_call(data: Any) -> bool:
    """Whether this is a call written as JSON: a name, and arguments as an object or text."""
    inner = data["function"] if isinstance(data, dict) and isinstance(data.get("function"), dict) else data
    # Which of two arguments is meant nobody knows: a doubled key is left for the reader to refuse.
    if not isinstance(inner, dict) or isinstance(data, Doubled) or isinstance(inner, Doubled):
        return False
    return isinstance(inner.get("name"), str) and any(isinstance(inner.get(key), dict | str) for key in _ARGUMENTS)


def opened(call: dict[str, Any]) -> tuple[str, Any]:
    """Name and arguments of what `is_call`."""
    inner = call["function"] if isinstance(call.get("function"), dict) else call
    return inner["name"], next(inner[key] for key in _ARGUMENTS if isinstance(inner.get(key), dict | str))


def is_answer(data: Any) -> bool:
    """Whether this is a whole answer in some shape: an object with status or targets, calls, or a list of targets."""
    if isinstance(data, list):
        return bool(data) and all(is_item(item) or is_call(item) for item in data)
    return isinstance(data, dict) and ("status" in data or "targets" in data or is_call(data))


def is_item(data: Any) -> bool:
    """Whether this is one target: an object with a box."""
    return isinstance(data, dict) and (any(key in data for key in _BOXES) or _is_corners(data))


def is_bare(data: Any) -> bool:
    """Whether this is an answer only where nothing else is: no target, or numbers without a label."""
    return isinstance(data, list) and (
        _is_four(data) or all(isinstance(item, list) and (not item or _is_four(item)) for item in data)
    )


def shape(data: Any, order: Order) -> Shaped:
    """`data` as an answer, as far as the listed variants go; the input is left untouched.

    Args:
        data: decoded JSON without doubled keys.
        order: in which order corners that have names go into a box.
    """
    repairs: list[str] = []
    answer = _as_answer(data, repairs)
    if not isinstance(answer, dict):
        return Shaped(answer, tuple(repairs), 0)
    boxless = 0
    if answer.get("targets") is None and answer.get("status") in ("not_found", "ambiguous"):
        answer["targets"] = []
        repairs.append("missing targets taken as none")
    if isinstance(answer.get("targets"), list):
        items = [part for item in answer["targets"] for part in _split(item, order, repairs)]
        answer["targets"] = [item for item in items if not _is_boxless(item)]
        boxless = len(items) - len(answer["targets"])
        if boxless:
            repairs.append("target without a box left out")
        if "status" not in answer:
            answer["status"] = "found" if answer["targets"] else "not_found"
            repairs.append(f"missing status taken as {answer['status']}")
    if "reasoning" in answer and answer["reasoning"] is None:
        del answer["reasoning"]
        repairs.append("reasoning null taken as none")
    return Shaped(answer, tuple(dict.fromkeys(repairs)), boxless)


def doubled(data: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Path of each object in which a key stands more than once, and the key."""
    if isinstance(data, Doubled):
        yield from ((path, key) for key in data.keys_doubled)
    if isinstance(data, dict):
        for key, value in data.items():
            yield from doubled(value, f"{path}.{key[:40]}" if path else key[:40])
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from doubled(value, f"{path}[{index}]")


def _as_answer(data: Any, repairs: list[str]) -> Any:
    if is_item(data) and not is_answer(data):
        repairs.append("single target taken as a list")
        return {"targets": [data]}
    if not isinstance(data, list):
        return dict(data) if isinstance(data, dict) else data
    repairs.append("bare array taken as targets")
    return {"targets": [data] if _is_four(data) else data}


def _split(item: Any, order: Order, repairs: list[str]) -> list[Any]:
    """A target with its box under its one name and as four numbers; several where it has several boxes."""
    if isinstance(item, list):
        repairs.append("array of numbers taken as a box")
        item = {"bbox_2d": item}
    if not isinstance(item, dict):
        return [item]
    item = _renamed(item, order, repairs)
    box = item.get("bbox_2d")
    if isinstance(box, dict) and _is_corners(box) and len(box) == 4:
        repairs.append("named corners taken as a box")
        box = [box[name] for name in _CORNERS[order]]
    if isinstance(box, list) and box and all(isinstance(part, list) for part in box) and all(map(_is_four, box)):
        repairs.append("box in a list taken out" if len(box) == 1 else "several boxes under one label split")
        return [{**item, "bbox_2d": _as_numbers(part, repairs)} for part in box]
    return [{**item, "bbox_2d": _as_numbers(box, repairs)}] if "bbox_2d" in item else [item]


def _renamed(item: dict[str, Any], order: Order, repairs: list[str]) -> dict[str, Any]:
    """The target with its box under "bbox_2d", where it has exactly one under a known name."""
    named = [key for key in _BOXES if key in item]
    if len(named) == 1 and named[0] != "bbox_2d":
        repairs.append(f"{named[0]} read as bbox_2d")
        return {"bbox_2d" if key == named[0] else key: value for key, value in item.items()}
    if not named and _is_corners(item):
        repairs.append("named corners taken as a box")
        rest = {key: value for key, value in item.items() if key not in _CORNERS[order]}
        return {"bbox_2d": [item[name] for name in _CORNERS[order]], **rest}
    return item


def _as_numbers(box: Any, repairs: list[str]) -> Any:
    """The box with its numeric strings as numbers; anything else is left."""
    if not isinstance(box, list) or not any(isinstance(number, str) for number in box):
        return box
    numbers = [_number(number) for number in box]
    if any(type(new) is not type(old) for new, old in zip(numbers, box, strict=True)):
        repairs.append("numeric strings read as numbers")
    return numbers


def _number(written: Any) -> Any:
    if not isinstance(written, str) or _NUMERIC.fullmatch(written) is None:
        return written
    number = float(written)
    return number if math.isfinite(number) else written


def _is_four(data: Any) -> bool:
    return isinstance(data, list) and len(data) == 4 and not any(isinstance(part, list | dict) for part in data)


def _is_corners(data: dict[str, Any]) -> bool:
    return all(name in data for name in _CORNERS["xyxy"])


def _is_boxless(item: Any) -> bool:
    return isinstance(item, dict) and "bbox_2d" in item and any(item["bbox_2d"] == empty for empty in _EMPTY_BOXES)
