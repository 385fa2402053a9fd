"""Farm land: parcels of one crop each, with furrows, tram lines, uneven growth and margins between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from geoseg_agent.samples.texture import fractal, grain, noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_agent.samples.canvas import Board, Colour
    from geoseg_tools.arrays import Mask


class Crop(NamedTuple):
    """How a parcel looks.

    Attributes:
        name: what the attribute of the instance says.
        colour: mean colour.
        furrow: strength of the rows, as a share of the colour.
        row: distance of the rows in metres.
        tramlines: whether a tractor's tracks show.
    """

    name: str
    colour: Colour
    furrow: float
    row: float
    tramlines: bool


CROPS = (
    Crop("ploughed", (0.500, 0.405, 0.310), 0.055, 2.8, tramlines=False),
    Crop("ripe", (0.680, 0.580, 0.330), 0.022, 2.2, tramlines=True),
    Crop("green", (0.430, 0.540, 0.280), 0.030, 2.4, tramlines=True),
    Crop("stubble", (0.640, 0.560, 0.400), 0.045, 3.6, tramlines=False),
    Crop("young", (0.530, 0.535, 0.315), 0.045, 2.6, tramlines=True),
    Crop("meadow", (0.460, 0.535, 0.300), 0.016, 4.5, tramlines=False),
)

_SMALLEST = 500.0
"""Square metres: smaller remainders stay grass."""


def parcels(
    board: Board, zone: Mask, angle: float, *, large: float = 0.6, depth: int = 3, gap: float = 4.0
) -> list[Mask]:
    """Divide `zone` (H, W bool) into fields along `angle` and draw them; returns the (H, W) bool mask of each.

    The first cut leaves a share of `large` in one piece, so that one field is clearly the largest; the rest is cut
    `depth` times more. Fields keep `gap` metres from each other and from everything that is not grass.
    """
    open_land = board.distance(~zone | ~board.of("grass")) > gap
    if not open_land.any():
        return []
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    rows, cols = np.nonzero(open_land)
    along = (cols * cos + rows * sin) * board.metres
    across = (rows * cos - cols * sin) * board.metres
    plots = _cut(board.rng, (along.min(), along.max(), across.min(), across.max()), depth, large)
    order = board.rng.permutation(len(CROPS))
    drawn: list[Mask] = []
    for index, (a1, a2, c1, c2) in enumerate(plots):
        inside = (along > a1 + gap / 2) & (along < a2 - gap / 2) & (across > c1 + gap / 2) & (across < c2 - gap / 2)
        plot = np.zeros(board.size, dtype=np.uint8)
        plot[rows[inside], cols[inside]] = 1
        # A plough leaves no narrow tongues: only what a wide tool reaches is field.
        tool = max(int(board.pixels(9)), 3)
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (tool, tool))
        count, parts, stats, _ = cv2.connectedComponentsWithStats(cv2.morphologyEx(plot, cv2.MORPH_OPEN, disc))
        for part in range(1, count):
            if stats[part, cv2.CC_STAT_AREA] * board.metres**2 < _SMALLEST:
                continue
            crop = CROPS[order[index % len(CROPS)]]
            turned = angle if board.rng.random() < 0.7 else angle + np.pi / 2
            drawn.append(np.asarray(parts == part, dtype=np.bool_))
            _sow(board, drawn[-1], crop, float(turned))
    return drawn


def _cut(
    rng: np.random.Generator,
    plot: tuple[float, float, float, float],
    depth: int,
    share: float,
) -> list[tuple[float, float, float, float]]:
    """Halve the longer side again and again; the first piece is kept whole where `share` is over a half."""
    a1, a2, c1, c2 = plot
    if depth == 0 or max(a2 - a1, c2 - c1) < 45:
        return [plot]
    if a2 - a1 > c2 - c1:
        middle = a1 + share * (a2 - a1)
        first, second = (a1, middle, c1, c2), (middle, a2, c1, c2)
    else:
        middle = c1 + share * (c2 - c1)
        first, second = (a1, a2, c1, middle), (a1, a2, middle, c2)
    later = 0.5 + 0.16 * float(rng.random() - 0.5)
    kept = [first] if share > 0.55 else _cut(rng, first, depth - 1, later)
    return [*kept, *_cut(rng, second, depth - 1, min(later, 0.55))]


def _sow(board: Board, plot: Mask, crop: Crop, angle: float) -> None:
    """Draw one field of one crop."""
    rng = board.rng
    x, y, wide, high = cv2.boundingRect(plot.astype(np.uint8))
    window = (slice(y, y + high), slice(x, x + wide))
    inside = plot[window]
    dx = (np.arange(x, x + wide) * board.metres)[None, :]
    dy = (np.arange(y, y + high) * board.metres)[:, None]
    size = (high, wide)
    across = dy * np.cos(angle) - dx * np.sin(angle) + 0.25 * noise(rng, size, board.pixels(40))
    rows = np.sin(across * (2 * np.pi / crop.row)) * crop.furrow
    growth = 0.045 * fractal(rng, size, board.pixels(28), octaves=3) + 0.018 * grain(rng, size, 0.7)
    light = 1 + rows + growth
    if crop.tramlines:
        spacing = 18.0
        beside = np.abs(np.mod(across, spacing) - spacing / 2)
        light -= 0.13 * np.exp(-(((beside - 0.9) / 0.35) ** 2))
    # The headland is worked along the edge, so it differs a little from the middle.
    edge = cv2.distanceTransform(np.pad(inside, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1] * board.metres
    light -= 0.05 * (edge < 5)
    tint = 1 + 0.04 * rng.standard_normal(3)
    look = (light[..., None] * (np.array(crop.colour) * tint)).astype(np.float32)
    full: NDArray[np.float32] = board.colour[window]
    full[inside] = look[inside]
    board.paint(plot, "field", board.colour, owner=board.add("field", {crop.name}), height=0.3)
