"""NWPU VHR-10: a text file of boxes for each image.

    ground truth/001.txt         (563,478),(630,573),1
    positive image set/001.jpg

A line is the upper left corner, the lower right corner, and the class from 1 to 10. The corners are read as edges in
pixels from 0, half-open; whether the last pixel was meant to be included is not said, so a right or lower edge may be
off by one pixel. The files do not give the size of an image; its header does.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from geoseg_agent.bench.datasets.box_records import BoxRecord, by_class
from geoseg_agent.bench.datasets.collection import Broken, Dataset, Found, Record, attempt
from geoseg_agent.bench.datasets.pictures import picture_size
from geoseg_agent.bench.datasets.places import visible
from geoseg_agent.bench.datasets.records import made_id
from geoseg_agent.errors import DatasetError
from geoseg_agent.runs.jsontexts import BOM, Line, lines
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = "ground truth"
CLASSES = (
    "airplane",
    "ship",
    "storage tank",
    "baseball diamond",
    "tennis court",
    "basketball court",
    "ground track field",
    "harbor",
    "bridge",
    "vehicle",
)
_IMAGES = "positive image set"
_NUMBER = rb"\s*(\d{1,6})\s*"
_CORNER = rb"\(" + _NUMBER + rb"," + _NUMBER + rb"\)"
_LINE = re.compile(rb"\s*" + _CORNER + rb"\s*,\s*" + _CORNER + rb"\s*,\s*(\d{1,2})\s*")


def open_nwpu(path: Path) -> Dataset[BoxRecord]:
    """The boxes of NWPU VHR-10, one record for each image and class; `path` is the folder that holds `ground truth`.

    Raises:
        DatasetError: that folder is not there.
    """
    if not (path / FOLDER).is_dir():
        raise DatasetError(f"{path} has no folder {FOLDER!r}")
    return Dataset("nwpu", path, partial(_records, path))


def _records(root: Path) -> Iterator[Found[BoxRecord]]:
    for file in visible(root / FOLDER, "*.txt"):
        where = f"{FOLDER}/{file.name}"
        text = attempt(where, file.stem, partial(_lines, file))
        if isinstance(text, Broken):
            yield text
            continue
        rows = [attempt(f"{where}, line {line.number}", file.stem, partial(_object, line.text)) for line in text.item]
        broken = [row for row in rows if isinstance(row, Broken)]
        if broken:  # boxes that are only some of the image's would be worse than none
            yield from broken
            continue
        image = root / _IMAGES / f"{file.stem}.jpg"
        size = attempt(where, file.stem, partial(picture_size, image))
        if isinstance(size, Broken):
            yield size
            continue
        groups = by_class([row.item for row in rows if isinstance(row, Record)])
        if not groups:
            yield Broken(file.stem, where, "it has no box")
        for name, boxes in groups.items():
            yield Record(where, BoxRecord(made_id(file.stem, name), image, name, boxes, size.item, "NWPU VHR-10"))


def _lines(file: Path) -> list[Line]:
    return list(lines(file))


def _object(text: bytes) -> tuple[str, Box]:
    found = _LINE.fullmatch(text.removeprefix(BOM))
    if found is None:
        raise DatasetError(f"a line must read (x1,y1),(x2,y2),class, got {text[:60].decode('ascii', 'replace')!r}")
    x1, y1, x2, y2, number = (int(part) for part in found.groups())
    if not 1 <= number <= len(CLASSES):
        raise DatasetError(f"the class must be 1 to {len(CLASSES)}, got {number}")
    return CLASSES[number - 1], Box(x1, y1, x2, y2)
