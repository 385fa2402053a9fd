"""Pictures for the report: made at the size they are shown in, straight from run-lengths, as data addresses.

No mask is ever unpacked to full size: what covers a cell of the picture is counted on the run-lengths.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from PIL import Image as Pillow

from geoseg_agent.trace.rle import MAX_AREA, runs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geoseg_agent.imagery import Image
    from geoseg_agent.trace.model import Rle
    from geoseg_tools.arrays import Heat, Mask, Size
    from geoseg_tools.geometry import Box

Colour = tuple[int, int, int]

NODATA: Colour = (44, 46, 52)
"""Pixels of the image that are not valid, as in overlays."""

_LARGEST_SIDE = 1 << 16
_ENLARGED = 480  # masks of fewer pixels a side are enlarged, so that their outline stays a hairline
_SEEN = 0.4  # below one half, so that things a pixel wide do not vanish from a reduced picture
_BLOCK = 1 << 21
_MOST_CELLS = 256
_QUALITIES = (84, 70, 50, 30, 10)


class Runs(NamedTuple):
    """A mask as disjoint runs of set pixels, in order.

    Attributes:
        size: (h, w).
        starts: (n,) int64, first pixel of each run; pixels are counted down the columns.
        ends: (n,) int64, one past the last.
    """

    size: Size
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @property
    def area(self) -> int:
        """Number of set pixels."""
        return int((self.ends - self.starts).sum())


def united(records: Sequence[Rle], size: Sequence[int]) -> Runs:
    """The union of masks of one `size` (h, w), exactly; of none, an empty mask.

    Raises:
        ValueError: the size is impossible, a mask differs from it, or its run-lengths do not add up to it.
    """
    height, width = size
    if not (1 <= height <= _LARGEST_SIDE and 1 <= width <= _LARGEST_SIDE and height * width <= MAX_AREA):
        raise ValueError(f"a mask cannot have {width} x {height} pixels")
    parts = [_set(record, height, width) for record in records]
    edges = np.concatenate([np.zeros((0, 2), dtype=np.int64), *parts])
    edges = edges[np.argsort(edges[:, 0], kind="stable")]
    starts, reach = edges[:, 0], np.maximum.accumulate(edges[:, 1])
    fresh = np.r_[True, starts[1:] > reach[:-1]][: len(starts)]
    last = np.r_[fresh[1:], True][: len(starts)]
    return Runs((height, width), starts[fresh], reach[last])


def _set(record: Rle, height: int, width: int) -> NDArray[np.int64]:
    """(n, 2) start and end of the runs of set pixels."""
    if record.size != [height, width]:
        raise ValueError(f"a mask of {record.size[1]} x {record.size[0]} pixels stands where {width} x {height} are")
    runs = runs_of(record.counts)
    if (runs < 0).any() or int(runs.sum()) != height * width:
        raise ValueError(f"the run-lengths do not add up to the {height * width} pixels of the mask")
    bounds = np.cumsum(runs)
    edges = bounds[: len(bounds) // 2 * 2].reshape(-1, 2)
    return edges[edges[:, 0] < edges[:, 1]]


def fit(size: Size, side: int) -> Size:
    """`size` (h, w) reduced so that neither side is over `side`; never enlarged."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def shares(runs: Runs, size: Size) -> NDArray[np.float32]:
    """(h, w) float32 of `size`, at most the mask's own: which share of each cell is set, exactly."""
    (height, width), (rows, columns) = runs.size, size
    tops = np.arange(rows + 1) * height // rows
    lefts = np.arange(columns + 1) * width // columns
    # How many set pixels stand before a pixel: piecewise linear, with knees where runs start and end.
    knees = np.stack([runs.starts, runs.ends], axis=1).ravel().astype(np.float64)
    total = np.cumsum(runs.ends - runs.starts, dtype=np.float64)
    before = np.stack([np.r_[0.0, total[:-1]][: len(total)], total], axis=1).ravel()
    if not len(knees):
        return np.zeros(size, dtype=np.float32)
    counts = np.empty((columns, rows))
    step = max(1, _BLOCK // ((rows + 1) * -(-width // columns)))
    for first in range(0, columns, step):
        stop = min(first + step, columns)
        source = np.arange(lefts[first], lefts[stop])
        at = np.interp(source[:, None] * height + tops, knees, before)
        counts[first:stop] = np.add.reduceat(np.diff(at, axis=1), lefts[first:stop] - lefts[first], axis=0)
    cells = np.diff(lefts)[:, None] * np.diff(tops)
    return np.asarray((counts / cells).T, dtype=np.float32)


def mask_png(runs: Runs, side: int, colour: Colour, *, spotlight: bool) -> str:
    """The mask as a data address: a fill to see through and an outline in `colour`.

    Args:
        runs: the mask.
        side: longest side of the picture.
        colour: 0..255 each.
        spotlight: darken what is not in the mask, instead of leaving it clear.
    """
    shown = fit(runs.size, side)
    mask: Mask = shares(runs, shown) >= (_SEEN if shown != runs.size else 0.5)
    factor = max(1, _ENLARGED // max(shown))
    mask = np.repeat(np.repeat(mask, factor, axis=0), factor, axis=1)
    inner = cv2.erode(mask.view(np.uint8), np.ones((3, 3), dtype=np.uint8))
    index = mask.view(np.uint8) * np.uint8(2) - inner
    picture = Pillow.fromarray(index)
    picture.putpalette(bytes((8, 10, 14, *colour, *colour)))
    alpha = (150, 34, 255) if spotlight else (0, 92, 245)
    return _address(picture, "PNG", bits=2, transparency=bytes(alpha), compress_level=9)


def photo(image: Image, region: Box, side: int, budget: int) -> str:
    """A region of the image as a data address, neither side over `side`, about `budget` bytes at the most."""
    size = fit(region.size, side)
    seen, valid = image.scene.view(region, size)
    pixels = np.asarray(cv2.resize(seen, size[::-1], interpolation=cv2.INTER_AREA))
    if valid is not None:
        pixels = pixels.copy()
        flat = np.ascontiguousarray(valid).view(np.uint8)
        pixels[cv2.resize(flat, size[::-1], interpolation=cv2.INTER_NEAREST) == 0] = NODATA
    picture = Pillow.fromarray(pixels)
    address = ""
    for quality in _QUALITIES:
        address = _address(picture, "WEBP", quality=quality)
        if len(address) <= budget:
            break
    return address


def heat_png(heat: Heat) -> str:
    """A similarity grid as a data address, one pixel a cell: dark is the grid's lowest value, bright its highest."""
    low, high = float(heat.min()), float(heat.max())
    scaled = (heat.astype(np.float64) - low) / (high - low) if high > low else np.zeros(heat.shape)
    grey = np.round(255 * scaled).astype(np.uint8)
    if max(grey.shape) > _MOST_CELLS:
        rows, columns = fit(grey.shape, _MOST_CELLS)
        grey = np.asarray(cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_AREA))
    bgr = np.asarray(cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO))
    return _address(Pillow.fromarray(np.ascontiguousarray(bgr[..., ::-1])), "PNG")


def _address(picture: Pillow.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
