"""Which windows have data: seen from one coarse view of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoseg_tools.geometry import Box, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_tools.arrays import Mask, Size
    from geoseg_tools.crop import Scene

_SIDE = 2048
"""Longest side of the coarse view that is asked for."""


def with_data(scene: Scene, windows: Sequence[Box]) -> tuple[Box, ...]:
    """Those of the windows that are not all nodata, in their order; one is left out only where that is sure.

    Args:
        scene: looked at once, coarsely.
        windows: absolute pixels, inside the scene.

    Raises:
        NoPixelsError: the scene was rebuilt from a trace.
    """
    factor = max(1.0, max(scene.size) / _SIDE)
    height, width = (max(1, int(side / factor)) for side in scene.size)
    valid = scene.view(whole(scene.size), (height, width)).valid
    return tuple(windows) if valid is None else tuple(w for w in windows if _any(valid, w, scene.size))


def _any(valid: Mask, window: Box, size: Size) -> bool:
    """Whether a coarse pixel that the window touches, or one beside it, is valid."""
    rows, columns = valid.shape
    y1, y2 = window.y1 * rows // size[0] - 1, -(-window.y2 * rows // size[0]) + 1
    x1, x2 = window.x1 * columns // size[1] - 1, -(-window.x2 * columns // size[1]) + 1
    return bool(valid[max(0, y1) : y2, max(0, x1) : x2].any())
