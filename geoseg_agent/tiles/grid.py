"""Where the tiles of a region lie, and which tile has the say about which pixel.

Tiles are anchored to the pixel grid of the scene and not to the region: regions that differ by a few pixels have the
tiles in their inside in common, and so the answers there.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.arrays import Size

LOOSE = 1.5
"""A region whose long side is at most this many tile sides is looked at as a whole: shrunk a little, but uncut."""

MOST_KEYPOINTS = 64
"""More than this many keypoints are picked only where the method asks for them on one tile."""

FAR = 1 << 30
"""Depth, in pixels, of what no cut is near."""


class Tile(NamedTuple):
    """One piece of a region; boxes are in absolute pixels of the scene.

    Attributes:
        box: what the tools see.
        own: the part of it that lies deeper in this tile than in any other; those of all tiles make up the region.
        region: the region that the tile is of; its borders are no cuts.
    """

    box: Box
    own: Box
    region: Box

    def depth(self, window: Box) -> NDArray[np.int64]:
        """(h, w) int64 of a window inside the tile: pixels to the nearest cut, counted from 1; FAR without one."""
        box, roi = self.box, self.region
        across = _depth(window.x1, window.x2, box.x1, box.x2, roi.x1 < box.x1, box.x2 < roi.x2)
        down = _depth(window.y1, window.y2, box.y1, box.y2, roi.y1 < box.y1, box.y2 < roi.y2)
        return np.minimum(down[:, None], across[None, :])

    def inner(self, margin: int) -> Box:
        """What lies more than `margin` pixels from every cut; the tile is larger than twice that."""
        box, roi = self.box, self.region
        return Box(
            box.x1 + margin * (roi.x1 < box.x1),
            box.y1 + margin * (roi.y1 < box.y1),
            box.x2 - margin * (box.x2 < roi.x2),
            box.y2 - margin * (box.y2 < roi.y2),
        )


class Picking(NamedTuple):
    """How keypoints are picked from a similarity grid.

    Attributes:
        k: how many at the most.
        radius: cells within which only the best survives; None for a share of the grid.
    """

    k: int
    radius: int | None


def is_tiled(size: Size, side: int) -> bool:
    """Whether a region of `size` (h, w) is looked at in tiles of `side` pixels; never where that is 0."""
    return side > 0 and max(size) > LOOSE * side


def tiles_of(roi: Box, side: int, margin: int, origin: tuple[int, int] = (0, 0)) -> tuple[Tile, ...]:
    """The tiles of a region, row by row: every pixel is more than `margin` from the cuts of the tile that owns it.

    All have `side` pixels, less only where the region itself is narrower: one that would reach over the region is
    moved inward.

    Args:
        roi: the region, absolute pixels.
        side: of a tile, in pixels.
        margin: pixels; less than half of the side.
        origin: x, y in absolute pixels where a tile's middle part begins.
    """
    across = _spans(roi.x1, roi.x2, side, margin, origin[0])
    down = _spans(roi.y1, roi.y2, side, margin, origin[1])
    return tuple(
        Tile(Box(x.low, y.low, x.high, y.high), Box(x.own_low, y.own_low, x.own_high, y.own_high), roi)
        for y in down
        for x in across
    )


def picking(k: int, side: int, size: Size, grid: Size) -> Picking:
    """As many keypoints per area, and as far apart, in a region of tiles as in one tile.

    Args:
        k: the most of one tile.
        side: of a tile in pixels, 0 for none.
        size: (h, w) of the region.
        grid: (gh, gw) of its similarity grid.
    """
    if not is_tiled(size, side):
        return Picking(k, None)
    wanted = ceil(k * size[0] * size[1] / side**2)
    cells = min(cells * min(side, pixels) // pixels for cells, pixels in zip(grid, size, strict=True))
    return Picking(max(k, min(wanted, MOST_KEYPOINTS)), max(1, cells // 16))


class _Span(NamedTuple):
    """A tile along one axis."""

    low: int
    high: int
    own_low: int
    own_high: int


def _spans(low: int, high: int, side: int, margin: int, origin: int) -> list[_Span]:
    starts = _starts(low, high, side, margin, origin)
    ends = [min(start + side, high) for start in starts]
    # Of the pixels that two tiles share each has the nearer half, the first one the one in the middle.
    between = [(end + start + 1) // 2 for end, start in zip(ends[:-1], starts[1:], strict=True)]
    owned = [low, *between, high]
    return [_Span(*span) for span in zip(starts, ends, owned[:-1], owned[1:], strict=True)]


def _starts(low: int, high: int, side: int, margin: int, origin: int) -> list[int]:
    if high - low <= side:
        return [low]
    step = side - 2 * margin
    numbers = range((low - origin) // step, (high - 1 - origin) // step + 1)
    wished = sorted({min(max(origin + n * step - margin, low), high - side) for n in numbers})
    kept = [wished[0]]
    for start, after in zip(wished[1:], [*wished[2:], None], strict=True):
        # A tile between two that already overlap enough would only be one more to look at.
        if after is None or after - kept[-1] > step:
            kept.append(start)
    return kept


def _depth(low: int, high: int, start: int, end: int, cut_before: object, cut_after: object) -> NDArray[np.int64]:
    pixels = np.arange(low, high)
    before = pixels - start + 1 if cut_before else np.full(high - low, FAR)
    after = end - pixels if cut_after else np.full(high - low, FAR)
    return np.asarray(np.minimum(before, after), np.int64)
