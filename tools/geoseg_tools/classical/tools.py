"""`ClassicalTools`: both routes of the method without weights, as `Matcher` and `Segmenter`."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from geoseg_tools.classical.boxed import GATE, Marks
from geoseg_tools.classical.boxmode import foreground
from geoseg_tools.classical.cache import boxed_of, evidence_of
from geoseg_tools.classical.correct import correct
from geoseg_tools.classical.encoded import Encoded, surrounded
from geoseg_tools.classical.heat import heat, sample
from geoseg_tools.classical.parser import read
from geoseg_tools.classical.points import grow, regress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from geoseg_tools.arrays import Heat, Mask, Points
    from geoseg_tools.classical.boxed import Boxed
    from geoseg_tools.classical.boxmode import Foreground
    from geoseg_tools.classical.ops import Map
    from geoseg_tools.crop import Crop
    from geoseg_tools.masks import Masks

TOOL_DEFAULTS: Final[Mapping[str, Any]] = MappingProxyType({"k": 64, "tau": 0.3, "heat_norm": "none"})
"""Constants of the method that fit these tools: evidence is absolute, and regions need many points."""

_WIDE = 0.1
_ITSELF = "the mask is whatever stands out in the box"


class ClassicalTools:
    """Similarity from evidence, masks from superpixels: the offline default's tools.

    Stateless but for small caches of what the last scenes show; results depend on the arguments alone.
    """

    def similarity(self, crop: Crop, phrase: str) -> Heat:
        """(gh, gw) float32 absolute evidence 0..1, at most 64 x 64.

        All zero for a phrase that is not known, and where the box contradicts what is known of it: evidence that
        counts for nothing in one route must not place the points of the other.
        """
        nothing = np.zeros((min(64, crop.size[0]), min(64, crop.size[1])), np.float32)
        reading = read(phrase)
        if not reading.concepts:
            return nothing
        evidence = evidence_of(crop.scene)
        if evidence.blank:
            return nothing
        values = evidence.target(reading.concepts, reading.colours)
        grid = heat(values, evidence.features.gmax, crop.scene.size, crop.roi)
        if not surrounded(crop):
            return grid
        boxed = boxed_of(crop)
        here = sample(values, crop.scene.size, boxed.layer.window, boxed.layer.valid.shape)
        return np.zeros_like(grid) if _contradicted(crop, boxed, here) else grid

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
            return encoded.nothing()
        canvas = encoded.canvas
        layer = canvas.layer
        cells = encoded.cells(layer, points)
        marked = layer.labels[cells[:, 1], cells[:, 0]].astype(np.int64)
        outside = np.unique(marked[~positive])
        inside = np.setdiff1d(marked[positive], outside)
        if earlier is not None:
            return correct(encoded, inside, outside, earlier)
        if surrounded(encoded.crop):
            # Without a negative point the box knows better than a kernel how far its target reaches.
            belief = regress(canvas, inside, outside) if len(outside) else None
            return _cut(encoded, foreground(encoded.boxed, marks=Marks(inside, outside, belief)))
        if len(points) == 1:
            mask = grow(layer, cells).astype(np.float32)
            return encoded.answer(encoded.above(layer, mask, 0.5), 0.5)
        belief = regress(canvas, inside, outside)
        pixel = canvas.pixels((belief + 1) / 2)
        pixel[layer.where(outside)] = 0
        return encoded.answer(encoded.above(layer, pixel, 0.5), float(np.abs(belief).mean()))

    def from_text(self, encoded: Encoded, phrase: str) -> Masks:
        """What the phrase names inside the box; the box's foreground where the phrase is not known."""
        crop, boxed, layer = encoded.crop, encoded.boxed, encoded.layer
        reading = read(phrase)
        if not reading.concepts:
            note = (
                f"The offline tools do not know {phrase!r}: {_ITSELF}. "
                "GEOSEG_TOOLS=module:factory puts tools in their place that read any phrase."
            )
            return _cut(encoded, foreground(boxed), (note,))
        scene, shape = crop.scene, layer.valid.shape
        evidence = evidence_of(scene)
        here = sample(evidence.target(reading.concepts, reading.colours), scene.size, layer.window, shape)
        found = foreground(boxed, here)
        refused = found.agreement is not None and found.agreement < GATE
        contradicted = _contradicted(crop, boxed, here)
        if refused and crop.box.area >= _WIDE * scene.size[0] * scene.size[1]:
            if not reading.selective:
                learnt = evidence.target(reading.concepts, (), learnt=True)
                here = np.maximum(here, sample(learnt, scene.size, layer.window, shape))
            if boxed.explained_by(here):
                # Roads, rows of houses: the box gives their extent, not their shape; a learner is at a loss.
                return encoded.answer(encoded.above(layer, here * boxed.within, 0.5), found.expected)
        note = f"Nothing that stands out in the box of {phrase!r} looks like it to the offline tools: {_ITSELF}."
        return _cut(encoded, found, (note,) if contradicted else ())


def _contradicted(crop: Crop, boxed: Boxed, evidence: Map) -> bool:
    """Whether evidence at layer resolution is neither what stands out in the box nor what the box is around."""
    return surrounded(crop) and boxed.agreement(evidence) < GATE and not boxed.explained_by(evidence)


def _cut(encoded: Encoded, found: Foreground, notes: tuple[str, ...] = ()) -> Masks:
    mask = encoded.above(encoded.layer, found.probability, found.threshold)
    return encoded.answer(mask, found.expected, notes)
