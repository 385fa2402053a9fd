"""Sun and camera: soft cast shadows, uneven light, haze, blur and sensor noise turn the board into a photograph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from geoseg_agent.samples.canvas import rgb
from geoseg_agent.samples.texture import grain, noise

if TYPE_CHECKING:
    from geoseg_agent.samples.canvas import Board
    from geoseg_agent.samples.texture import Field
    from geoseg_tools.arrays import Rgb

_SKY = (0.36, 0.40, 0.50)
"""What reaches a shadow: less, and bluer."""


def photograph(board: Board, elevation: float) -> Rgb:
    """(H, W, 3) uint8 RGB, read-only: the board under a sun `elevation` radians above the horizon."""
    rng, size = board.rng, board.size
    lit = 1 - cast(board, elevation)
    broad = 1 + 0.025 * noise(rng, size, 0.8 * max(size))
    image = board.colour * (rgb(_SKY) + (1 - rgb(_SKY)) * lit[..., None]) * broad[..., None]
    # The air between washes colours out and lifts the shadows.
    image = 0.83 * image + 0.17 * image.mean(axis=2, keepdims=True)
    image = 0.955 * image + rgb((0.038, 0.041, 0.048))
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.62), dtype=np.float32)
    image += (0.0075 * grain(rng, size))[..., None]
    image += 0.0035 * rng.standard_normal((*size, 3), dtype=np.float32)
    pixels: Rgb = np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)
    pixels.flags.writeable = False
    return pixels


def cast(board: Board, elevation: float) -> Field:
    """(H, W) float32, 0..1: how much of the sun the surroundings take away.

    The height map is moved away from the sun pixel by pixel, sinking by the slope of the rays; where it is still
    above the ground it meets, there is shadow.
    """
    slope = float(np.tan(elevation)) * board.metres
    tallest = float(board.height.max())
    rows, cols = board.size
    shade = np.zeros(board.size, dtype=np.float32)
    for step in range(1, int(tallest / slope) + 1):
        dx, dy = round(-board.sun[0] * step), round(-board.sun[1] * step)
        if abs(dx) >= cols or abs(dy) >= rows:
            break
        there = (slice(max(dy, 0), rows + min(dy, 0)), slice(max(dx, 0), cols + min(dx, 0)))
        here = (slice(max(-dy, 0), rows + min(-dy, 0)), slice(max(-dx, 0), cols + min(-dx, 0)))
        over = board.height[here] - np.float32(step * slope) - board.height[there]
        np.maximum(shade[there], np.clip(over * 2, 0, 1), out=shade[there])
    return np.asarray(cv2.GaussianBlur(shade, (0, 0), 0.9), dtype=np.float32)
