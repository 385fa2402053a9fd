"""Blocks of a raster: read in whole tiles or strips, shown in 8 bits, sampled for the stretch.

A raster that is read and one that is only opened show every pixel through the same functions, so they cannot differ.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg_agent.decode import STRIP_PIXELS, check_valid
from geoseg_agent.stretch import Span, span_of, step_for, to_uint8
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from geoseg_agent.raster_bands import Plan
    from geoseg_tools.arrays import Mask, Rgb, Size

SAMPLED_PIXELS = 64_000_000
"""Of a larger image, evenly spread blocks of about this many pixels are read for its percentiles."""

_SAMPLED_AT_ONCE = STRIP_PIXELS // 8
_MOST_BLOCKS = 65_536
_SEARCHED = 100  # times the pixels of a sample: a larger raster is not searched for a valid pixel
_GOLDEN = (math.sqrt(5) - 1) / 2


def parts(window: Box, block: Size, most: int = STRIP_PIXELS) -> Iterator[Box]:
    """A window in parts of about `most` pixels, cut where blocks of `block` (h, w) meet, so that none is read twice.

    Whole rows of blocks where one is not larger than `most`, else runs of blocks of one row. In reading order.
    """
    rows, columns = block
    whole_rows = window.width * rows <= most
    tall = max(1, most // (window.width * rows)) * rows if whole_rows else rows
    wide = window.x2 if whole_rows else max(1, most // (rows * columns)) * columns
    for y1, y2 in _cuts(window.y1, window.y2, tall):
        for x1, x2 in _cuts(window.x1, window.x2, wide):
            yield Box(x1, y1, x2, y2)


def _cuts(start: int, stop: int, step: int) -> Iterator[tuple[int, int]]:
    """From `start` to `stop`, cut at multiples of `step`."""
    while start < stop:
        end = min(stop, (start // step + 1) * step)
        yield start, end
        start = end


def read_block(dataset: Any, plan: Plan, box: Box) -> tuple[NDArray[Any], Mask]:
    """The shown bands (n, h, w) in their own dtype, and where they are valid (h, w)."""
    window = ((box.y1, box.y2), (box.x1, box.x2))
    values = dataset.read(list(plan.shown), window=window)
    if not plan.masked:
        return values, np.ones(box.size, dtype=np.bool_)
    valid = (dataset.read_masks(list(plan.shown), window=window) > 0).any(axis=0)
    if plan.alpha is not None:
        valid &= dataset.read(plan.alpha, window=window) > 0
    if np.issubdtype(values.dtype, np.floating):
        valid &= np.isfinite(values).all(axis=0)
    return values, valid


def shown_block(dataset: Any, plan: Plan, spans: tuple[Span, ...] | None, box: Box) -> tuple[Rgb, Mask]:
    """What a block looks like, (h, w, 3) uint8 RGB, and where it is valid, (h, w)."""
    values, valid = read_block(dataset, plan, box)
    if plan.clear is not None:
        valid &= ~plan.clear[values[0]]
    if plan.table is not None:
        return plan.table[values[0]], valid
    pixels = np.empty((*box.size, 3), dtype=np.uint8)
    for channel in range(3):
        band = channel if len(values) == 3 else 0
        pixels[..., channel] = values[band] if spans is None else to_uint8(values[band], spans[band], valid)
    return pixels, valid


def spans_of(dataset: Any, plan: Plan, block: Size, name: str, *, most: int = SAMPLED_PIXELS) -> tuple[Span, ...]:
    """The percentiles of each shown band over a regular grid of its valid pixels.

    The grid covers the whole of an image of up to `most` pixels, and evenly spread blocks of a larger one; where
    none of their pixels is valid, all are looked at.

    Raises:
        ImageError: no valid pixel was found.
    """
    everything = Box(0, 0, dataset.width, dataset.height)
    at_once = max(min(_SAMPLED_AT_ONCE, most // 64), everything.area // _MOST_BLOCKS, 1)
    blocks = list(parts(everything, block, at_once))
    chosen = blocks
    if everything.area > most:
        chosen = spread(blocks, max(1, len(blocks) * most // everything.area))
    samples = _sampled(dataset, plan, chosen)
    if not samples[0].size and len(chosen) < len(blocks) and everything.area <= _SEARCHED * most:
        samples = _sampled(dataset, plan, blocks)
    if not samples[0].size:
        check_valid(np.zeros(1, dtype=np.bool_), name)
    return tuple(span_of(sample) for sample in samples)


def spread(blocks: Sequence[Box], count: int) -> list[Box]:
    """About `count` of `blocks`, in their order, evenly spread over both directions; the same ones every time."""
    stride = max(1, round(len(blocks) * _GOLDEN))
    while math.gcd(stride, len(blocks)) != 1:
        stride += 1
    return [blocks[number] for number in sorted(turn * stride % len(blocks) for turn in range(count))]


def _sampled(dataset: Any, plan: Plan, blocks: Sequence[Box]) -> list[NDArray[Any]]:
    step = step_for(sum(box.area for box in blocks))
    samples: list[list[NDArray[Any]]] = [[] for _ in plan.shown]
    for box in blocks:
        values, valid = read_block(dataset, plan, box)
        # The grid is that of the image, wherever the block begins.
        grid = slice(-box.y1 % step, None, step), slice(-box.x1 % step, None, step)
        good = valid[grid]
        for sample, band in zip(samples, values, strict=True):
            sample.append(band[grid][good])
    return [np.concatenate(sample) for sample in samples]
