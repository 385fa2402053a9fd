"""Random fields and curves that make drawn surfaces look grown. All are float32 and depend on the generator alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from geoseg_tools.arrays import Size

Field: TypeAlias = NDArray[np.float32]
"""(h, w) float32."""


def noise(rng: np.random.Generator, size: Size, cell: float) -> Field:
    """Smooth noise with bumps of about `cell` pixels: zero mean, about unit deviation, `size` (h, w)."""
    rows, cols = (max(int(np.ceil(side / cell)), 1) + 3 for side in size)
    grid = rng.standard_normal((rows, cols), dtype=np.float32)
    # One lattice for all sizes of step: the window starts inside, so that borders look like the middle.
    shift = (rng.random(2) + 0.5).astype(np.float32)
    xs = (np.arange(size[1], dtype=np.float32) / np.float32(cell)) + shift[0]
    ys = (np.arange(size[0], dtype=np.float32) / np.float32(cell)) + shift[1]
    x, x0 = _fade(xs)
    y, y0 = _fade(ys)
    across = grid[:, x0] * (1 - x) + grid[:, x0 + 1] * x
    return np.asarray((across[y0] * (1 - y[:, None]) + across[y0 + 1] * y[:, None]) * 1.5, dtype=np.float32)


def _fade(along: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """The smoothed fraction and the whole part of lattice coordinates."""
    whole = np.floor(along)
    part = along - whole
    return (part * part * (3 - 2 * part)).astype(np.float32), whole.astype(np.intp)


def fractal(rng: np.random.Generator, size: Size, cell: float, octaves: int = 4, gain: float = 0.55) -> Field:
    """Noise on several scales, each half as coarse and `gain` times as strong: zero mean, about unit deviation."""
    total = np.zeros(size, dtype=np.float32)
    power, weight = 0.0, 1.0
    for _ in range(octaves):
        if cell < 1:
            break
        total += np.float32(weight) * noise(rng, size, cell)
        power += weight * weight
        cell, weight = cell / 2, weight * gain
    return total / np.float32(max(power, 1e-9) ** 0.5)


def grain(rng: np.random.Generator, size: Size, sigma: float = 0.0) -> Field:
    """White noise of unit deviation, blurred by `sigma` pixels and brought back to unit deviation."""
    field = rng.standard_normal(size, dtype=np.float32)
    if sigma > 0:
        field = np.asarray(cv2.GaussianBlur(field, (0, 0), sigma), dtype=np.float32)
        field /= np.float32(max(float(field.std()), 1e-9))
    return field


def smooth_curve(points: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """A Catmull-Rom curve through `points` (n, 2), x y in pixels, sampled about every `step` pixels; (m, 2)."""
    ends = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    pieces = []
    for p0, p1, p2, p3 in zip(ends[:-3], ends[1:-2], ends[2:-1], ends[3:], strict=True):
        count = max(int(np.hypot(*(p2 - p1)) / step), 2)
        t = np.linspace(0.0, 1.0, count, endpoint=False)[:, None]
        pieces.append(
            p1 + 0.5 * t * ((p2 - p0) + t * ((2 * p0 - 5 * p1 + 4 * p2 - p3) + t * (3 * (p1 - p2) + p3 - p0))),
        )
    return np.vstack([*pieces, points[-1:]])


def tangents(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit directions along `curve` (n, 2), one per point; (n, 2)."""
    along = np.gradient(curve, axis=0)
    return np.asarray(along / np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None])
