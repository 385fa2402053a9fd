"""A crop as the classical tools keep it, and how their answers become masks of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geoseg_tools.classical.cache import boxed_of, canvas_of, surroundings
from geoseg_tools.classical.canvas import Canvas
from geoseg_tools.classical.lazy import lazy
from geoseg_tools.classical.upscale import above
from geoseg_tools.masks import Masks, tight

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask, Points
    from geoseg_tools.classical.boxed import Boxed
    from geoseg_tools.classical.layer import Layer
    from geoseg_tools.classical.ops import Map
    from geoseg_tools.crop import Crop

_SURROUNDINGS = 0.15


@dataclass(frozen=True, eq=False)
class Encoded:
    """A crop with the superpixels around its box, computed when first used."""

    crop: Crop

    @lazy
    def boxed(self) -> Boxed:
        """The box on superpixels of itself and, where there is room, of half of it on every side."""
        return boxed_of(self.crop)

    @property
    def layer(self) -> Layer:
        """The superpixels around the box."""
        return self.boxed.layer

    @lazy
    def canvas(self) -> Canvas:
        """What is clicked on: the layer of the box, or a finer one of the whole scene where no box is known."""
        return Canvas(self.layer) if surrounded(self.crop) else canvas_of(self.crop.scene)

    def cells(self, layer: Layer, points: Points) -> NDArray[np.int64]:
        """(n, 2) int64 x, y in pixels of a layer, of `points` (n, 2) int64 in pixels of the RoI."""
        roi, window, (height, width) = self.crop.roi, layer.window, layer.labels.shape
        x = (points[:, 0] + roi.x1 - window.x1 + 0.5) * width / window.width
        y = (points[:, 1] + roi.y1 - window.y1 + 0.5) * height / window.height
        cells = np.stack([np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)], axis=1)
        return cells.astype(np.int64)

    def above(self, layer: Layer, values: Map, threshold: float) -> Mask:
        """(h, w) bool of the RoI: where values at the resolution of a layer are above a threshold."""
        return above(values, layer.window.size, self.crop.roi.relative_to(layer.window), threshold)

    def answer(self, mask: Mask, score: float, notes: tuple[str, ...] = ()) -> Masks:
        """One mask (h, w) bool of the RoI with its score cut to 0..1, or none where it is empty.

        Invalid pixels are in no mask.
        """
        crop = self.crop
        if crop.valid is not None:
            mask = mask & crop.valid
        if not mask.any():
            return self.nothing(notes)
        return Masks(crop.size, (tight(mask),), np.array([min(max(score, 0.0), 1.0)]), notes)

    def nothing(self, notes: tuple[str, ...] = ()) -> Masks:
        """No mask of the RoI."""
        return Masks(self.crop.size, (), np.zeros(0), notes)


def surrounded(crop: Crop) -> bool:
    """Whether there is anything around the box to tell it from."""
    window = surroundings(crop)
    return window.area - crop.box.area >= _SURROUNDINGS * window.area
