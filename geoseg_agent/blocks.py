"""A canvas block by block: what is as large as the image is never laid out whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geoseg_agent.types import TargetMask
    from geoseg_tools.arrays import Mask


def blocks(frame: Box, height: int, width: int) -> Iterator[Box]:
    """Disjoint boxes that cover `frame`, row by row, none over `height` x `width` pixels, counted from its corner."""
    for top in range(frame.y1, frame.y2, height):
        for left in range(frame.x1, frame.x2, width):
            yield Box(left, top, min(left + width, frame.x2), min(top + height, frame.y2))


def union_in(targets: Sequence[TargetMask], block: Box) -> Mask:
    """(h, w) bool in the frame of `block`, absolute pixels: the union of the targets' masks."""
    canvas = np.zeros(block.size, dtype=np.bool_)
    for target in targets:
        common = target.roi.intersection(block)
        if common is not None:
            canvas[common.relative_to(block).slices] |= target.mask[common.relative_to(target.roi).slices]
    return canvas
