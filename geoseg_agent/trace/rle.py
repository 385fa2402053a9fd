"""Masks as COCO run-lengths.

Encoding is pycocotools'. Decoding is done here, because a trace is not trusted: the C decoder believes the file's
sizes and run-lengths, this one checks them before it allocates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pycocotools import mask as coco

from geoseg_agent.trace.model import Rle
from geoseg_tools.geometry import Box, whole
from geoseg_tools.masks import Part

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask, Size

MAX_AREA = 1 << 31
STRIP_PIXELS = 1 << 24
"""Masks of more pixels are encoded in strips of columns of about so many: no second copy of them is made."""

_MAX_CHARS = 7  # of one run-length: 5 bits each, enough for 2**34


def encode_mask(mask: Mask) -> Rle:
    """The run-lengths of a (h, w) bool mask, h and w at least 1."""
    if mask.size > STRIP_PIXELS:
        height, width = mask.shape
        return encode_union([Part(whole((height, width)), mask)], (height, width))
    runs = coco.encode(np.asfortranarray(mask).view(np.uint8))
    return Rle(size=[int(side) for side in mask.shape], counts=runs["counts"].decode("ascii"))


def encode_part(part: Part, size: Size) -> Rle:
    """The run-lengths of a tight mask in a frame of `size` (h, w), which is never laid out."""
    height, width = size
    box, pixels = part
    if pixels.size > STRIP_PIXELS:
        return encode_union([part], size)
    # COCO counts down the columns: where a pixel differs from the one before it in its column, a run ends.
    framed = np.zeros((box.width, box.height + 2), dtype=np.int8)
    framed[:, 1:-1] = pixels.T
    column, row = np.nonzero(np.diff(framed, axis=1))
    edges = (column + box.x1) * height + row + box.y1
    # A run that goes on from the foot of a column to the head of the next has no edge between them.
    joined = np.flatnonzero(np.diff(edges) == 0)
    edges = np.delete(edges, np.r_[joined, joined + 1])
    return _encoded(edges[edges < height * width], size)


def encode_union(parts: Sequence[Part], size: Size, strip_pixels: int = STRIP_PIXELS) -> Rle:
    """The run-lengths of the union of masks in a frame of `size` (h, w), of which no more than a strip is laid out.

    They are those of `encode_mask` of the whole canvas, character for character.

    Args:
        parts: boxes inside the frame, and masks of their sizes.
        size: (h, w) with at most `MAX_AREA` pixels.
        strip_pixels: the canvas is laid out for so many pixels at once, or for one column.
    """
    edges = np.concatenate([np.zeros(0, dtype=np.int64), *_edges(parts, size, strip_pixels)])
    return _encoded(edges, size)


def _edges(parts: Sequence[Part], size: Size, strip_pixels: int) -> Iterator[NDArray[np.int64]]:
    """Where a pixel differs from the one before it, down the columns; a pixel before the first one is unset."""
    height, width = size
    step = max(1, strip_pixels // height)
    last = False
    for left in range(0, width, step):
        strip = Box(left, 0, min(left + step, width), height)
        # The canvas lies on its side, for the pixels of a column are neighbours then.
        canvas = np.zeros((strip.width, height), dtype=np.bool_)
        for box, pixels in parts:
            common = box.intersection(strip)
            if common is not None:
                canvas[common.relative_to(strip).slices[::-1]] |= pixels[common.relative_to(box).slices].T
        flat = canvas.reshape(-1)
        if last != flat[0]:
            yield np.array([left * height])
        yield np.flatnonzero(flat[1:] != flat[:-1]) + (left * height + 1)
        last = bool(flat[-1])


def _encoded(edges: NDArray[np.int64], size: Size) -> Rle:
    height, width = size
    counts = np.diff(np.r_[0, edges, height * width])
    runs = coco.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
    return Rle(size=[height, width], counts=runs["counts"].decode("ascii"))


def decode_mask(record: Rle) -> Mask:
    """The (h, w) bool mask, a new array.

    Raises:
        ValueError: the sizes or run-lengths are impossible.
    """
    height, width = record.size
    if min(height, width) < 1 or height * width > MAX_AREA:
        raise ValueError(f"a mask cannot have {width} x {height} pixels")
    runs = runs_of(record.counts)
    if (runs < 0).any() or int(runs.sum()) != height * width:
        raise ValueError(f"the run-lengths do not add up to the {height * width} pixels of the mask")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def runs_of(counts: str) -> NDArray[np.int64]:
    """Undo COCO's text form: base 32 digits, least first, then differences to the run before last."""
    try:
        chars = np.frombuffer(counts.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError as error:
        raise ValueError("the run-lengths hold a character that is no digit") from error
    if (chars < 0).any() or (chars > 63).any() or (len(chars) and chars[-1] & 32):
        raise ValueError("the run-lengths hold a character that is no digit, or break off")
    ends = np.flatnonzero((chars & 32) == 0)
    starts = np.r_[0, ends[:-1] + 1][: len(ends)]
    if len(ends) and int((ends - starts).max()) >= _MAX_CHARS:
        raise ValueError("a run-length is too long")
    if not len(ends):
        return np.zeros(0, dtype=np.int64)
    place = 5 * (np.arange(len(chars)) - np.repeat(starts, ends - starts + 1))
    values = np.add.reduceat((chars & 31) << place, starts)
    values -= np.where(chars[ends] & 16, 1 << (5 * (ends - starts + 1)), 0)
    runs = values
    runs[1::2] = np.cumsum(values[1::2])
    runs[2::2] = np.cumsum(values[2::2])
    return runs
