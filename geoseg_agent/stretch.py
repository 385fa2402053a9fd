"""The one stretch that turns 16-bit and float bands into 8 bits: linear between two percentiles, clipped.

The percentiles are taken once per image and band and recorded with it, so that every crop of an image, and every
later run on it, sees the same grey values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask

LOW_PERCENT = 2.0
HIGH_PERCENT = 98.0

SAMPLE_PIXELS = 4_000_000
"""Larger images are sampled on a regular grid of about this many pixels for their percentiles."""


_NARROWEST = 255 / float(np.finfo(np.float64).max)


class Span(NamedTuple):
    """The values of one band that become 0 and 255, in the band's own units."""

    low: float
    high: float


def step_for(pixels: int) -> int:
    """Every how many rows and columns an image of so many pixels is sampled."""
    step = 1
    while pixels // (step * step) > SAMPLE_PIXELS:
        step += 1
    return step


def span_of(values: NDArray[Any]) -> Span:
    """The 2nd and 98th percentile of `values` (n,), real and finite; minimum and maximum where those coincide.

    Percentiles are members of the sample (no interpolation): that cannot overflow and is the same everywhere.
    """
    if values.size == 0:
        return Span(0.0, 0.0)
    low, high = np.percentile(values, (LOW_PERCENT, HIGH_PERCENT), method="nearest")
    if low == high:
        low, high = values.min(), values.max()
    return Span(float(low), float(high))


def to_uint8(values: NDArray[Any], span: Span, valid: Mask) -> NDArray[np.uint8]:
    """`values`, any real dtype and shape, between 0 at `span.low` and 255 at `span.high`; 0 where not `valid`.

    A band without contrast (low equals high) is 0 throughout.
    """
    if span.low == span.high:
        return np.zeros(values.shape, dtype=np.uint8)
    # Halved, so that the width of a band that fills the range of float64 does not overflow.
    low, width = span.low / 2, span.high / 2 - span.low / 2
    scaled = np.where(valid, values, span.low).astype(np.float64)
    # What lies far outside of a narrow span would overflow where it is scaled.
    np.clip(scaled, span.low, span.high, out=scaled)
    scaled /= 2
    scaled -= low
    # A band whose width is next to nothing counts as one without contrast: half of it may even be zero.
    scaled *= 255 / width if width > _NARROWEST else 0.0
    scaled += 0.5
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)
