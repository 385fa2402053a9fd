"""Per-pixel features of a window for the learner: colour at two scales, and texture.

Every channel comes with a weight; distances between regions are taken over all of them together.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from geoseg_tools.classical import ops

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.classical.ops import Map

WEIGHTS = np.array([1, 1.2, 1.2, 0.15, 0.15, 0.15, 0.18, 0.18, 0.12, 0.12, 0.12, 0.12], np.float32)
"""Weight of every channel of `channels`. Wide windows count little: around a small target they see the target."""

FLOORS = np.array([5, 2, 2, 5, 2, 2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], np.float32)
"""Spread below which a channel counts as constant, so that noise is not blown up."""

_SCALES = (0.7, 1.4, 2.8, 5.6)


def smoothed(lab: NDArray[np.float32]) -> NDArray[np.float32]:
    """(h, w, 3) Lab with noise removed and edges kept."""
    return cast("NDArray[np.float32]", cv2.bilateralFilter(lab, 7, 12, 3))


def channels(lab: NDArray[np.float32], smooth: NDArray[np.float32]) -> list[Map]:
    """The feature maps of a window, each (h, w) float32, in the order of `WEIGHTS`."""
    light = np.ascontiguousarray(lab[..., 0])
    wide = ops.blur(lab, 4)
    out = [np.ascontiguousarray(part[..., c]) for part in (smooth, wide) for c in range(3)]
    out += [np.log1p(ops.local_std(light, sigma)) for sigma in (2, 6)]
    levels = [light, *(ops.blur(light, sigma) for sigma in _SCALES)]
    out += [np.log1p(ops.blur(np.abs(fine - coarse), 2)) for fine, coarse in pairwise(levels)]
    return out
