"""Masks as COCO run-lengths.

Encoding is pycocotools'. Decoding is done here, because a trace is not trusted: the C decoder believes the file's
sizes and run-lengths, this one checks them before it allocates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pycocotools import mask as coco

from geoseg_agent.trace.model import Rle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask, Size
    from geoseg_tools.masks import Part

MAX_AREA = 1 << 31
_MAX_CHARS = 7  # of one run-length: 5 bits each, enough for 2**34


def encode_mask(mask: Mask) -> Rle:
    """The run-lengths of a (h, w) bool mask, h and w at least 1."""
    runs = coco.encode(np.asfortranarray(mask).view(np.uint8))
    return Rle(size=[int(side) for side in mask.shape], counts=runs["counts"].decode("ascii"))


def encode_part(part: Part, size: Size) -> Rle:
    """The run-lengths of a tight mask in a frame of `size` (h, w), which is never laid out."""
    height, width = size
    box, pixels = part
    # COCO counts down the columns: where a pixel differs from the one before it in its column, a run ends.
    framed = np.zeros((box.width, box.height + 2), dtype=np.int8)
    framed[:, 1:-1] = pixels.T
    column, row = np.nonzero(np.diff(framed, axis=1))
    edges = (column + box.x1) * height + row + box.y1
    # A run that goes on from the foot of a column to the head of the next has no edge between them.
    joined = np.flatnonzero(np.diff(edges) == 0)
    edges = np.delete(edges, np.r_[joined, joined + 1])
    counts = np.diff(np.r_[0, edges[edges < height * width], height * width])
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
