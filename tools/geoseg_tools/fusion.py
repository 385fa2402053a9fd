"""Two masks of one crop into one: validity (GeoSeg Eq. 6) and intersection-first fusion (Eq. 7)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from geoseg_tools.errors import GeometryError
from geoseg_tools.masks import extent

if TYPE_CHECKING:
    from geoseg_tools.arrays import Mask

Rule = Literal["both", "points", "text", "none"]


class Fused(NamedTuple):
    """The fused mask and which rule of Eq. 7 gave it.

    Attributes:
        mask: (h, w) bool, the frame of the two masks.
        rule: "both" (intersection, possibly empty), "points", "text" or "none" (empty).
    """

    mask: Mask
    rule: Rule


def valid(mask: Mask, gamma: float) -> bool:
    """Whether the mask covers at least the share `gamma` of its frame, and at least one pixel (Eq. 6).

    With gamma = 0 any non-empty mask is valid, which is the rule of the authors' released code.

    Args:
        mask: (h, w) bool, RoI frame.
        gamma: 0..1.

    Raises:
        GeometryError: the mask is not a (h, w) bool array or gamma is out of range.
    """
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise GeometryError(f"a mask is a (h, w) bool array, got {mask.dtype} of shape {mask.shape}")
    if not (math.isfinite(gamma) and 0 <= gamma <= 1):
        raise GeometryError(f"gamma must be between 0 and 1, got {gamma!r}")
    area = int(np.count_nonzero(mask))
    return area > 0 and area >= gamma * mask.size


def fuse(points_mask: Mask, text_mask: Mask, *, has_keypoints: bool, gamma: float = 0.01) -> Fused:
    """Intersect the routes' masks where both are valid, else take the valid one, else nothing (Eq. 7).

    Args:
        points_mask: (h, w) bool, route A; counts as invalid without keypoints.
        text_mask: (h, w) bool, route B, the same frame.
        has_keypoints: whether route A had any point to start from.
        gamma: smallest share of the frame a valid mask covers.

    Raises:
        GeometryError: the masks differ in shape or are malformed.
    """
    if points_mask.shape != text_mask.shape:
        raise GeometryError(f"the routes' masks differ in shape: {points_mask.shape} and {text_mask.shape}")
    by_points = has_keypoints and valid(points_mask, gamma)
    by_text = valid(text_mask, gamma)
    if by_points and by_text:
        return Fused(_meeting(points_mask, text_mask), "both")
    if by_points:
        return Fused(_meeting(points_mask, points_mask), "points")
    if by_text:
        return Fused(_meeting(text_mask, text_mask), "text")
    return Fused(np.zeros_like(text_mask), "none")


def _meeting(one: Mask, other: Mask) -> Mask:
    """What both hold, a new array; only where `one` reaches is it written, so that the rest takes no memory."""
    out: Mask = np.zeros(one.shape, dtype=np.bool_)
    box = extent(one)
    if box is not None:
        np.logical_and(one[box.slices], other[box.slices], out=out[box.slices])
    return out
