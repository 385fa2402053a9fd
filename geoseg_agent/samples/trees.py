"""Trees: single crowns, hedges, clumps and woods, lit as rough domes and tall enough to throw shadows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoseg_agent.samples.texture import grain, noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_agent.samples.canvas import Board, Colour
    from geoseg_agent.samples.texture import Field
    from geoseg_tools.arrays import Mask

_CROWNS: tuple[Colour, ...] = (
    (0.215, 0.300, 0.135),
    (0.255, 0.335, 0.150),
    (0.180, 0.270, 0.140),
    (0.300, 0.350, 0.165),
)
_GROUND = ("grass", "bare ground", "tree")


def leaves(board: Board) -> Field:
    """(H, W) float32: the texture of foliage, drawn once per scene and shared by all crowns."""
    fine = grain(board.rng, board.size, 0.9) + 0.9 * noise(board.rng, board.size, max(board.pixels(1.1), 1.5))
    return np.asarray(fine * np.float32(0.7), dtype=np.float32)


def tree(board: Board, foliage: Field, centre: NDArray[np.float64], radius: float) -> bool:
    """One crown of `radius` metres about `centre` (x, y pixels); False where its stem would not stand on soil."""
    rng = board.rng
    x, y = (int(np.floor(c)) for c in centre)
    rows, cols = board.size
    if not (0 <= x < cols and 0 <= y < rows) or not board.shows(x, y, *_GROUND):
        return False
    patch = board.patch(centre, 0.0, 1.25 * radius)
    if patch is None:
        return False
    dx, dy = patch.along / radius, patch.across / radius
    turn = np.arctan2(dy, dx)
    lobes = rng.uniform(0, 2 * np.pi, 2)
    outline = 1 + 0.10 * np.sin(3 * turn + lobes[0]) + 0.07 * np.sin(5 * turn + lobes[1])
    rough = foliage[patch.box.slices]
    away = np.hypot(dx, dy) / (outline + 0.07 * rough)
    dome = np.sqrt(np.clip(1 - away * away, 0, 1))
    top = (2.0 + radius * (0.55 + 0.95 * dome) + 0.35 * rough).astype(np.float32)
    # Where crowns meet, the higher one is seen; a roof higher than the crown hides it.
    mask = (away < 1) & (top > board.height[patch.box.slices])
    lit = 0.72 * (dx * board.sun[0] + dy * board.sun[1]) + 0.45 * dome
    light = 0.62 + 0.42 * lit + 0.15 * rough
    base = np.array(_CROWNS[int(rng.integers(len(_CROWNS)))]) * (1 + 0.06 * rng.standard_normal(3))
    look = (np.clip(light, 0.25, 1.7)[..., None] * base * 1.25).astype(np.float32)
    board.paint(mask, "tree", look, box=patch.box, height=top)
    return True


def wood(board: Board, foliage: Field, zone: Mask, spacing: float = 5.2) -> int:
    """Fill `zone` (H, W bool) with crowns about `spacing` metres apart; returns how many grew."""
    rng = board.rng
    step = board.pixels(spacing)
    rows, cols = board.size
    grown = 0
    for y in np.arange(step / 2, rows, step):
        for x in np.arange(step / 2, cols, step):
            spot = np.array([x, y]) + rng.uniform(-0.45, 0.45, 2) * step
            col, row = min(max(int(spot[0]), 0), cols - 1), min(max(int(spot[1]), 0), rows - 1)
            if zone[row, col]:
                grown += tree(board, foliage, spot, float(rng.uniform(0.55, 0.95)) * spacing)
    return grown


def hedge(board: Board, foliage: Field, curve: NDArray[np.float64], chance: float, spacing: float = 4.5) -> int:
    """Trees along `curve` (n, 2 pixels), each place taken with `chance`; returns how many grew."""
    rng = board.rng
    lengths = np.hypot(*np.diff(curve, axis=0).T)
    travelled = np.concatenate(([0.0], np.cumsum(lengths)))
    grown = 0
    for along in np.arange(0, travelled[-1], board.pixels(spacing)):
        if rng.random() > chance:
            continue
        spot = np.array([np.interp(along, travelled, curve[:, axis]) for axis in (0, 1)])
        grown += tree(board, foliage, spot + rng.normal(0, board.pixels(0.8), 2), float(rng.uniform(1.6, 3.6)))
    return grown


def hedgerow(board: Board, foliage: Field, plot: Mask) -> int:
    """Bushes around `plot` (H, W bool), with a gap here and there; returns how many grew."""
    away = board.distance(plot)
    gaps = noise(board.rng, board.size, board.pixels(30)) < -1.5
    return wood(board, foliage, np.asarray((away > 1.6) & (away < 4.4) & ~gaps), spacing=3.0)


def scatter(board: Board, foliage: Field, count: int, radii: tuple[float, float], where: Mask | None = None) -> int:
    """`count` attempts at single trees with radii in metres, anywhere on open soil; returns how many grew."""
    rng = board.rng
    grown = 0
    for _ in range(count):
        spot = rng.random(2) * board.size[::-1]
        radius = float(rng.uniform(*radii))
        if where is None or where[int(spot[1]), int(spot[0])]:
            grown += tree(board, foliage, spot, radius)
    return grown
