"""Read what some families write instead of JSON: boxes in marks, calls in XML. One pass each, of bounded length.

<ref>car</ref><box>[[x1, y1, x2, y2], ...]</box>                                     InternVL
<|object_ref_start|>car<|object_ref_end|><|box_start|>(x1,y1),(x2,y2)<|box_end|>     Qwen-VL, Qwen2-VL
<function=name><parameter=key>value</parameter></function>                           Qwen3-Coder, Qwen3.5
<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>        GLM-4.5
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from geoseg_agent.grounding.reply.scan import MOST_VALUES, as_object, is_inside, scan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.grounding.reply.scan import Value

_BOX: Final = re.compile(
    r"<ref>(?P<ref>[^<]*+)</ref>|<\|object_ref_start\|>(?P<object>[^<]*+)<\|object_ref_end\|>"
    r"|<box>(?P<box>[^<]*+)(?P<end></box>)?|<\|box_start\|>(?P<span>[^<]*+)(?P<stop><\|box_end\|>)?"
)
_CORNERS: Final = re.compile(
    r"\(\s*+(-?[\d.]++)\s*+,\s*+(-?[\d.]++)\s*+\)\s*+,?\s*+\(\s*+(-?[\d.]++)\s*+,\s*+(-?[\d.]++)\s*+\)"
)
_CALL: Final = re.compile(
    r"<function=(?P<function>[^<>\s]{1,80})>|<tool_call>\s*+(?P<call>[\w.-]{1,80})\s*+(?=<arg_key>)"
)
_PARAMETER: Final = re.compile(
    r"<parameter=(?P<name>[^<>\s]{1,80})>|<arg_key>(?P<key>[^<>]{1,80})</arg_key>\s*+<arg_value>"
)
_END: Final = re.compile(r"</function>|</tool_call>")


class Marked(NamedTuple):
    """What stands in a family's own marks.

    Attributes:
        data: as JSON would give it: a list of targets, or a list of calls.
        complete: whether every mark is closed.
        repair: what was read.
        end: index behind the last of it.
    """

    data: list[Any]
    complete: bool
    repair: str
    end: int


def read_boxes(text: str) -> Marked | None:
    """Boxes in a family's own marks as targets, or None where there is none.

    A reference names all boxes up to the next; a box before any has no label.
    """
    targets: list[dict[str, Any]] = []
    label: str | None = None
    complete, end = True, 0
    for mark in islice(_BOX.finditer(text), 2 * MOST_VALUES):
        name = mark["ref"] if mark["ref"] is not None else mark["object"]
        if name is not None:
            label = name.strip()
            continue
        end = mark.end()
        complete = complete and bool(mark["end"] or mark["stop"])
        named = {} if label is None else {"label": label}
        boxes = _boxes_in(mark["box"] if mark["box"] is not None else mark["span"])
        targets.extend({"bbox_2d": box, **named} for box in boxes)
    return Marked(targets, complete, "box markup read", end) if end else None


def _boxes_in(body: str) -> list[Any]:
    corners = [[_number(number) for number in found.groups()] for found in _CORNERS.finditer(body)]
    if corners:
        return corners
    values = [value.data for value in scan(body).values]
    return [box for value in values for box in (value if _is_nested(value) else [value])] or [body.strip()]


def _is_nested(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, list) for item in value)


def _number(digits: str) -> float | str:
    try:
        return float(digits)
    except ValueError:
        return digits  # "1.2.3" is for the validator to refuse


def read_calls(text: str, values: Sequence[Value]) -> Marked | None:
    """Calls written as XML, as `{"name", "arguments"}`, or None where there is none.

    Args:
        text: to read.
        values: the JSON values in it; what looks like a call inside one is data.
    """
    first = _CALL.search(text)
    if first is None or is_inside(first.start(), values):
        return None
    starts = list(islice(_CALL.finditer(text), MOST_VALUES))
    calls: list[dict[str, Any]] = []
    complete, last = True, 0
    ends = [*(following.start() for following in starts[1:]), len(text)]
    for start, end in zip(starts, ends, strict=False):
        arguments, closed = _parameters(text, start.end(), end)
        complete, last = complete and closed is not None, closed or end
        calls.append({"name": start["function"] or start["call"], "arguments": arguments})
    return Marked(calls, complete, "call markup read", last)


def _parameters(text: str, position: int, end: int) -> tuple[dict[str, Any], int | None]:
    """The parameters between two indices, and the index behind the call; None where not all of it is closed."""
    found: list[tuple[str, Any]] = []
    while (opening := _PARAMETER.search(text, position, end)) is not None:
        closing = "</parameter>" if opening["name"] else "</arg_value>"
        stop = text.find(closing, opening.end(), end)
        if stop < 0:
            return as_object(found), None
        name = (opening["name"] or opening["key"]).strip()
        found.append((name, _value(text[opening.end() : stop].strip())))
        position = stop + len(closing)
    closing_call = _END.search(text, position, end)
    return as_object(found), closing_call and closing_call.end()


def _value(written: str) -> Any:
    """JSON where it is a list, an object or null, else the text itself."""
    if written == "null":
        return None
    found = scan(written)
    spans_all = len(found.values) == 1 and found.values[0].end - found.values[0].start == len(written)
    return found.values[0].data if spans_all else written
