"""Typed image operations that every evidence map is built from: thin names over OpenCV, scipy and numpy.

Maps are (h, w) float32, masks (h, w) bool, both in the frame of their argument. Lengths are pixels.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from geoseg_tools.masks import extent

if TYPE_CHECKING:
    from geoseg_tools.arrays import Mask, Size

Map: TypeAlias = NDArray[np.float32]
"""(h, w) float32."""

Labels: TypeAlias = NDArray[np.int32]
"""(h, w) int32 component numbers, 0 is background."""

_SAMPLE = 60_000
_ROUND = 0.3
_WIDE = 9


def sig(x: NDArray[Any]) -> Map:
    """The logistic function 1 / (1 + exp(-x)), float32, never overflowing."""
    out: Map = expit(np.asarray(x, dtype=np.float32))
    return out


def sig1(x: float) -> float:
    """The logistic function of one number."""
    return float(expit(x))


def logit(p: NDArray[Any], floor: float) -> Map:
    """log(p / (1 - p)) with p kept `floor` away from 0 and 1."""
    clipped = np.clip(p, floor, 1.0 - floor)
    out: Map = np.log(clipped / (1.0 - clipped)).astype(np.float32)
    return out


@lru_cache(maxsize=32)
def disc(radius: int) -> NDArray[np.uint8]:
    """The round structuring element of a radius: (2r+1, 2r+1) uint8."""
    axis = np.arange(-radius, radius + 1)
    return ((axis[:, None] ** 2 + axis[None] ** 2) <= (radius + _ROUND) ** 2).astype(np.uint8)


def lab(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """CIE Lab of (h, w, 3) float32 RGB 0..1: L 0..100, a and b about -100..100."""
    return cast("NDArray[np.float32]", cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab))


def blur(values: NDArray[Any], sigma: float) -> Map:
    """Gaussian smoothing; works on (h, w) and (h, w, c)."""
    return cast("Map", cv2.GaussianBlur(np.asarray(values, np.float32), (0, 0), sigma))


def dilate(mask: Mask, radius: int) -> Mask:
    """The mask grown by a disc."""
    return _morph(cv2.MORPH_DILATE, mask, disc(radius))


def erode(mask: Mask, radius: int) -> Mask:
    """The mask shrunk by a disc; the image edge does not eat into it."""
    return _morph(cv2.MORPH_ERODE, mask, disc(radius))


def opened(mask: Mask, radius: int) -> Mask:
    """The parts of the mask that a disc fits into."""
    return _morph(cv2.MORPH_OPEN, mask, disc(radius)) if radius < _WIDE else _opened_wide(mask, radius)


def _opened_wide(mask: Mask, radius: int) -> Mask:
    # A disc fits only where the square inside of it does, which is soon found and leaves little to look at.
    half = int((radius + _ROUND) / math.sqrt(2))
    fits = _morph(cv2.MORPH_ERODE, mask, np.ones((2 * half + 1, 2 * half + 1), np.uint8))
    out = np.zeros_like(mask)
    found = extent(fits)
    if found is not None:
        top, left = max(0, found.y1 - radius), max(0, found.x1 - radius)
        part = np.s_[top : found.y2 + radius, left : found.x2 + radius]
        out[part] = dilate(erode(mask[part], radius) & fits[part], radius)
    return out


def closed(mask: Mask, radius: int) -> Mask:
    """The mask with gaps narrower than a disc filled."""
    return _morph(cv2.MORPH_CLOSE, mask, disc(radius))


def opened3(mask: Mask) -> Mask:
    """The parts of the mask that a 3x3 square fits into."""
    return _morph(cv2.MORPH_OPEN, mask, np.ones((3, 3), np.uint8))


def spread(values: Map, radius: int) -> Map:
    """The greatest value within a disc around every pixel."""
    return cast("Map", cv2.dilate(np.asarray(values, np.float32), disc(radius)))


def _morph(kind: int, mask: Mask, element: NDArray[np.uint8]) -> Mask:
    return cv2.morphologyEx(mask.view(np.uint8), kind, element).view(np.bool_)


class Components(NamedTuple):
    """Connected components of a mask; row i describes label i, row 0 is background.

    Attributes:
        labels: (h, w) int32.
        area: (n,) pixels.
        box: (n, 4) x1, y1, x2, y2, half-open.
        centre: (n, 2) x, y centroids in pixel indices.
    """

    labels: Labels
    area: NDArray[np.int64]
    box: NDArray[np.int64]
    centre: NDArray[np.float64]

    def mean(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """(n,) mean of a map over every component."""
        total = np.bincount(self.labels.ravel(), weights=values.ravel(), minlength=len(self.area))
        out: NDArray[np.float64] = total / np.maximum(self.area, 1)
        return out

    def peak(self, values: NDArray[Any], lowest: float = 0.0) -> NDArray[np.float64]:
        """(n,) greatest value of a map over every component; `lowest` for the background and below it."""
        where = np.flatnonzero(self.labels)
        out = np.full(len(self.area), lowest)
        # Of one type with `out`: numpy is slow to convert one value at a time.
        np.maximum.at(out, self.labels.ravel()[where].astype(np.intp), values.ravel()[where].astype(np.float64))
        return out

    def only(self, keep: NDArray[np.bool_]) -> Mask:
        """(h, w) the union of the components whose entry in `keep` (n,) is True; never the background."""
        chosen = keep.copy()
        chosen[0] = False
        out: Mask = chosen[self.labels]
        return out


def components(mask: Mask, connectivity: int = 8) -> Components:
    """The connected components of a mask, with their statistics."""
    n, labels, stats, centre = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=connectivity)
    box = stats[:, :4].astype(np.int64)
    box[:, 2:] += box[:, :2]
    area = stats[:n, cv2.CC_STAT_AREA].astype(np.int64)
    return Components(cast("Labels", labels), area, box, cast("NDArray[np.float64]", np.nan_to_num(centre)))


def numbered(mask: Mask, connectivity: int = 8) -> Labels:
    """(h, w) int32, the labels of `components` without its statistics, in half the time."""
    return cast("Labels", cv2.connectedComponents(mask.view(np.uint8), connectivity=connectivity)[1])


def distance(mask: Mask) -> Map:
    """Distance of every True pixel to the nearest False one; the image edge counts as False."""
    padded = np.pad(mask, 1).view(np.uint8)
    return cast("Map", cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1])


def distance_to(mask: Mask) -> Map:
    """Distance of every pixel to the nearest True one; the diagonal where there is none."""
    if not mask.any():
        return np.full(mask.shape, float(np.hypot(*mask.shape)), np.float32)
    return cast("Map", cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, 5))


def local_std(values: Map, sigma: float) -> Map:
    """Standard deviation in a Gaussian window."""
    mean = blur(values, sigma)
    spread: Map = np.sqrt(np.maximum(blur(values * values, sigma) - mean * mean, 0.0)).astype(np.float32)
    return spread


def percentile(values: NDArray[Any], *q: float) -> list[float]:
    """Percentiles of a large sample of the values; zeros where there are none."""
    flat = values.ravel()
    if not flat.size:
        return [0.0] * len(q)
    sample = flat[:: max(1, flat.size // _SAMPLE)]
    return [float(v) for v in np.percentile(sample, q)]


def otsu(values: NDArray[Any], default: float) -> float:
    """The threshold that separates two classes best (Otsu 1979); `default` for a constant or empty sample."""
    flat = values.ravel().astype(np.float64)
    if flat.size < 2:
        return default
    low, high = float(flat.min()), float(flat.max())
    if high - low < 1e-4:
        return default
    count, edges = np.histogram(flat[:: max(1, flat.size // _SAMPLE)], bins=256, range=(low, high))
    centre = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(count)
    above = below[-1] - below
    total = np.cumsum(count * centre)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    between[~np.isfinite(between)] = -1.0
    return float(centre[int(np.argmax(between))])


def shrink(image: NDArray[Any], size: Size) -> NDArray[Any]:
    """`image` reduced to `size` (h, w) by area averaging, so that no thin structure is skipped."""
    if image.shape[:2] == size:
        return image
    return cast("NDArray[Any]", cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA))
