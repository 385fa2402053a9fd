"""DIOR: VOC-style XML of horizontal boxes.

    Annotations/Horizontal Bounding Boxes/00001.xml   ...
    JPEGImages/  or  JPEGImages-trainval/, JPEGImages-test/

The corners of a `bndbox` are read as edges in pixels from 0: x1 = xmin, x2 = xmax, half-open, as its users mostly do.
VOC's own rule counts pixels from 1 and includes the last, so that x1 would be xmin - 1. Files do not say which was
meant, and both fit into the image; a left or upper edge may thus be off by one pixel. Fractions round outwards.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

# No DTD gets through, and entities cannot be declared without one: see _NoDoctype.
from xml.etree import ElementTree as ET

from geoseg_agent.bench.datasets.box_records import BoxRecord, by_class
from geoseg_agent.bench.datasets.collection import Broken, Dataset, Found, Record, attempt
from geoseg_agent.bench.datasets.places import Places, places, visible
from geoseg_agent.bench.datasets.records import made_id
from geoseg_agent.errors import DatasetError
from geoseg_agent.runs.jsontexts import read_whole
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path("Annotations") / "Horizontal Bounding Boxes"
MAX_BYTES = 4 << 20
"""Of one file; DIOR's have a few kilobytes."""


def open_dior(path: Path) -> Dataset[BoxRecord]:
    """The boxes of DIOR, one record for each image and class; `path` is the folder that holds `Annotations`.

    Raises:
        DatasetError: the folder of the annotations is not there.
    """
    if not (path / FOLDER).is_dir():
        raise DatasetError(f"{path} has no folder {FOLDER}")
    return Dataset("dior", path, partial(_records, path))


def _records(root: Path) -> Iterator[Found[BoxRecord]]:
    at = places(root, "JPEGImages", "JPEGImages-trainval", "JPEGImages-test")
    for file in visible(root / FOLDER, "*.xml"):
        where = f"{FOLDER.name}/{file.name}"
        found = attempt(where, file.stem, partial(_read, file, at))
        if isinstance(found, Broken):
            yield found
        else:
            yield from (Record(where, record) for record in found.item)


def _read(file: Path, at: Places) -> list[BoxRecord]:
    tree = _parsed(file)
    size = (_whole(tree, "size/height"), _whole(tree, "size/width"))
    image = at.find((tree.findtext("filename") or "").strip() or f"{file.stem}.jpg")
    objects = [_object(element, number) for number, element in enumerate(tree.iterfind("object"), 1)]
    if not objects:
        raise DatasetError("it has no object")
    return [
        BoxRecord(made_id(file.stem, name), image, name, boxes, size, "DIOR")
        for name, boxes in by_class(objects).items()
    ]


def _object(element: ET.Element, number: int) -> tuple[str, Box]:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise DatasetError(f"object {number} has no name")
    try:
        sides = [float(element.findtext(f"bndbox/{side}") or "") for side in ("xmin", "ymin", "xmax", "ymax")]
        x1, y1, x2, y2 = (*map(math.floor, sides[:2]), *map(math.ceil, sides[2:]))
    except (ValueError, OverflowError) as error:
        raise DatasetError(f"object {number} ({name}): a side of its bndbox is missing or no number") from error
    return name, Box(x1, y1, x2, y2)


def _whole(tree: ET.Element, path: str) -> int:
    text = (tree.findtext(path) or "").strip()
    if not text.isascii() or not text.isdigit() or not 0 < len(text) < 10 or int(text) < 1:
        raise DatasetError(f"{path} must be a whole number of pixels, got {text[:20]!r}")
    return int(text)


class _NoDoctype(ET.TreeBuilder):
    """Refuses a document type as soon as it is named: before its entities, which can grow beyond all memory."""

    def doctype(self, *_declared: str | None) -> None:
        raise DatasetError("it declares a document type, which annotations have no need of")


def _parsed(file: Path) -> ET.Element:
    text = read_whole(file, MAX_BYTES)
    try:
        parser: Any = ET.XMLParser(target=_NoDoctype())  # noqa: S314 - see the import
        parser.feed(text)
        tree: ET.Element = parser.close()
    except (ET.ParseError, ValueError, LookupError) as error:  # an encoding may be unknown
        raise DatasetError(f"it is not XML: {error}") from error
    return tree
