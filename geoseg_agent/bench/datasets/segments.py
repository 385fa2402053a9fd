"""Answers as COCO writes them: run-lengths and polygons, checked before anything is allocated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from pycocotools import mask as coco
from pydantic import Field

from geoseg_agent.bench.datasets.records import Side, Strict
from geoseg_agent.decode import MAX_PIXELS
from geoseg_agent.errors import DatasetError
from geoseg_agent.trace.rle import runs_of

if TYPE_CHECKING:
    from geoseg_agent.bench.pairs import Truth
    from geoseg_tools.arrays import Mask, Size

MAX_COUNTS = 1 << 24
"""Characters of a compressed mask, or numbers of a plain one; decoding takes 65 bytes for each. A mask of 8000 x 8000
pixels of single trees has a third of it."""

MAX_OUTLINE = 8_000_000
"""Length of a polygon in pixels; pycocotools takes some 100 bytes for each, and dies where it gets none."""


class Runs(NamedTuple):
    """One mask as COCO's run-lengths, columns first, beginning with what is not in it.

    Attributes:
        size: (H, W).
        counts: COCO's compressed text, or the run-lengths themselves.
    """

    size: Size
    counts: str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RunLengths:
    """An answer as one or more run-length masks, united.

    Attributes:
        runs: at least one, all of the size of the image.
        size: (H, W) of the image.
        where: the record, for messages.
    """

    runs: tuple[Runs, ...]
    size: Size
    where: str

    def read(self) -> Mask:
        """(H, W) bool in the frame of the image, a new array.

        Raises:
            DatasetError: a size differs, or run-lengths do not make up a mask.
        """
        height, width = _checked(self.size, self.where)
        flat = np.zeros(height * width, dtype=np.bool_)
        for number, runs in enumerate(self.runs, 1):
            try:
                flat |= _laid_out(runs, self.size)
            except ValueError as error:
                raise DatasetError(f"{self.where}: mask {number} of {len(self.runs)}: {error}") from error
        return np.ascontiguousarray(flat.reshape(width, height).T)


@dataclass(frozen=True, slots=True)
class Polygons:
    """An answer as COCO's polygons, united; pycocotools decides which pixels they cover.

    Attributes:
        rings: each x1, y1, x2, y2, ... of three points or more; absolute pixels, edges of pixels at whole numbers.
        size: (H, W) of the image.
        where: the record, for messages.
    """

    rings: tuple[tuple[float, ...], ...]
    size: Size
    where: str

    def read(self) -> Mask:
        """(H, W) bool in the frame of the image, a new array.

        Raises:
            DatasetError: a ring has too few points, is not finite, lies far outside the image, or is longer than
                `MAX_OUTLINE`.
        """
        height, width = _checked(self.size, self.where)
        for number, ring in enumerate(self.rings, 1):
            # Four numbers would be taken for a box, and a far corner drawn for gigabytes.
            if len(ring) < 6 or len(ring) % 2:
                raise DatasetError(f"{self.where}: polygon {number} has {len(ring)} numbers, not 6, 8, 10, ...")
            if not all(math.isfinite(value) for value in ring):
                raise DatasetError(f"{self.where}: polygon {number} holds a number that is not finite")
            for name, values, side in (("x", ring[::2], width), ("y", ring[1::2], height)):
                far = next((value for value in values if not -side <= value <= 2 * side), None)
                if far is not None:
                    raise DatasetError(f"{self.where}: polygon {number} reaches {name} = {far:g}, far outside")
            corners = np.asarray(ring).reshape(-1, 2)
            length = np.abs(corners - np.roll(corners, -1, axis=0)).max(axis=1).sum()
            if length > MAX_OUTLINE:
                raise DatasetError(f"{self.where}: polygon {number} is {length:.0f} pixels long, over {MAX_OUTLINE}")
        runs = coco.frPyObjects([list(ring) for ring in self.rings], height, width)
        united = Runs(self.size, coco.merge(runs)["counts"].decode("ascii"))
        return np.ascontiguousarray(_laid_out(united, self.size).reshape(width, height).T)


@dataclass(frozen=True, slots=True)
class United:
    """An answer of several parts, such as a sentence that means several objects.

    Attributes:
        parts: at least one, all of one size.
    """

    parts: tuple[Truth, ...]

    def read(self) -> Mask:
        """(H, W) bool in the frame of the image, a new array: what any part has.

        Raises:
            DatasetError: a part cannot be read.
        """
        united = self.parts[0].read().copy()
        for part in self.parts[1:]:
            united |= part.read()
        return united


class _Rle(Strict):
    size: Annotated[list[Side], Field(min_length=2, max_length=2)]
    counts: str | list[int]

    def runs(self) -> Runs:
        return Runs((self.size[0], self.size[1]), self.counts if isinstance(self.counts, str) else tuple(self.counts))


class _Polygon(Strict):
    ring: list[float]


def truth_of(segmentation: Any, size: Size, where: str) -> RunLengths | Polygons:
    """What a JSON value means: a run-length mask, a list of them, or a list of polygons.

    Args:
        segmentation: {"size": [H, W], "counts": text or list}, a list of such, or [[x1, y1, x2, y2, ...], ...].
        size: (H, W) of the image.
        where: the record, for messages.

    Raises:
        DatasetError: none of these, an empty list, or of another size than the image.
        pydantic.ValidationError: a field is missing or of another type.
    """
    parts = [segmentation] if isinstance(segmentation, dict) else segmentation
    if not isinstance(parts, list) or not parts:
        raise DatasetError("a mask must be a run-length object, a list of them, or a list of polygons; not empty")
    if all(isinstance(part, list) for part in parts):
        # strict pydantic takes whole numbers for float, but no text and no bool
        return Polygons(tuple(tuple(_Polygon(ring=part).ring) for part in parts), size, where)
    runs = [_Rle.model_validate(part).runs() for part in parts]
    for number, part in enumerate(runs, 1):
        if part.size != size:
            raise DatasetError(
                f"mask {number} of {len(runs)} has {part.size[1]} x {part.size[0]} pixels, "
                f"the record says {size[1]} x {size[0]}"
            )
    return RunLengths(tuple(runs), size, where)


def _checked(size: Size, where: str) -> Size:
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise DatasetError(f"{where}: a mask of {size[1]} x {size[0]} pixels is empty or too large")
    return size


def _laid_out(runs: Runs, size: Size) -> Mask:
    """(H * W,) bool, columns first; ValueError where the run-lengths are impossible."""
    total = size[0] * size[1]
    if runs.size != size:
        raise ValueError(f"it has {runs.size[1]} x {runs.size[0]} pixels, the image {size[1]} x {size[0]}")
    if len(runs.counts) > MAX_COUNTS:
        raise ValueError(f"the run-lengths are {len(runs.counts)} long, over {MAX_COUNTS}")
    if isinstance(runs.counts, str):
        lengths = runs_of(runs.counts)
    else:
        if any(not 0 <= length <= total for length in runs.counts):
            raise ValueError(f"a run-length is negative or longer than the {total} pixels of the mask")
        lengths = np.asarray(runs.counts, dtype=np.int64)
    # pycocotools takes what is missing for empty; then a truncated mask is a smaller answer, and nobody is told.
    if (lengths < 0).any() or (lengths > total).any() or int(lengths.sum()) != total:
        raise ValueError(f"the run-lengths do not add up to the {total} pixels of the mask")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
