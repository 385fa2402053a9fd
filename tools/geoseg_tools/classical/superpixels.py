"""Superpixels by watershed on a grid of calm markers: small regions of one colour whose borders follow edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from scipy.sparse import coo_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.classical.ops import Labels

_GAIN = np.array([2.2, 2.5, 2.5], np.float32)
_OFFSET = np.array([0, 128, 128], np.float32)

# To the four neighbours first, then across the corners: rows down, columns right.
_STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


class Neighbours(NamedTuple):
    """Pairs of touching superpixels i < j and the length of their common border in pixels."""

    i: NDArray[np.int64]
    j: NDArray[np.int64]
    length: NDArray[np.float64]


def superpixels(smooth: NDArray[np.float32], cell: int = 7) -> Labels:
    """Cut an image into superpixels of about `cell` x `cell` pixels.

    Args:
        smooth: (h, w, 3) float32 Lab with noise removed.
        cell: side of the grid that the markers stand on.

    Returns:
        (h, w) int32, numbered 0..n-1 without gaps.
    """
    height, width = smooth.shape[:2]
    if min(height, width) < 3:
        return np.arange(height * width, dtype=np.int32).reshape(height, width)
    coded = np.empty(smooth.shape, np.uint8)
    for c in range(3):
        coded[..., c] = np.clip(smooth[..., c] * _GAIN[c] + _OFFSET[c], 0, 255)
    markers = _markers(smooth, cell)
    labels = np.asarray(cv2.watershed(coded, markers), np.int32)
    labels = _without_lines(labels, smooth)
    # A line pixel between line pixels only: leave it to whatever region came first.
    labels = np.maximum(labels, 1)
    there = np.bincount(labels.ravel()) > 0
    return (np.cumsum(there) - 1).astype(np.int32)[labels]


def _markers(smooth: NDArray[np.float32], cell: int) -> Labels:
    """One marker per grid cell, on the calmest pixel of the cell's middle."""
    height, width = smooth.shape[:2]
    light = np.ascontiguousarray(smooth[..., 0])
    gradient = np.abs(cv2.Sobel(light, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(light, cv2.CV_32F, 0, 1))
    rows, cols = max(1, height // cell), max(1, width // cell)
    top = ((np.arange(rows) + 0.25) * height / rows).astype(np.int64)
    left = ((np.arange(cols) + 0.25) * width / cols).astype(np.int64)
    reach = max(1, cell // 2)
    dy, dx = (part.ravel() for part in np.mgrid[:reach, :reach])
    y = np.minimum(top[:, None, None] + dy, height - 1)
    x = np.minimum(left[None, :, None] + dx, width - 1)
    y, x = np.broadcast_arrays(y, x)
    best = gradient[y, x].argmin(axis=2)[..., None]
    markers = np.zeros((height, width), np.int32)
    at_y, at_x = (np.take_along_axis(part, best, axis=2).ravel() for part in (y, x))
    markers[at_y, at_x] = np.arange(1, rows * cols + 1)
    return markers


def _without_lines(labels: Labels, smooth: NDArray[np.float32]) -> Labels:
    """Give the pixels of the watershed lines to the neighbour of the most similar colour."""
    colour = [np.pad(smooth[..., c], 1, mode="edge").ravel() for c in range(3)]
    framed = np.pad(labels, 1, constant_values=-1)
    inner, flat, wide = framed[1:-1, 1:-1], framed.ravel(), framed.shape[1]
    for _ in range(4):
        ys, xs = np.nonzero(inner < 1)
        if not len(ys):
            break
        at = (ys + 1) * wide + xs + 1
        here = [channel[at] for channel in colour]
        best = np.full(len(at), np.inf, np.float32)
        taken = np.full(len(at), -1, np.int32)
        for down, right in _STEPS:
            beside = at + (down * wide + right)
            other = flat[beside]
            # Channel by channel: a sum over an axis of three is slow.
            off = np.zeros(len(at), np.float32)
            for channel, own in zip(colour, here, strict=True):
                apart = channel[beside]
                apart -= own
                off += np.abs(apart, out=apart)
            better = (other > 0) & (off < best)
            np.copyto(best, off, where=better)
            np.copyto(taken, other, where=better)
        flat[at] = taken
    return inner.copy()


def neighbours(labels: Labels) -> Neighbours:
    """Which superpixels touch (4-connected), and over how many pixels."""
    n = int(labels.max()) + 1
    low, high = [], []
    for one, other in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        apart = one != other
        first, second = one[apart], other[apart]
        low.append(np.minimum(first, second))
        high.append(np.maximum(first, second))
    i, j = np.concatenate(low), np.concatenate(high)
    # Pairs that are the same become one, in order, with their ones added up.
    border = coo_array((np.ones(len(i)), (i, j)), shape=(n, n)).tocsr()
    return Neighbours(np.repeat(np.arange(n), np.diff(border.indptr)), border.indices.astype(np.int64), border.data)
