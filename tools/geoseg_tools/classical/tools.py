"""`ClassicalTools`: both routes of the method without weights, as `Matcher` and `Segmenter`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from geoseg_tools.classical import ops
from geoseg_tools.classical.boxmode import GATE, Marks, explains, foreground, within
from geoseg_tools.classical.cache import evidence_of
from geoseg_tools.classical.heat import heat, sample
from geoseg_tools.classical.layer import Layer, layer_of
from geoseg_tools.classical.parser import read
from geoseg_tools.classical.points import HELD, amend, grow, regress
from geoseg_tools.classical.upscale import above, reduced
from geoseg_tools.geometry import Box
from geoseg_tools.masks import Masks, tight

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from geoseg_tools.arrays import Heat, Mask, Points
    from geoseg_tools.classical.boxmode import Foreground
    from geoseg_tools.classical.ops import Map
    from geoseg_tools.crop import Crop

TOOL_DEFAULTS: Final[Mapping[str, Any]] = MappingProxyType({"k": 64, "tau": 0.3, "heat_norm": "none"})
"""Constants of the method that fit these tools: evidence is absolute, and regions need many points."""

UNKNOWN_SCORE = 0.3
"""Ceiling of the score where the phrase said nothing."""

_PADDING = 0.5
_LEAST_PADDING = 10
_SURROUNDINGS = 0.15
_WIDE = 0.1


@dataclass(frozen=True, eq=False)
class Encoded:
    """A crop with the superpixels around its box, computed when first used."""

    crop: Crop

    @cached_property
    def layer(self) -> Layer:
        """Superpixels of the box and, where there is room, half of it on every side."""
        return layer_of(self.crop.scene, self.window)

    @cached_property
    def window(self) -> Box:
        """The RoI and the surroundings that the box is judged against, absolute pixels."""
        box, (height, width) = self.crop.box, self.crop.scene.size
        x = max(_LEAST_PADDING, round(_PADDING * box.width))
        y = max(_LEAST_PADDING, round(_PADDING * box.height))
        roi = self.crop.roi
        return Box(
            max(0, min(roi.x1, box.x1 - x)),
            max(0, min(roi.y1, box.y1 - y)),
            min(width, max(roi.x2, box.x2 + x)),
            min(height, max(roi.y2, box.y2 + y)),
        )

    @property
    def boxed(self) -> bool:
        """Whether there is anything around the box to tell it from."""
        return self.window.area - self.crop.box.area >= _SURROUNDINGS * self.window.area


class ClassicalTools:
    """Similarity from evidence, masks from superpixels: the offline default's tools.

    Stateless but for a small cache of the last scenes' evidence; results depend on the arguments alone.
    """

    def similarity(self, crop: Crop, phrase: str) -> Heat:
        """(gh, gw) float32 absolute evidence 0..1, at most 64 x 64; all zero for a phrase that is not known."""
        evidence = evidence_of(crop.scene)
        reading = read(phrase)
        if not reading.concepts or evidence.blank:
            return np.zeros((min(64, crop.size[0]), min(64, crop.size[1])), np.float32)
        values = evidence.target(reading.concepts, reading.colours)
        return heat(values, evidence.features.gmax, crop.scene.size, crop.roi)

    def encode(self, crop: Crop) -> Encoded:
        """The crop, ready for both prompts; the work is done by the first of them."""
        return Encoded(crop)

    def from_points(
        self, encoded: Encoded, points: Points, positive: NDArray[np.bool_], earlier: Mask | None = None
    ) -> Masks:
        """The region of the positive points without the negative ones; one mask, none without a positive.

        With `earlier`, (h, w) bool of the RoI, that mask as the points correct it. Its own pixels stay where no click
        changes what is believed of them.
        """
        if earlier is None and not positive.any():
            return _none(encoded)
        layer, crop = encoded.layer, encoded.crop
        cells = _cells(encoded, points)
        marked = layer.labels[cells[:, 1], cells[:, 0]].astype(np.int64)
        outside = np.unique(marked[~positive])
        inside = np.setdiff1d(marked[positive], outside)
        if earlier is not None:
            return _amended(encoded, inside, outside, earlier)
        if encoded.boxed:
            # Without a negative point the box knows better than a kernel how far its target reaches.
            belief = regress(layer, inside, outside) if len(outside) else None
            return _cut(encoded, foreground(layer, crop.box, marks=Marks(inside, outside, belief)))
        if len(points) == 1:
            mask = grow(layer, cells[positive]).astype(np.float32)
            return _masks(encoded, mask, 0.5, 0.5)
        belief = regress(layer, inside, outside)
        pixel = layer.pixels((belief + 1) / 2)
        pixel[np.isin(layer.labels, outside)] = 0
        return _masks(encoded, pixel, 0.5, float(np.abs(belief).mean()))

    def from_text(self, encoded: Encoded, phrase: str) -> Masks:
        """What the phrase names inside the box; the box's foreground where the phrase is not known."""
        crop, layer = encoded.crop, encoded.layer
        reading = read(phrase)
        if not reading.concepts:
            note = (
                f"The offline tools do not know {phrase!r}: the mask is whatever stands out in the box. "
                "GEOSEG_TOOLS=module:factory puts tools in their place that read any phrase."
            )
            return _cut(encoded, foreground(layer, crop.box), UNKNOWN_SCORE, (note,))
        scene, shape = crop.scene, layer.valid.shape
        evidence = evidence_of(scene)
        here = sample(evidence.target(reading.concepts, reading.colours), scene.size, layer.window, shape)
        found = foreground(layer, crop.box, here)
        refused = found.agreement is not None and found.agreement < GATE
        if refused and crop.box.area >= _WIDE * scene.size[0] * scene.size[1]:
            if not reading.selective:
                learnt = evidence.target(reading.concepts, (), learnt=True)
                here = np.maximum(here, sample(learnt, scene.size, layer.window, shape))
            if explains(layer, crop.box, here):
                # Roads, rows of houses: the box gives their extent, not their shape; a learner is at a loss.
                return _masks(encoded, here * within(layer, crop.box), 0.5, found.expected)
        return _cut(encoded, found)


def _cells(encoded: Encoded, points: Points) -> NDArray[np.int64]:
    """Points of the RoI in pixels of the layer."""
    layer, roi = encoded.layer, encoded.crop.roi
    height, width = layer.labels.shape
    x = (points[:, 0] + roi.x1 - layer.window.x1 + 0.5) * width / layer.window.width
    y = (points[:, 1] + roi.y1 - layer.window.y1 + 0.5) * height / layer.window.height
    cells = np.stack([np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)], axis=1)
    return cells.astype(np.int64)


def _amended(encoded: Encoded, inside: NDArray[np.int64], outside: NDArray[np.int64], earlier: Mask) -> Masks:
    """The earlier mask, changed only where the clicks move a pixel of it over the boundary."""
    crop, layer = encoded.crop, encoded.layer
    roi = crop.roi.relative_to(layer.window)
    held = reduced(earlier, layer.window.size, roi, layer.valid.shape)
    share = layer.mean(held)
    if not len(inside) and not len(outside):
        return _answer(encoded, earlier, HELD)
    moved = amend(layer, inside, outside, share)
    most = 1 + HELD
    pixel = layer.pixels((moved / most + 1) / 2)
    for settled, value in ((inside, 1.0), (outside, 0.0)):
        pixel[np.isin(layer.labels, settled)] = value
    belief = np.where(share > 0.5, HELD, -HELD) + moved
    low, high = (1 - HELD / most) / 2, (1 + HELD / most) / 2
    pixel[_crumbs(held > 0, pixel <= low, (belief > 0)[layer.labels])] = 0
    # Pixel by pixel, so that what is removed leaves no fringe in superpixels that it only reaches into.
    joins = above(pixel, layer.window.size, roi, high)
    stays = above(pixel, layer.window.size, roi, low)
    return _answer(encoded, np.where(earlier, stays, joins), float(np.abs(belief).mean()))


def _crumbs(held: Mask, gone: Mask, believed: Mask) -> Mask:
    """(h, w) bool: what hung on the part of a mask that is gone, mostly in superpixels that were never of the mask."""
    left = ops.components(held & ~gone)
    hung = np.zeros(len(left.area), np.bool_)
    hung[left.labels[ops.dilate(held & gone, 1)]] = True
    return ops.dilate(left.only(hung & (left.mean(believed) < 0.5)), 1) & ~(believed & ~held)


def _cut(encoded: Encoded, found: Foreground, ceiling: float = 1.0, notes: tuple[str, ...] = ()) -> Masks:
    return _masks(encoded, found.probability, found.threshold, ceiling * found.expected, notes)


def _masks(encoded: Encoded, values: Map, threshold: float, score: float, notes: tuple[str, ...] = ()) -> Masks:
    """Values at layer resolution as one mask of the RoI, never on invalid pixels."""
    window = encoded.layer.window
    return _answer(encoded, above(values, window.size, encoded.crop.roi.relative_to(window), threshold), score, notes)


def _answer(encoded: Encoded, mask: Mask, score: float, notes: tuple[str, ...] = ()) -> Masks:
    """One mask of the RoI, or none where it is empty; never on invalid pixels."""
    crop = encoded.crop
    if crop.valid is not None:
        mask = mask & crop.valid
    if not mask.any():
        return _none(encoded, notes)
    return Masks(crop.size, (tight(mask),), np.array([min(max(score, 0.0), 1.0)]), notes)


def _none(encoded: Encoded, notes: tuple[str, ...] = ()) -> Masks:
    return Masks(encoded.crop.size, (), np.zeros(0), notes)
