"""The ground and the water: meadow, lakes with irregular shores, rivers, ponds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from geoseg_agent.samples.canvas import rgb
from geoseg_agent.samples.texture import fractal, grain, noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_agent.samples.canvas import Board, Colour
    from geoseg_agent.samples.texture import Field
    from geoseg_tools.arrays import Mask

_LUSH = (0.350, 0.415, 0.240)
_DRY = (0.535, 0.515, 0.355)
_SHALLOW = (0.245, 0.285, 0.215)
_DEEP = (0.095, 0.160, 0.195)
_SAND = (0.600, 0.545, 0.420)
_REED = (0.370, 0.385, 0.215)


def blend(low: Colour, high: Colour, share: Field) -> NDArray[np.float32]:
    """(h, w, 3) float32: `low` where `share` is 0 or less, `high` where it is 1 or more."""
    part = np.clip(share, 0, 1)[..., None]
    return np.asarray(rgb(low) * (1 - part) + rgb(high) * part, dtype=np.float32)


def meadow(board: Board) -> None:
    """Cover everything with rough grass: dry and lush patches, tussocks, blades."""
    rng, size = board.rng, board.size
    patches = 0.42 + 0.22 * fractal(rng, size, board.pixels(45), octaves=4)
    board.colour[:] = blend(_LUSH, _DRY, patches)
    tussocks = 0.055 * fractal(rng, size, board.pixels(3.2), octaves=3, gain=0.7)
    board.colour *= (1 + tussocks + 0.045 * grain(rng, size, 0.6))[..., None]


def lake(
    board: Board,
    centre: NDArray[np.float64],
    radii: tuple[float, float],
    *,
    rough: float = 0.3,
    name: str = "lake",
) -> Mask:
    """A water body about an ellipse (x, y pixels; radii in pixels) with bays of `rough` strength; (H, W) bool."""
    rows, cols = board.size
    x = ((np.arange(cols) - centre[0]) / radii[0])[None, :]
    y = ((np.arange(rows) - centre[1]) / radii[1])[:, None]
    bays = fractal(board.rng, board.size, 0.75 * min(radii), octaves=5, gain=0.5)
    inside = (1 - np.sqrt(x * x + y * y) + rough * 0.5 * bays > 0).astype(np.uint8)
    width = max(int(board.pixels(4)), 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    opened = np.asarray(cv2.morphologyEx(inside, cv2.MORPH_OPEN, disc), dtype=np.uint8)
    return _fill_water(board, _largest(opened), name)


def river(board: Board, curve: NDArray[np.float64], width: float) -> Mask:
    """A river along `curve` (n, 2 pixels), `width` metres give or take a third; (H, W) bool."""
    line = np.ones(board.size, dtype=np.uint8)
    cv2.polylines(line, [np.round(curve * 16).astype(np.int32)], isClosed=False, color=0, thickness=1, shift=4)
    away = cv2.distanceTransform(line, cv2.DIST_L2, 5) * board.metres
    wander = 1 + 0.22 * fractal(board.rng, board.size, board.pixels(24), octaves=3)
    return _fill_water(board, np.asarray(away < 0.5 * width * wander, dtype=np.bool_), "river")


def _largest(inside: NDArray[np.uint8]) -> Mask:
    """The largest 4-connected part, its holes filled."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=4)
    if count < 2:
        return np.zeros(inside.shape, dtype=np.bool_)
    main = parts == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    count, holes, stats, _ = cv2.connectedComponentsWithStats((~main).astype(np.uint8), connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] < 0.02 * inside.size
    small[0] = False
    return np.asarray(main | small[holes], dtype=np.bool_)


def _fill_water(board: Board, water: Mask, name: str) -> Mask:
    """Draw a water body with its depth, ripple, and a shore of sand, mud and reed."""
    rng, size = board.rng, board.size
    if not water.any():
        return water
    outside = board.distance(water)
    reedy = noise(rng, size, board.pixels(18))
    for concept, colour, reach, gate in (
        ("bare ground", _SAND, 2.4 + 1.6 * noise(rng, size, board.pixels(9)), None),
        ("grass", _REED, 3.6 + 2.0 * noise(rng, size, board.pixels(5)), reedy > 0.25),
    ):
        band = (outside > 0) & (outside < reach) & board.of("grass", "bare ground")
        if gate is not None:
            band &= gate
        look = rgb(colour) * (1 + 0.10 * grain(rng, size, 0.8))[..., None]
        board.paint(band, concept, np.asarray(look, dtype=np.float32))

    depth = board.distance(~water) / np.clip(4.5 + 1.2 * noise(rng, size, board.pixels(20)), 2, 8)
    look = blend(_SHALLOW, _DEEP, np.sqrt(depth).astype(np.float32))
    # Ripple is long across the wind and short along it, and faint from this height.
    wide = noise(rng, (size[0], max(size[1] // 4, 1)), 3.0)
    ripple = cv2.resize(wide, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    gusts = 0.05 * noise(rng, size, board.pixels(60))
    look *= (1 + 0.022 * ripple + gusts)[..., None]
    board.paint(water, "water", look, owner=board.add("water", {name}), height=0.0)
    return water
