"""Box data sets: what they share, and the project's own `boxes.jsonl`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from geoseg_agent.bench.datasets.jsonlines import open_lines
from geoseg_agent.bench.datasets.records import Corners, Side, Strict, boxes_of, made_id

if TYPE_CHECKING:
    from typing import Any

    from geoseg_agent.bench.datasets.collection import Dataset
    from geoseg_agent.bench.datasets.places import Places
    from geoseg_tools.arrays import Size
    from geoseg_tools.geometry import Box

NAME = "boxes.jsonl"


@dataclass(frozen=True, slots=True)
class BoxRecord:
    """The objects of one class on one image.

    Attributes:
        id: unique in its data set; letters, digits and `-_.` only.
        image: the picture.
        class_name: as the data set spells it.
        boxes: at least one; absolute pixels of the image, half-open.
        size: (H, W) of the image as the data set declares it, or as the image has it where it does not.
        source: the collection.
    """

    id: str
    image: Path
    class_name: str
    boxes: tuple[Box, ...]
    size: Size
    source: str | None = None


class _Line(Strict):
    image: str
    class_name: str = Field(alias="class", min_length=1)
    boxes: Annotated[list[Corners], Field(min_length=1)]
    width: Side
    height: Side
    source: str | None = None


def open_box_lines(path: Path) -> Dataset[BoxRecord]:
    """The records of a `boxes.jsonl`, the file or its folder: JSON lines, one a line, boxes in pixels, half-open.

        {"image": "images/x.jpg", "class": "car", "boxes": [[10, 20, 40, 35]], "width": 640, "height": 480,
         "source": "..."}

    Raises:
        DatasetError: it cannot be read.
    """
    return open_lines("boxes", path, NAME, called="image", build=_record)


def _record(data: Any, at: Places, _where: str) -> BoxRecord:
    line = _Line.model_validate(data)
    return BoxRecord(
        made_id(PurePosixPath(line.image).with_suffix(""), line.class_name),
        at.find(line.image),
        line.class_name,
        boxes_of(line.boxes),
        (line.height, line.width),
        line.source,
    )


def by_class(objects: list[tuple[str, Box]]) -> dict[str, tuple[Box, ...]]:
    """Boxes of one image gathered by the name of their class, names in order, boxes in theirs."""
    found: dict[str, list[Box]] = {}
    for name, box in objects:
        found.setdefault(name, []).append(box)
    return {name: tuple(found[name]) for name in sorted(found)}
