"""The connected pieces of a mask; those of a large one from its runs, without a number for every pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geoseg_tools.geometry import Box
from geoseg_tools.masks import Part, extent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask

LARGE = 1 << 24
"""Pixels above which runs are tried: labels would take four bytes for each pixel."""

_RAGGED = 32  # fewer pixels to a run, and labels take no more than the runs
_STRIP = 1 << 22


class _Runs(NamedTuple):
    """Runs of set pixels in reading order, each (n,) int64: row, first column, and the one behind the last."""

    row: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]


def components(mask: Mask, large: int = LARGE) -> list[Part]:
    """The 8-connected pieces of a (h, w) bool mask, each tight, by their first pixel in reading order.

    Args:
        mask: is only read.
        large: as `LARGE`, of what the mask reaches over.
    """
    reach = extent(mask)
    if reach is None:
        return []
    inside = mask[reach.slices]
    runs = _runs(inside) if inside.size > large else None
    pieces = _labelled(inside) if runs is None else _joined(runs, inside.shape[1])
    return [Part(box.offset(reach), pixels) for box, pixels in pieces]


def _labelled(mask: Mask) -> Iterator[Part]:
    from scipy import ndimage  # noqa: PLC0415 - half of a second that not every import of the package should pay

    labels, _ = ndimage.label(mask, structure=np.ones((3, 3), dtype=np.bool_))
    for label, (rows, cols) in enumerate(ndimage.find_objects(labels), start=1):
        box = Box(int(cols.start), int(rows.start), int(cols.stop), int(rows.stop))
        yield Part(box, labels[rows, cols] == label)


def _runs(mask: Mask) -> _Runs | None:
    """The runs of a mask, or None of one that is so ragged that they would take as much as labels."""
    height, width = mask.shape
    found, count = [], 0
    step = max(1, _STRIP // width)
    for top in range(0, height, step):
        strip = mask[top : top + step]
        framed = np.zeros((len(strip), width + 2), dtype=np.int8)
        framed[:, 1:-1] = strip
        rows, columns = np.nonzero(np.diff(framed, axis=1))
        found.append((rows[::2] + top, columns[::2], columns[1::2]))
        count += len(rows) // 2
        if count > mask.size // _RAGGED:
            return None
    return _Runs(*(np.concatenate(values) for values in zip(*found, strict=True)))


def _joined(runs: _Runs, width: int) -> Iterator[Part]:
    """The pieces that runs make up: two of neighbouring rows are of one where they meet, be it at a corner."""
    from scipy.sparse import coo_array, csgraph  # noqa: PLC0415 - as above

    line = width + 2
    below = (runs.row + 1) * line
    first = np.searchsorted(runs.row * line + runs.stop, below + runs.start, side="left")
    behind = np.searchsorted(runs.row * line + runs.start, below + runs.stop, side="right")
    meets = np.maximum(behind - first, 0)
    count = len(runs.row)
    upper = np.repeat(np.arange(count), meets)
    lower = np.arange(len(upper)) + np.repeat(first - (np.cumsum(meets) - meets), meets)
    graph = coo_array((np.ones(len(upper), dtype=np.bool_), (upper, lower)), shape=(count, count))
    _, label = csgraph.connected_components(graph, directed=False)
    _, begins = np.unique(label, return_index=True)
    rank = np.empty(len(begins), dtype=np.int64)
    rank[np.argsort(begins)] = np.arange(len(begins))
    order = np.argsort(rank[label], kind="stable")
    for members in np.split(order, np.cumsum(np.bincount(rank[label]))[:-1]):
        yield _painted(_Runs(*(values[members] for values in runs)))


def _painted(runs: _Runs) -> Part:
    left, top = int(runs.start.min()), int(runs.row[0])
    box = Box(left, top, int(runs.stop.max()), int(runs.row[-1]) + 1)
    pixels = np.zeros(box.size, dtype=np.bool_)
    for row, start, stop in zip(
        (runs.row - top).tolist(), (runs.start - left).tolist(), (runs.stop - left).tolist(), strict=True
    ):
        pixels[row, start:stop] = True
    return Part(box, pixels)
