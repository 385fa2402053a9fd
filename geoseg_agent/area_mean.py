"""A picture made smaller by averaging over areas, block by block, so that it is never there as a whole.

What OpenCV's INTER_AREA makes of a whole picture, to rounding; with nodata left out of every average.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geoseg_tools.crop import View

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from geoseg_tools.arrays import Mask, Rgb, Size
    from geoseg_tools.geometry import Box

ENOUGH = 0.5
"""A cell is valid where at least this share of its area is."""

_NOTHING = 1e-5  # of a cell: rounding, and no pixel


class _Axis(NamedTuple):
    """The share of each of the block's pixels in each of the cells that it reaches, along one axis."""

    first: int
    weights: csr_array  # (cells, pixels) float32

    @property
    def cells(self) -> slice:
        return slice(self.first, self.first + self.weights.shape[0])


class AreaMean:
    """Averages of areas, gathered from blocks that together cover a rectangle of the source once.

    Args:
        size: (h, w) of the result, no finer than the source along either axis.
        x, y: from where to where the rectangle reaches, pixels of the source, not necessarily whole.
        masked: whether a block may have pixels that are not valid.
    """

    def __init__(self, size: Size, x: tuple[float, float], y: tuple[float, float], *, masked: bool) -> None:
        self._size = size
        self._x, self._y = x, y
        self._cell = (x[1] - x[0]) * (y[1] - y[0]) / (size[0] * size[1])
        self._sum = np.zeros((*size, 3), dtype=np.float32)
        self._lost = np.zeros(size, dtype=np.float32) if masked else None

    def add(self, block: View, box: Box) -> None:
        """Count a block of the source in; `box` says where it lies there."""
        rows = _axis(self._y, self._size[0], box.y1, box.y2)
        columns = _axis(self._x, self._size[1], box.x1, box.x2)
        cells = rows.cells, columns.cells
        pixels, valid = block
        if valid is not None and self._lost is not None:
            self._lost[cells] += _reduced((~valid[..., None]).astype(np.float32), rows, columns)[..., 0]
            pixels = np.where(valid[..., None], pixels, np.uint8(0))
        self._sum[cells] += _reduced(pixels.astype(np.float32), rows, columns)

    def view(self) -> View:
        """The averages (h, w, 3) uint8 of what is valid, 0 where nothing is; and which cells are valid."""
        pixels: Rgb = np.empty((*self._size, 3), dtype=np.uint8)
        valid: Mask = np.ones(self._size, dtype=np.bool_)
        for row, sums in enumerate(self._sum):  # row by row: no second copy of the sums
            left = np.full((self._size[1], 1), self._cell, dtype=np.float32)
            if self._lost is not None:
                left[:, 0] -= self._lost[row]
                valid[row] = left[:, 0] >= ENOUGH * self._cell
            pixels[row] = np.clip(np.rint(sums / np.maximum(left, _NOTHING * self._cell)), 0, 255)
        return View(pixels, None if valid.all() else valid)


def _axis(span: tuple[float, float], cells: int, start: int, stop: int) -> _Axis:
    """Pixels `start`..`stop` of an axis of which `span` is divided into `cells`: each reaches one cell or two."""
    from scipy.sparse import csr_array  # noqa: PLC0415 - half of what importing the package would take

    step = (span[1] - span[0]) / cells
    number = np.arange(start, stop)
    left, right = np.clip(number, *span), np.clip(number + 1, *span)
    cell = np.clip(np.floor((left - span[0]) / step).astype(np.int64), 0, cells - 1)
    edge = span[0] + (cell + 1) * step
    here = np.clip(np.minimum(right, edge) - left, 0, 1)
    beyond = np.where(cell + 1 < cells, right - left - here, 0)
    here = np.where(cell + 1 < cells, here, right - left)
    first = int(cell[0])
    count = min(int(cell[-1]) + 2, cells) - first
    pixel = number - start
    where = np.concatenate([cell, np.minimum(cell + 1, cells - 1)]) - first, np.concatenate([pixel, pixel])
    weights = csr_array((np.concatenate([here, beyond]).astype(np.float32), where), shape=(count, len(number)))
    return _Axis(first, weights)


def _reduced(values: NDArray[np.float32], rows: _Axis, columns: _Axis) -> NDArray[np.float32]:
    """(r, c, n) summed into cells along both axes, with their weights: (cells, cells, n)."""
    height, width, depth = values.shape
    low = rows.weights @ values.reshape(height, width * depth)
    turned = np.moveaxis(low.reshape(-1, width, depth), 1, 0).reshape(width, -1)
    out: NDArray[np.float32] = (columns.weights @ np.ascontiguousarray(turned)).reshape(-1, low.shape[0], depth)
    return np.moveaxis(out, 1, 0)
