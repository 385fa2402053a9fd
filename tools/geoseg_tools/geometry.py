"""Boxes in absolute pixels, the bias-aware refinement of GeoSeg (Eq. 2), and pasting back.

Frames: every `Box` is in pixels of the original image, half-open. All rounding is done in exact
rational arithmetic, so a result never depends on how 0.1 * 70 is stored as a float.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import numpy as np

from geoseg_tools.errors import GeometryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask, Size

Rounding = Literal["outward", "truncate"]


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """A non-empty rectangle of whole pixels: x1 <= x < x2, y1 <= y < y2, all >= 0.

    Raises:
        GeometryError: a coordinate is not an int, is negative, or the box is empty.
    """

    x1: int
    y1: int
    x2: int
    y2: int

    def __post_init__(self) -> None:
        for name, value in zip(("x1", "y1", "x2", "y2"), self, strict=True):
            if type(value) is not int:
                raise GeometryError(f"Box.{name} must be an int, got {value!r}")
        if self.x1 < 0 or self.y1 < 0:
            raise GeometryError(f"Box must not start left of or above the image, got {tuple(self)}")
        if self.x2 <= self.x1 or self.y2 <= self.y1:
            raise GeometryError(f"Box must not be empty: x1 < x2 and y1 < y2, got {tuple(self)}")

    def __iter__(self) -> Iterator[int]:
        return iter((self.x1, self.y1, self.x2, self.y2))

    @property
    def width(self) -> int:
        """x2 - x1, in pixels."""
        return self.x2 - self.x1

    @property
    def height(self) -> int:
        """y2 - y1, in pixels."""
        return self.y2 - self.y1

    @property
    def size(self) -> Size:
        """(height, width) in pixels."""
        return self.height, self.width

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices: `image[box.slices]` is the crop, as a view."""
        return slice(self.y1, self.y2), slice(self.x1, self.x2)

    def clamp(self, size: Size) -> Box:
        """The part of the box inside an image of `size` (h, w).

        Raises:
            GeometryError: nothing of the box is inside.
        """
        part = self.intersection(whole(size))
        if part is None:
            raise GeometryError(f"box {tuple(self)} lies outside the image of {size[1]} x {size[0]} pixels")
        return part

    def intersection(self, other: Box) -> Box | None:
        """The common part of two boxes, or None where they do not overlap."""
        x1, y1 = max(self.x1, other.x1), max(self.y1, other.y1)
        x2, y2 = min(self.x2, other.x2), min(self.y2, other.y2)
        return Box(x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None

    def iou(self, other: Box) -> float:
        """Intersection over union of the two areas, 0..1."""
        common = self.intersection(other)
        shared = 0 if common is None else common.area
        return shared / (self.area + other.area - shared)

    def contains(self, other: Box) -> bool:
        """Whether every pixel of `other` is in this box."""
        return self.intersection(other) == other

    def relative_to(self, origin: Box) -> Box:
        """The same box in the frame of `origin`, which must contain its top left corner."""
        return Box(self.x1 - origin.x1, self.y1 - origin.y1, self.x2 - origin.x1, self.y2 - origin.y1)

    def offset(self, origin: Box) -> Box:
        """The inverse of `relative_to`: from the frame of `origin` back to the image."""
        return Box(self.x1 + origin.x1, self.y1 + origin.y1, self.x2 + origin.x1, self.y2 + origin.y1)


def whole(size: Size) -> Box:
    """The box that covers an image of `size` (h, w)."""
    return Box(0, 0, size[1], size[0])


def refine(
    box: Box,
    size: Size,
    alpha: float = 0.2,
    beta: float = 0.1,
    *,
    rounding: Rounding = "outward",
    min_side: int = 0,
) -> Box:
    """The region of interest of a box: clamped, then widened left and up by `alpha`, right and down by `beta`.

    GeoSeg Eq. 2 with w, h measured after clamping. `rounding` "outward" takes floor and ceil, so that no fraction
    of the margin is lost; "truncate" drops fractions, as the authors' released code does. A side shorter than
    `min_side` is then widened about its centre as far as the image allows (0 switches that off).

    Args:
        box: absolute pixels of the original image; may reach over its edge.
        size: (h, w) of the image.
        alpha: share of the box side added left and above, >= 0.
        beta: share of the box side added right and below, >= 0.
        rounding: what to do with fractions of a pixel.
        min_side: smallest side of the result in pixels.

    Raises:
        GeometryError: the box lies outside the image, or a margin is negative or not finite.
    """
    for name, value in (("alpha", alpha), ("beta", beta)):
        if not math.isfinite(value) or value < 0:
            raise GeometryError(f"{name} must be a finite number >= 0, got {value!r}")
    inside = box.clamp(size)
    a, b = Fraction(str(alpha)), Fraction(str(beta))
    x1, x2 = _widen(inside.x1, inside.x2, size[1], a, b, rounding)
    y1, y2 = _widen(inside.y1, inside.y2, size[0], a, b, rounding)
    x1, x2 = _at_least(x1, x2, size[1], min_side)
    y1, y2 = _at_least(y1, y2, size[0], min_side)
    return Box(x1, y1, x2, y2)


def _widen(low: int, high: int, limit: int, a: Fraction, b: Fraction, rounding: Rounding) -> tuple[int, int]:
    side = high - low
    left, right = low - a * side, high + b * side
    if rounding == "outward":
        left, right = Fraction(math.floor(left)), Fraction(math.ceil(right))
    # Clipping comes first: truncation towards zero must not see a negative number.
    return int(max(left, Fraction(0))), int(min(right, Fraction(limit)))


def _at_least(low: int, high: int, limit: int, side: int) -> tuple[int, int]:
    missing = min(side, limit) - (high - low)
    if missing <= 0:
        return low, high
    start = min(max(low - missing // 2, 0), limit - min(side, limit))
    return start, start + min(side, limit)


def resize_nearest(mask: Mask, size: Size) -> Mask:
    """`mask` resampled to `size` (h, w) by the source pixel under each target pixel's centre, in integers.

    Raises:
        GeometryError: the mask is not a two-dimensional, non-empty bool array, or the size is not positive.
    """
    if mask.ndim != 2 or mask.dtype != np.bool_ or 0 in mask.shape:
        raise GeometryError(f"a mask is a non-empty (h, w) bool array, got {mask.dtype} of shape {mask.shape}")
    if min(size) < 1:
        raise GeometryError(f"a size is (height, width), both at least 1, got {size}")
    if mask.shape == size:
        return mask
    return mask[np.ix_(nearest(size[0], mask.shape[0]), nearest(size[1], mask.shape[1]))]


def nearest(length: int, of: int) -> NDArray[np.int64]:
    """(length,) int64: which of `of` source rows lies under the centre of each, in integers; of columns likewise."""
    rows: NDArray[np.int64] = (2 * np.arange(length) + 1) * of // (2 * length)
    return rows


def paste(mask: Mask, roi: Box, size: Size) -> Mask:
    """Turn a mask of the RoI into one of the image: nearest-neighbour to the RoI's size, at its offset.

    Args:
        mask: (h, w) bool, RoI frame, any resolution.
        roi: where it belongs, absolute pixels, inside the image.
        size: (H, W) of the image.

    Returns:
        (H, W) bool, image frame; a new array.

    Raises:
        GeometryError: the mask is malformed or the RoI reaches over the image.
    """
    if not whole(size).contains(roi):
        raise GeometryError(f"roi {tuple(roi)} reaches over the image of {size[1]} x {size[0]} pixels")
    canvas = np.zeros(size, dtype=np.bool_)
    canvas[roi.slices] = resize_nearest(mask, roi.size)
    return canvas
