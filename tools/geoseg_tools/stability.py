"""The same scene as it might have been taken, smaller or in other light, to see which answer holds up.

An answer that sits on the thresholds of its tools changes with the picture; how well it overlaps with what comes of
the changed copies ranks answers better than any score of a single run does.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import cv2
import numpy as np

from geoseg_tools.crop import Scene
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geoseg_tools.arrays import Mask, Rgb, Size


class Change(NamedTuple):
    """How a copy differs: its sides times `scale`, its tones (0..1) to the power of `gamma`."""

    scale: float = 1.0
    gamma: float = 1.0


CHANGES: Final[Mapping[int, Sequence[Change]]] = {
    2: (Change(scale=0.6), Change(gamma=1.25)),
    4: (Change(scale=0.8), Change(scale=0.6), Change(gamma=0.8), Change(gamma=1.25)),
}
"""The copies that are looked at, by how many."""


def changed_size(size: Size, change: Change, seen: float = 1.0) -> Size:
    """(h, w) of a copy of an image of `size`; its scale is that of what tools see, `seen` of its sides."""
    scale = change.scale * seen if change.scale != 1.0 else 1.0
    return max(1, round(scale * size[0])), max(1, round(scale * size[1]))


def changed(scene: Scene, change: Change, seen: float = 1.0) -> Scene:
    """The copy; its digest says of what it is one, and how it was made.

    Args:
        scene: the image.
        change: how the copy differs.
        seen: 0..1, by how much the tools shrink what they look at: one smaller by less would be the same to them.

    Raises:
        NoPixelsError: the scene was rebuilt from a trace.
    """
    size = changed_size(scene.size, change, seen)
    pixels, valid = scene.pixels, scene.valid
    if size != scene.size:
        pixels = cast("Rgb", cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA))
        valid = None if valid is None else shrunk(valid, size)
    if change.gamma != 1.0:
        tones = np.round(255 * (np.arange(256) / 255) ** change.gamma).astype(np.uint8)
        pixels = tones[pixels]
    digest = hashlib.sha256(f"{scene.digest} {size} {change.gamma}".encode()).hexdigest()
    return Scene(size, digest, pixels, valid)


def shrunk(mask: Mask, size: Size) -> Mask:
    """A mask at a smaller `size` (h, w): a pixel is set where most of what it covers is."""
    if mask.shape == size:
        return mask
    share = cv2.resize(mask.view(np.uint8) * np.uint8(255), size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(share > 127, np.bool_)


def scaled_box(box: Box, size: Size, to: Size) -> Box:
    """A box of an image of `size` in one of size `to`, (h, w) both, rounded outward; at least one pixel."""
    x1, x2 = box.x1 * to[1] // size[1], -(-box.x2 * to[1] // size[1])
    y1, y2 = box.y1 * to[0] // size[0], -(-box.y2 * to[0] // size[0])
    return Box(x1, y1, max(x2, x1 + 1), max(y2, y1 + 1))


def overlap(mask: Mask, other: Mask) -> float:
    """Intersection over union of two masks of one scene, at the size of the smaller second; 0 if both are empty.

    A mask that is lost when it is made smaller was not found again.
    """
    small = shrunk(mask, cast("Size", other.shape))
    union = int(np.count_nonzero(small | other))
    return int(np.count_nonzero(small & other)) / union if union else 0.0
