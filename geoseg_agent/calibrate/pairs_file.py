"""Boxes said and true boxes from a JSON-lines file, of whatever pipeline said them.

    {"image": "a.jpg", "size": [800, 1200], "said": [[101, 52, 398, 260]], "true": [[95, 50, 410, 255]],
     "sent": [864, 1248], "read": "norm1000", "model": "qwen3-vl-8b"}

One line per reply. Sizes are [height, width]. `true` is in pixels of the original image, right and bottom exclusive.
`said` is what the model wrote, and `read` the frame it was read in; without `read` it is taken for pixels of the
original. `sent`, `read` and `model` may be left out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geoseg_agent.calibrate.pairs import LARGEST, Said, reading_name
from geoseg_agent.calibrate.readings import box_of
from geoseg_agent.errors import DatasetError
from geoseg_agent.grounding.chat import Frame
from geoseg_tools.errors import GeometryError
from geoseg_tools.geometry import Box, whole

if TYPE_CHECKING:
    from pathlib import Path

_Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
_Four = Annotated[tuple[_Number, _Number, _Number, _Number], Field(strict=False)]
_Side = Annotated[int, Field(ge=1, le=1_000_000)]
_Pair = Annotated[tuple[_Side, _Side], Field(strict=False)]

LONGEST = 1 << 20
"""Most characters of a line."""


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    image: Annotated[str, Field(min_length=1)]
    size: _Pair
    said: list[_Four]
    true: list[_Four]
    sent: _Pair | None = None
    read: str | None = None
    model: str = ""


def read_pairs(path: Path) -> list[Said]:
    """Every reply of the file.

    Raises:
        DatasetError: the file cannot be read, or a line is malformed; the message names line, field and rule.
    """
    found = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, text in enumerate(lines, start=1):
                if text.strip():
                    found.append(_said(text, f"{path}, line {number}"))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is no UTF-8 text: {error.reason}") from error
    if not found:
        raise DatasetError(f"{path} holds no boxes", hint="one JSON object a line, see docs/evaluation.md")
    return found


def _said(text: str, where: str) -> Said:
    if len(text) > LONGEST:
        raise DatasetError(f"{where} has more than {LONGEST} characters")
    try:
        line = _Line.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the line"
        raise DatasetError(f"{where}: {field}: {first['msg']}") from None
    try:
        frame = None if line.read is None else Frame.parse(line.read)
    except ValueError as error:
        raise DatasetError(f"{where}: read: {error}") from None
    reading = reading_name(frame)
    return Said(
        numbers=tuple(line.said),
        predicted=tuple(box_of(numbers, reading, line.size, line.sent) for numbers in line.said),
        true=tuple(_true(numbers, line.size, f"{where}: true[{index}]") for index, numbers in enumerate(line.true)),
        size=line.size,
        sent=line.sent,
        read=frame,
        image=line.image,
        model=line.model,
    )


def _true(numbers: tuple[float, float, float, float], size: tuple[int, int], where: str) -> Box:
    x1, y1, x2, y2 = numbers
    try:
        box = Box(math.floor(x1), math.floor(y1), math.ceil(x2), math.ceil(y2))
    except GeometryError as error:
        raise DatasetError(f"{where}: {error}") from None
    if not whole(size).contains(box):
        raise DatasetError(f"{where}: {list(box)} reaches over the image of {size[1]} x {size[0]} pixels")
    return box
