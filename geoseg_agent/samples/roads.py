"""Roads: asphalt with kerbs, centre lines that stop at junctions, streets without markings, and gravel tracks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import cv2
import numpy as np

from geoseg_agent.samples.canvas import rgb
from geoseg_agent.samples.texture import fractal, grain, smooth_curve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geoseg_agent.samples.canvas import Board, Colour
    from geoseg_tools.arrays import Mask

Surface = Literal["main", "street", "track"]

_WIDTH: dict[Surface, float] = {"main": 8.0, "street": 5.6, "track": 3.4}
_COLOUR: dict[Surface, Colour] = {
    "main": (0.415, 0.415, 0.422),
    "street": (0.455, 0.452, 0.450),
    "track": (0.620, 0.560, 0.460),
}
_VERGE = (0.500, 0.470, 0.360)
_PAINT = (0.900, 0.900, 0.880)


class Road(NamedTuple):
    """A road: its centre line (n, 2) x y in pixels, evenly sampled, its surface and its width in metres."""

    curve: NDArray[np.float64]
    surface: Surface
    width: float


def road(board: Board, points: Sequence[NDArray[np.float64]], surface: Surface) -> Road:
    """A road through `points` (x, y pixels), smoothly bent."""
    return Road(smooth_curve(np.array(points), board.pixels(2.0)), surface, _WIDTH[surface])


def stroke(board: Board, curve: NDArray[np.float64], width: float) -> Mask:
    """(H, W) bool: what a line of `width` metres along `curve` covers."""
    canvas = np.zeros(board.size, dtype=np.uint8)
    line = np.round(curve * 16).astype(np.int32)
    thickness = max(round(board.pixels(width)), 1)
    cv2.polylines(canvas, [line], isClosed=False, color=1, thickness=thickness, lineType=cv2.LINE_8, shift=4)
    return np.asarray(canvas > 0, dtype=np.bool_)


def pave(board: Board, roads: Sequence[Road]) -> None:
    """Draw a network: verges first, then surfaces (wider ones over narrower), then the paint on them."""
    order = sorted(roads, key=lambda item: item.width)
    covered = [stroke(board, item.curve, item.width) for item in order]
    for item in order:
        verge = stroke(board, item.curve, item.width + 2.4) & board.of("grass")
        board.paint(verge, None, board.tinted(_VERGE, 0.45))
    for item, mask in zip(order, covered, strict=True):
        _surface(board, item, mask)
    for index, item in enumerate(order):
        others = [mask for other, mask in enumerate(covered) if other != index]
        crossing = np.logical_or.reduce(others) if others else np.zeros(board.size, dtype=np.bool_)
        _markings(board, item, covered[index], np.asarray(board.distance(crossing) < 3.0 if others else crossing))


def _surface(board: Board, item: Road, mask: Mask) -> None:
    """Asphalt or gravel, worn and patched."""
    rng, size = board.rng, board.size
    wear = 0.035 * fractal(rng, size, board.pixels(12), octaves=3) + 0.03 * grain(rng, size, 0.6)
    look = rgb(_COLOUR[item.surface]) * (1 + wear)[..., None]
    if item.surface == "track":
        # Grass grows between the wheels.
        middle = stroke(board, item.curve, 0.9)
        look[middle] = 0.45 * look[middle] + 0.55 * rgb((0.33, 0.38, 0.21))
    board.paint(mask, "road", look.astype(np.float32), height=0.0)


def _markings(board: Board, item: Road, mask: Mask, crossing: Mask) -> None:
    """Edge lines and a dashed centre line, on main roads and away from junctions."""
    if item.surface != "main":
        return
    inner = stroke(board, item.curve, item.width - 1.3)
    edge = mask & ~inner & stroke(board, item.curve, item.width - 0.5) & ~crossing
    dashes = np.zeros(board.size, dtype=np.bool_)
    period, on = 5, 2
    for start in range(0, len(item.curve) - on, period):
        dashes |= stroke(board, item.curve[start : start + on], 0.4)
    dashes &= mask & ~crossing
    for paint, strength in ((edge, 0.45), (dashes, 0.75)):
        board.paint(paint, None, board.tinted(_PAINT, strength))
