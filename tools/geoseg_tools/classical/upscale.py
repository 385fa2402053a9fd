"""From maps at working size to masks in pixels of the scene, without a full-size map in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from geoseg_tools.geometry import Box
from geoseg_tools.masks import extent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask, Size
    from geoseg_tools.classical.ops import Map

_ROWS = 256


def above(values: Map, size: Size, box: Box, threshold: float = 0.5) -> Mask:
    """Where a map, interpolated bilinearly to a scene of `size` (H, W), exceeds a threshold inside a box.

    Returns:
        (h, w) bool in the frame of the box.
    """
    out = np.empty(box.size, np.bool_)
    left, right, share_x = _weights(box.x1, box.x2, size[1], values.shape[1])
    top, bottom, share_y = _weights(box.y1, box.y2, size[0], values.shape[0])
    for start in range(0, box.height, _ROWS):
        part = slice(start, min(start + _ROWS, box.height))
        share = share_y[part, None]
        rows = values[top[part]] * (1 - share) + values[bottom[part]] * share
        out[part] = rows[:, left] * (1 - share_x) + rows[:, right] * share_x > threshold
    return out


def reduced(mask: Mask, size: Size, box: Box, working: Size) -> Map:
    """The share of every cell that a mask holds which lies at `box` of a scene of `size` (H, W).

    Returns:
        (h, w) float32 at `working` size (h, w), 0..1.
    """
    whole = np.zeros(size, np.uint8)
    whole[box.slices] = mask
    whole *= np.uint8(255)
    smaller = working[0] * working[1] < size[0] * size[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_NEAREST
    small = cv2.resize(whole, (working[1], working[0]), interpolation=how)
    return np.asarray(small, np.float32) / np.float32(255)


def _weights(
    low: int, high: int, full: int, working: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    position = (np.arange(low, high) + 0.5) * (working / full) - 0.5
    position = np.clip(position, 0, working - 1)
    first = np.floor(position).astype(np.int64)
    return first, np.minimum(first + 1, working - 1), (position - first).astype(np.float32)


def scene_box(box: NDArray[np.int64], working: Size, size: Size, margin: int = 2) -> Box:
    """A box x1, y1, x2, y2 at working size, widened by `margin` of its pixels, in pixels of the scene."""
    sx, sy = size[1] / working[1], size[0] / working[0]
    x1, y1 = max(0, int((box[0] - margin) * sx)), max(0, int((box[1] - margin) * sy))
    x2 = min(size[1], int(np.ceil((box[2] + margin) * sx)))
    y2 = min(size[0], int(np.ceil((box[3] + margin) * sy)))
    return Box(x1, y1, max(x2, x1 + 1), max(y2, y1 + 1))


def window(values: Map, size: Size, box: Box) -> Map:
    """The part of a working-size map that a box of the scene covers, rounded outward; at least one cell."""
    height, width = values.shape
    x1, y1 = int(box.x1 * width / size[1]), int(box.y1 * height / size[0])
    x2, y2 = int(np.ceil(box.x2 * width / size[1])), int(np.ceil(box.y2 * height / size[0]))
    return values[min(y1, height - 1) : max(y2, y1 + 1), min(x1, width - 1) : max(x2, x1 + 1)]


def tight(mask: Mask, box: Box) -> tuple[Box, Mask] | None:
    """A mask in the frame of a box, cut to its smallest box of the scene; None for an empty mask.

    Where there is nothing to cut it is the mask itself.
    """
    inner = extent(mask)
    if inner is None:
        return None
    return inner.offset(box), mask if inner.size == mask.shape else mask[inner.slices].copy()
