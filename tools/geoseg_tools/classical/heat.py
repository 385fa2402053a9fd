"""The similarity grid of the offline default: a scene's evidence, averaged over the cells of a crop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from geoseg_tools.classical import ops

if TYPE_CHECKING:
    from geoseg_tools.arrays import Heat, Size
    from geoseg_tools.classical.ops import Map
    from geoseg_tools.geometry import Box

GRID = 64
_FINE = 256
_CORE = 6.0
_CALM = 0.1


def sample(values: Map, scene: Size, window: Box, size: Size) -> Map:
    """A working-size map over a window of the scene, bilinearly, at `size` (h, w)."""
    height, width = values.shape
    x = (np.arange(size[1]) + 0.5) * window.width / size[1] + window.x1
    y = (np.arange(size[0]) + 0.5) * window.height / size[0] + window.y1
    x = np.clip(x * width / scene[1] - 0.5, 0, width - 1).astype(np.float32)
    y = np.clip(y * height / scene[0] - 0.5, 0, height - 1).astype(np.float32)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    share_x, share_y = x - left, (y - top)[:, None]
    rows = values[top] * (1 - share_y) + values[bottom] * share_y
    out: Map = rows[:, left] * (1 - share_x) + rows[:, right] * share_x
    return out


def heat(evidence: Map, gradient: Map, scene: Size, roi: Box) -> Heat:
    """Evidence of a region of interest as a grid whose peaks are good places to click.

    Values stay absolute. The middle of a region counts more than its rim, a calm pixel a little more than one
    on an edge: otherwise a saturated region would be one plateau with a single peak.

    Args:
        evidence: (h, w) float32 of the whole scene at working size.
        gradient: (h, w) float32 colour gradient, the same frame.
        scene: (H, W) of the scene.
        roi: region of interest, absolute pixels.

    Returns:
        (gh, gw) float32, 0..1, at most 64 x 64.
    """
    grid = (min(GRID, roi.height), min(GRID, roi.width))
    scale = min(1.0, _FINE / max(roi.size))
    fine = (max(grid[0], round(roi.height * scale)), max(grid[1], round(roi.width * scale)))
    values = sample(evidence, scene, roi, fine)
    edge = sample(gradient, scene, roi, fine)
    core = np.minimum(ops.distance(values > 0.5) / _CORE, 1)
    values = ops.blur(values, 1) * (0.5 + 0.5 * core) * (1 - _CALM * edge / (edge + 6))
    out = cv2.resize(values, (grid[1], grid[0]), interpolation=cv2.INTER_AREA)
    return np.clip(np.asarray(out, np.float32), 0, 1)
