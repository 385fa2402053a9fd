"""The single objects of a target's mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoseg_agent.types import Instance
from geoseg_tools.geometry import Box, resize_nearest

if TYPE_CHECKING:
    from geoseg_tools.arrays import Mask
    from geoseg_tools.protocols import Masks


def instances_of(mask: Mask, parts: Masks, roi: Box, score: float | None) -> tuple[Instance, ...]:
    """Split a target's mask into its objects.

    A tool that returns several masks knows its objects: each is limited to the result and keeps its own score.
    From a single mask the objects are the 8-connected components, with the target's score.

    Args:
        mask: (h, w) bool, RoI frame, the result.
        parts: what the route behind the result returned.
        roi: where the frame lies, absolute pixels.
        score: the target's score.

    Returns:
        Instances with ids from 1 in the tool's order, or row-major by their first pixel; none empty.
    """
    if len(parts.masks) > 1:
        scores = [None] * len(parts.masks) if parts.scores is None else [float(s) for s in parts.scores]
        masks = (resize_nearest(part, roi.size) & mask for part in parts.masks)
        tight = [(_tight(part), value) for part, value in zip(masks, scores, strict=True) if part.any()]
    else:
        tight = [(found, score) for found in _components(mask)]
    return tuple(
        Instance(number, box.offset(roi), pixels, value, roi)
        for number, ((box, pixels), value) in enumerate(tight, start=1)
    )


def _tight(mask: Mask) -> tuple[Box, Mask]:
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = Box(int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1)
    return box, mask[box.slices].copy()


def _components(mask: Mask) -> list[tuple[Box, Mask]]:
    from scipy import ndimage  # noqa: PLC0415 - half of a second that not every import of the package should pay

    labels, _ = ndimage.label(mask, structure=np.ones((3, 3), dtype=np.bool_))
    found = []
    for label, (rows, cols) in enumerate(ndimage.find_objects(labels), start=1):
        box = Box(int(cols.start), int(rows.start), int(cols.stop), int(rows.stop))
        found.append((box, labels[rows, cols] == label))
    return found
