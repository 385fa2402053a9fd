"""What a route answers: masks of one crop, each kept as tight as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geoseg_tools.errors import ToolError
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask, Size


MAX_AREA = 1 << 31
"""Most pixels of a frame: what run-lengths of 32 bits can say."""


class Part(NamedTuple):
    """One mask, without the emptiness around it.

    Attributes:
        box: where `pixels` lie, in the frame of the masks.
        pixels: (box.height, box.width) bool.
    """

    box: Box
    pixels: Mask


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """n candidate masks of a crop, to be united by the caller; hundreds of small objects on a large crop stay small.

    Attributes:
        size: (h, w) of the frame: the crop's own resolution, or a coarser one.
        parts: the n masks, tight; n may be 0, a part without a pixel has none but a box of one pixel.
        scores: (n,) float64 in 0..1, the tool's own estimate (predicted IoU, instance score), or None
            where the tool has none.
        notes: remarks for the person who asked, one sentence each.

    Raises:
        ToolError: the frame is none, a part reaches over it, or the scores are not n numbers from 0 to 1.
    """

    size: Size
    parts: tuple[Part, ...] = ()
    scores: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(type(side) is int for side in self.size) or not 1 <= self.size[0] * self.size[1] <= MAX_AREA:
            raise ToolError(f"a frame of masks is (h, w) in whole pixels, 1 to {MAX_AREA} of them, got {self.size!r}")
        for box, pixels in self.parts:
            if pixels.shape != box.size or pixels.dtype != np.bool_:
                raise ToolError(f"a mask of box {tuple(box)} is {pixels.dtype} of shape {pixels.shape}")
            if box.x2 > self.size[1] or box.y2 > self.size[0]:
                raise ToolError(f"a mask of box {tuple(box)} reaches over its frame of size {self.size}")
        if self.scores is not None and not (
            self.scores.shape == (len(self.parts),) and ((self.scores >= 0) & (self.scores <= 1)).all()
        ):
            raise ToolError(f"scores must be {len(self.parts)} numbers from 0 to 1, got {self.scores!r}")

    @classmethod
    def of(
        cls, masks: NDArray[np.bool_], scores: NDArray[np.float64] | None = None, notes: Iterable[str] = ()
    ) -> Masks:
        """The masks of an (n, h, w) bool array; what they need of it is copied.

        Raises:
            ToolError: the array is of another kind, or there are not as many scores as masks.
        """
        if masks.ndim != 3 or masks.dtype != np.bool_:
            raise ToolError(f"masks must be (n, h, w) bool, got {masks.dtype} {masks.shape}")
        return cls(masks.shape[1:], tuple(tight(mask) for mask in masks), scores, tuple(notes))

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def masks(self) -> NDArray[np.bool_]:
        """(n, h, w) bool, assembled on demand."""
        dense = np.zeros((len(self.parts), *self.size), dtype=np.bool_)
        for mask, (box, pixels) in zip(dense, self.parts, strict=True):
            mask[box.slices] = pixels
        return dense

    def union(self) -> Mask:
        """(h, w) bool, a new array: every pixel that any of the masks has."""
        united = np.zeros(self.size, dtype=np.bool_)
        for box, pixels in self.parts:
            united[box.slices] |= pixels
        return united


def tight(mask: Mask) -> Part:
    """The (h, w) bool mask as a part: the smallest box with all of its pixels, and a copy of what is in it."""
    box = extent(mask)
    if box is None:
        return Part(Box(0, 0, 1, 1), np.zeros((1, 1), dtype=np.bool_))
    return Part(box, mask[box.slices].copy())


def extent(mask: Mask) -> Box | None:
    """The smallest box with all pixels of the (h, w) bool mask, None of an empty one; the mask is only read."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1) if len(rows) else None
