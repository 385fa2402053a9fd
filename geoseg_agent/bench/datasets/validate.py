"""Reading a data set through before a run starts, so that nothing is found out when half of it is paid for."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from geoseg_agent.bench.datasets.collection import Broken
from geoseg_agent.bench.datasets.mask_file import by_itself
from geoseg_agent.bench.datasets.pictures import picture_size
from geoseg_agent.bench.pairs import Pair
from geoseg_agent.decode import MAX_PIXELS
from geoseg_agent.errors import DatasetError, ImageError
from geoseg_tools.geometry import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from geoseg_agent.bench.datasets.box_records import BoxRecord
    from geoseg_agent.bench.datasets.collection import Dataset
    from geoseg_tools.arrays import Size
    from geoseg_tools.geometry import Box

_KEPT = 256  # sizes of images: records of one image mostly follow each other


def validate(
    dataset: Dataset[Pair] | Dataset[BoxRecord],
    *,
    told: Callable[[int, int | None], None] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> list[Broken]:
    """Every rule that any record of the data set breaks; empty where all is well.

    Reads every record: the header of its image, the whole of its mask (one at a time), sizes, boxes, query, and
    whether its id is its own. An empty mask is an answer and breaks no rule; a data set without a record is of no
    use, and does. In memory are one record and all ids.

    Args:
        dataset: what `open_pairs` or `open_boxes` gave.
        told: called after each record with how many are done, and how many there are or None.
        max_pixels: the largest image that the run will accept.
    """
    broken: list[Broken] = []
    seen: set[str] = set()
    size_of = lru_cache(_KEPT)(lambda path: picture_size(path, max_pixels=max_pixels))
    for done, found in enumerate(dataset.records(), 1):
        if isinstance(found, Broken):
            broken.append(found)
        else:
            item = found.item
            rules = list(_rules(item, found.where, size_of))
            if item.id in seen:
                rules.append("its id stands twice in the data set")
            seen.add(item.id)
            broken.extend(Broken(item.id, found.where, rule) for rule in rules)
        if told is not None:
            told(done, dataset.count)
    if not seen and not broken:
        broken.append(Broken(None, str(dataset.root), "it holds no record"))
    return broken


def _rules(item: Pair | BoxRecord, where: str, size_of: Callable[[Path], Size]) -> Iterator[str]:
    """What is wrong with a record that could be read."""
    size = item.size
    try:
        real = size_of(item.image)
    except ImageError as error:
        yield f"the image cannot be used: {error.message}"
    else:
        if size is not None and size != real:
            yield f"the image has {_pixels(real)} pixels, the record says {_pixels(size)}"
        size = real
    if size is not None:
        yield from _outside(item.boxes, size)
    if isinstance(item, Pair):
        yield from _mask(item, where, size)


def _outside(boxes: tuple[Box, ...], size: Size) -> Iterator[str]:
    for box in boxes:
        if not whole(size).contains(box):
            yield f"the box {list(box)} reaches over the image of {_pixels(size)} pixels"


def _mask(pair: Pair, where: str, size: Size | None) -> Iterator[str]:
    # The size is compared here, where the header of the image was read already, or could not be.
    truth = by_itself(pair.truth)
    try:
        mask = truth.read()
    except DatasetError as error:
        yield error.message.removeprefix(f"{where}: ")
        return
    if size is not None and mask.shape != size:
        yield f"the mask has {_pixels(mask.shape)} pixels, the image {_pixels(size)}"


def _pixels(size: tuple[int, ...]) -> str:
    return f"{size[1]} x {size[0]}"
