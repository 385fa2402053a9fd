"""The single objects of a target's mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoseg_agent.components import components
from geoseg_agent.types import Instance
from geoseg_tools.geometry import resize_nearest
from geoseg_tools.masks import Part, tight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geoseg_tools.arrays import Mask
    from geoseg_tools.geometry import Box
    from geoseg_tools.masks import Masks


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
    if len(parts) > 1:
        scores = [None] * len(parts) if parts.scores is None else [float(score) for score in parts.scores]
        found = zip(_limited(parts, mask), scores, strict=True)
        objects = [(part, value) for part, value in found if part.pixels.any()]
    else:
        objects = [(part, score) for part in components(mask)]
    return tuple(
        Instance(number, box.offset(roi), pixels, value, roi)
        for number, ((box, pixels), value) in enumerate(objects, start=1)
    )


def _limited(parts: Masks, mask: Mask) -> Iterator[Part]:
    """Each mask, limited to the result and made tight, in its frame."""
    for box, pixels in parts.parts:
        if parts.size == mask.shape:
            inside = tight(pixels & mask[box.slices])
            yield Part(inside.box.offset(box), inside.pixels)
        else:
            coarse = np.zeros(parts.size, dtype=np.bool_)
            coarse[box.slices] = pixels
            yield tight(resize_nearest(coarse, (mask.shape[0], mask.shape[1])) & mask)
