"""From a similarity grid to point prompts: TopK-NMS (GeoSeg Eq. 3) and the threshold picker of the stock code.

The paper gives k = 5 and tau = 0.3 and no more; `topk_nms` is this project's exact reading of it: regional maxima of
the grid itself (never of an enlarged map), plateaus give one point, all comparisons exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from scipy import ndimage

from geoseg_tools.errors import KeypointError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.arrays import Heat, Points, Size

Normalise = Literal["minmax", "none"]

_FLAT = 1e-6  # a few times the float32 noise of a similarity map; below it a map is constant
_EIGHT = np.ones((3, 3), dtype=np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class Keypoints:
    """At most k positive points, best first.

    Attributes:
        points: (n, 2) int64 pixel indices x, y in the crop frame.
        scores: (n,) float64, the normalised similarity phi of each point's cell.
        cells: (n, 2) int64 row, column on the grid.
        raw: (n,) float64, the similarity as the tool gave it.
    """

    points: Points
    scores: NDArray[np.float64]
    cells: NDArray[np.int64]
    raw: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.points)


class ThresholdPoints(NamedTuple):
    """Positives in ascending score, then as many negatives, lowest first.

    Attributes:
        points: (2m, 2) int64 pixel indices x, y in the crop frame.
        positive: (2m,) bool.
    """

    points: Points
    positive: NDArray[np.bool_]


def topk_nms(
    heat: Heat,
    crop_size: Size,
    k: int = 5,
    tau: float = 0.3,
    radius: int | None = None,
    normalise: Normalise = "minmax",
) -> Keypoints:
    """The k best regional maxima of the grid that are at least `tau` and more than `radius` cells apart.

    Args:
        heat: (gh, gw) float, raw similarities on the tool's grid over the crop; finite.
        crop_size: (h, w) of the crop in pixels.
        k: how many points at the most, >= 1.
        tau: smallest normalised similarity of a point, 0..1, inclusive.
        radius: Chebyshev distance in cells within which only the best survives; default a sixteenth of the
            grid's shorter side, at least 1. 0 switches suppression off.
        normalise: "minmax" scales the grid to 0..1 first (a constant grid then gives no points);
            "none" takes the values as they are, for tools with an absolute scale.

    Returns:
        0 to k points in the crop frame, by descending score, then row, then column. Cells that fall on one
        pixel of a small crop are merged into the best.

    Raises:
        KeypointError: an argument is out of its range or the grid holds NaN or infinity.
    """
    grid = _checked(heat, crop_size, k, tau, radius)
    if normalise == "minmax":
        low, high = grid.min(), grid.max()
        if high - low < _FLAT:
            return _keypoints(grid, grid, np.empty((0, 2), dtype=np.int64), crop_size)
        phi = (grid - low) / (high - low)
    elif normalise == "none":
        phi = grid
    else:
        raise KeypointError(f"normalise must be 'minmax' or 'none', got {normalise!r}")
    reach = max(1, min(grid.shape) // 16) if radius is None else radius
    candidates = _regional_maxima(phi)
    candidates = candidates[phi[tuple(candidates.T)] >= tau]
    order = np.lexsort((candidates[:, 1], candidates[:, 0], -phi[tuple(candidates.T)]))
    kept: list[tuple[int, int]] = []
    free = np.ones(grid.shape, np.bool_)
    for row, col in candidates[order].tolist():
        if free[row, col]:
            kept.append((row, col))
            if len(kept) == k:
                break
            free[max(0, row - reach) : row + reach + 1, max(0, col - reach) : col + reach + 1] = False
    cells = np.array(kept, dtype=np.int64).reshape(-1, 2)
    return _keypoints(grid, phi, cells, crop_size)


def threshold_points(
    similarity: NDArray[np.floating[Any]], size: Size, threshold: float = 0.8, down_sample: int = 2
) -> ThresholdPoints:
    """The point picker of the published CLIP Surgery code: cells above a threshold, and as many of the lowest.

    Kept for the `released-code` profile. The grid is shrunk bilinearly (no antialiasing) before picking; pixel
    positions use the exact integer form, which differs from the published float product by one pixel in 1.3 % of
    sizes. Equal values keep their row-major order.

    Args:
        similarity: (side * side,) or (side, side) float, patch similarities of one phrase.
        size: (height, width) of the crop in pixels.
        threshold: share of the range, 0..1, from which a cell is positive.
        down_sample: the grid's side is divided by this before picking.

    Raises:
        KeypointError: the grid is not square, is too small, or holds NaN or infinity.
    """
    flat = np.asarray(similarity, dtype=np.float64).ravel()
    side = round(len(flat) ** 0.5)
    m = side // down_sample if down_sample >= 1 else 0
    if side * side != len(flat) or m < 1:
        raise KeypointError(f"{len(flat)} similarities are no square grid of at least {down_sample} cells a side")
    if not np.isfinite(flat).all():
        raise KeypointError("the similarity grid holds NaN or infinity")
    cells = _shrink(flat.reshape(side, side), m).ravel()
    span = cells.max() - cells.min()
    phi = (cells - cells.min()) / span if span > 0 else np.zeros_like(cells)
    count = min(int((phi >= threshold).sum()), len(phi) // 2)
    order = np.argsort(phi, kind="stable")
    chosen = np.concatenate([order[len(order) - count :], order[:count]])
    points = _cell_centres(np.stack(np.divmod(chosen, m), axis=1), (m, m), size)
    return ThresholdPoints(points, np.arange(2 * count) < count)


def _checked(heat: Heat, crop_size: Size, k: int, tau: float, radius: int | None) -> NDArray[np.float64]:
    grid = np.asarray(heat, dtype=np.float64)
    if grid.ndim != 2 or grid.size == 0:
        raise KeypointError(f"a similarity grid is (gh, gw) and not empty, got shape {grid.shape}")
    if not np.isfinite(grid).all():
        raise KeypointError("the similarity grid holds NaN or infinity; the tool that made it has a fault")
    if min(crop_size) < 1:
        raise KeypointError(f"a crop has at least 1 x 1 pixels, got {crop_size}")
    if k < 1 or not 0 <= tau <= 1 or (radius is not None and radius < 0):
        raise KeypointError(f"k >= 1, 0 <= tau <= 1 and radius >= 0 are needed, got {k=}, {tau=}, {radius=}")
    return grid


def _regional_maxima(phi: NDArray[np.float64]) -> NDArray[np.int64]:
    """One cell (row, column) per plateau with no greater neighbour: the member nearest to its centroid."""
    highest = ndimage.maximum_filter(phi, footprint=_EIGHT, mode="nearest")
    # Neighbouring cells that each match their neighbourhood's maximum are equal, so labels never mix values.
    labels, count = ndimage.label(phi == highest, structure=_EIGHT)
    # A plateau is spoilt where it runs on into cells of its own value that do have a greater neighbour.
    slope = np.where(phi < highest, phi, -np.inf)
    spoilt = (labels > 0) & (ndimage.maximum_filter(slope, footprint=_EIGHT, mode="nearest") == phi)
    bad = np.zeros(count + 1, dtype=np.bool_)
    bad[labels[spoilt]] = True
    rows, cols = np.nonzero(labels)
    owner = labels[rows, cols]
    n = np.bincount(owner, minlength=count + 1)
    sums = [np.bincount(owner, weights=axis, minlength=count + 1).astype(np.int64) for axis in (rows, cols)]
    distance = sum((n[owner] * axis - total[owner]) ** 2 for axis, total in zip((rows, cols), sums, strict=True))
    order = np.lexsort((cols, rows, distance, owner))
    first = order[np.r_[True, np.diff(owner[order]) > 0]] if len(order) else order
    first = first[~bad[owner[first]]]
    return np.stack([rows[first], cols[first]], axis=1).astype(np.int64)


def _keypoints(
    raw: NDArray[np.float64], phi: NDArray[np.float64], cells: NDArray[np.int64], crop_size: Size
) -> Keypoints:
    points = _cell_centres(cells, raw.shape, crop_size)
    _, first = np.unique(points, axis=0, return_index=True)
    keep = np.sort(first)
    index = tuple(cells[keep].T)
    return Keypoints(points[keep], phi[index], cells[keep], raw[index])


def _cell_centres(cells: NDArray[Any], grid: tuple[int, ...], size: Size) -> Points:
    """The pixel x, y under the centre of each cell (row, column), in integers."""
    y, x = ((2 * cells[:, axis] + 1) * size[axis] // (2 * grid[axis]) for axis in (0, 1))
    return np.stack([np.minimum(x, size[1] - 1), np.minimum(y, size[0] - 1)], axis=1).astype(np.int64)


def _shrink(grid: NDArray[np.float64], m: int) -> NDArray[np.float64]:
    """Bilinear samples at the centres of an m x m grid, corners not aligned, no antialiasing."""
    side = len(grid)
    centre = np.clip((np.arange(m) + 0.5) * side / m - 0.5, 0, side - 1)
    low = np.floor(centre).astype(np.int64)
    high = np.minimum(low + 1, side - 1)
    share = centre - low
    rows = grid[low] * (1 - share)[:, None] + grid[high] * share[:, None]
    return np.asarray(rows[:, low] * (1 - share) + rows[:, high] * share, dtype=np.float64)
