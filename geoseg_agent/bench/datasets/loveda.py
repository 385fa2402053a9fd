"""LoveDA: boxes of the connected parts of a class map.

    Train/Urban/images_png/0.png      Train/Urban/masks_png/0.png      (also Rural, Val)

A mask holds 0 where nothing is known, 1 background, 2 building, 3 road, 4 water, 5 barren, 6 forest, 7 agriculture.
The rule: pixels of one class from 2 on that touch, also over a corner, are one object; it counts from `min_pixels`
on; its box is the tightest. Touching buildings are thus one object, and what the edge of the image cuts is kept.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg_agent.bench.datasets.box_records import BoxRecord
from geoseg_agent.bench.datasets.collection import Broken, Dataset, Found, Record, attempt
from geoseg_agent.bench.datasets.mask_file import read_values
from geoseg_agent.bench.datasets.places import visible
from geoseg_agent.bench.datasets.records import made_id
from geoseg_agent.errors import DatasetError
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

MASKS = "masks_png"
MIN_PIXELS = 256
"""16 x 16 pixels: at LoveDA's 0.3 m about 5 m x 5 m, smaller than a house."""

CLASSES = {2: "building", 3: "road", 4: "water", 5: "barren", 6: "forest", 7: "agriculture"}
_IMAGES = "images_png"


def open_loveda(path: Path, *, min_pixels: int = MIN_PIXELS) -> Dataset[BoxRecord]:
    """The boxes of LoveDA, one record for each image and class that has an object on it.

    Args:
        path: the data set's folder, or a part of it such as Train/Urban.
        min_pixels: smallest area of an object, at least 1.

    Raises:
        DatasetError: there are no masks, or `min_pixels` is not positive.
    """
    if min_pixels < 1:
        raise DatasetError(f"min_pixels must be at least 1, got {min_pixels}")
    files = mask_files(path)
    if not files:
        raise DatasetError(f"{path} has no {MASKS}/*.png")
    return Dataset("loveda", path, partial(_records, path, files, min_pixels))


def mask_files(root: Path) -> list[Path]:
    """The class maps in a folder and up to two folders down, in order."""
    return visible(root, *(f"{depth}{MASKS}/*.png" for depth in ("", "*/", "*/*/")))


def _records(root: Path, files: list[Path], min_pixels: int) -> Iterator[Found[BoxRecord]]:
    for file in files:
        part = file.parent.parent.relative_to(root)
        where = (part / MASKS / file.name).as_posix()
        name = "-".join((*part.parts, file.stem))
        values = attempt(where, name, partial(_classes, file))
        if isinstance(values, Broken):
            yield values
            continue
        image = file.parent.parent / _IMAGES / file.name
        size = (int(values.item.shape[0]), int(values.item.shape[1]))
        for value, class_name in CLASSES.items():
            if boxes := component_boxes(values.item == value, min_pixels):
                yield Record(where, BoxRecord(made_id(name, class_name), image, class_name, boxes, size, "LoveDA"))


def _classes(file: Path) -> NDArray[Any]:
    values = read_values(file)
    if values.dtype.kind not in "ui" or values.max() > max(CLASSES):
        raise DatasetError(f"a class map holds 0 to {max(CLASSES)}, this one {values.max()}")
    return values


def component_boxes(mask: NDArray[np.bool_], min_pixels: int) -> tuple[Box, ...]:
    """The tight boxes of the 8-connected parts of a (h, w) mask with at least `min_pixels`, from the top down."""
    import cv2  # noqa: PLC0415 - heavy, and only needed for class maps

    if not mask.any():
        return ()
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    boxes = [
        Box(x, y, x + width, y + height)
        for x, y, width, height, area in stats[1:].tolist()  # the first is what is not in the mask
        if area >= min_pixels
    ]
    return tuple(sorted(boxes, key=lambda box: (box.y1, box.x1, box.y2, box.x2)))
