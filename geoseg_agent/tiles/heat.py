"""The similarity grids of the tiles as one grid of the region; the values stay raw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoseg_agent.tiles.grid import FAR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geoseg_agent.tiles.grid import Tile
    from geoseg_tools.arrays import Heat
    from geoseg_tools.geometry import Box


def merged_heat(roi: Box, tiles: Sequence[Tile], heats: Sequence[Heat | None], margin: int) -> Heat:
    """One grid over the region, its cells as large as the smallest of the tiles'.

    A cell is the mean of the tiles' cells that it lies on, by the area that they share and by a weight that falls
    off towards a cut. No grid is scaled by itself: a tile without the thing stays below one that has it.

    Args:
        roi: the region.
        tiles: of the region.
        heats: (gh, gw) float32 raw similarity of each tile, None of one that was not looked at; what only such tiles
            see is as unlike the phrase as the least of all the rest.
        margin: pixels over which the weight rises to 1, twice.

    Returns:
        (GH, GW) float32, finite; a single 0 where no tile was looked at.
    """
    seen = [(tile, heat) for tile, heat in zip(tiles, heats, strict=True) if heat is not None]
    if not seen:
        return np.zeros((1, 1), dtype=np.float32)
    rows = max(1, round(max(heat.shape[0] / tile.box.height for tile, heat in seen) * roi.height))
    cols = max(1, round(max(heat.shape[1] / tile.box.width for tile, heat in seen) * roi.width))
    total, weight = np.zeros((rows, cols)), np.zeros((rows, cols))
    for (x1, y1, x2, y2), heat in ((tile.box, heat) for tile, heat in seen):
        down = _shares(rows, roi.y1, roi.y2, heat.shape[0], y1, y2, margin)
        across = _shares(cols, roi.x1, roi.x2, heat.shape[1], x1, x2, margin)
        (top, down), (left, across) = _kept(down), _kept(across)
        place = slice(top, top + len(down)), slice(left, left + len(across))
        total[place] += down @ heat.astype(np.float64) @ across.T
        weight[place] += np.outer(down.sum(axis=1), across.sum(axis=1))
    covered = weight > 0
    least = min(float(heat.min()) for _, heat in seen)
    merged = np.divide(total, weight, out=np.full((rows, cols), least), where=covered)
    return merged.astype(np.float32)


def _shares(cells: int, low: int, high: int, own: int, start: int, end: int, margin: int) -> NDArray[np.float64]:
    """(cells, own): what each cell of the region has in common with each of the tile's, along one axis, weighted."""
    whole, part = np.linspace(low, high, cells + 1), np.linspace(start, end, own + 1)
    common = np.minimum(whole[1:, None], part[1:]) - np.maximum(whole[:-1, None], part[:-1])
    centre = (part[:-1] + part[1:]) / 2
    before = centre - start if low < start else np.full(own, FAR)
    after = end - centre if end < high else np.full(own, FAR)
    weight = np.clip(np.minimum(before, after) / (2 * margin + 1), 1e-6, 1)
    return np.asarray(np.maximum(common, 0) * weight, np.float64)


def _kept(shares: NDArray[np.float64]) -> tuple[int, NDArray[np.float64]]:
    """The cells of the region that the tile reaches, and the first of them."""
    rows = np.flatnonzero(shares.any(axis=1))
    return int(rows[0]), shares[rows[0] : rows[-1] + 1]
