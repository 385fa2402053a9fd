"""How well components stand in a relation to the pixels of something else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from geoseg_tools.classical import ops
from geoseg_tools.classical.ops import sig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask
    from geoseg_tools.classical.ops import Components

_RAYS = 16


def related(kind: str, found: Components, references: Sequence[Mask]) -> NDArray[np.float32]:
    """(n,) how well each component stands in a relation, 0..1; row 0, the background, means nothing.

    Args:
        kind: a key of `relations` in the lexicon.
        found: the target's components.
        references: one mask per thing referred to, frame of the components; at least one.
    """
    union = np.logical_or.reduce(references)
    if kind == "surrounded":
        return _surrounded(found, union)
    if kind in {"north", "south", "west", "east"}:
        return _beyond(kind, found, union)
    if kind == "between":
        both: NDArray[np.float32] = np.multiply.reduce([_near(found, mask) for mask in references])
        return both
    if kind == "with":
        return np.ones(len(found.area), np.float32)
    return _near(found, union)


def _near(found: Components, reference: Mask) -> NDArray[np.float32]:
    gap = -found.peak(-ops.distance_to(reference), lowest=-np.inf)
    diagonal = math.hypot(*reference.shape)
    return np.exp(-gap / (0.03 * diagonal)).astype(np.float32)


def _surrounded(found: Components, reference: Mask) -> NDArray[np.float32]:
    """The share of directions from the centre in which the reference comes into sight; large ones first."""
    height, width = reference.shape
    angles = 2 * np.pi * np.arange(_RAYS) / _RAYS
    steps = np.arange(1, max(2, int(0.35 * math.hypot(height, width))))
    x = np.rint(found.centre[:, 0, None, None] + np.cos(angles)[:, None] * steps).astype(np.int64)
    y = np.rint(found.centre[:, 1, None, None] + np.sin(angles)[:, None] * steps).astype(np.int64)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    met = (reference[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] & inside).any(axis=2)
    size = np.sqrt(found.area / max(1, found.area[1:].max(initial=1)))
    share: NDArray[np.float32] = sig((met.mean(axis=1) - 0.6) / 0.1) * (0.5 + 0.5 * size)
    return share.astype(np.float32)


def _beyond(kind: str, found: Components, reference: Mask) -> NDArray[np.float32]:
    """Compass relations: the centre against the reference in the same strip of the image."""
    if not reference.any():
        return np.zeros(len(found.area), np.float32)
    # Rows decide north and south, so strips run along columns; the rest is the same, transposed.
    vertical = kind in {"north", "south"}
    mask = reference if vertical else reference.T
    along, across = (found.centre[:, 1], found.centre[:, 0])[:: 1 if vertical else -1]
    length, width = mask.shape
    rows, cols = np.nonzero(mask)
    order = np.argsort(cols, kind="stable")
    rows, cols = rows[order], cols[order]
    offset = np.empty(len(found.area))
    for i, (position, strip) in enumerate(zip(along, across, strict=True)):
        low, high = np.searchsorted(cols, [strip - 0.05 * width, strip + 0.05 * width])
        part = rows[low:high] if high > low else rows
        offset[i] = (position - np.median(part)) / length
    return sig((offset if kind in {"south", "east"} else -offset) / 0.02)
