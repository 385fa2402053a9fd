"""A box on the superpixels around it, and what it says alone: before a phrase or a point is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geoseg_tools.classical import ops
from geoseg_tools.classical.lazy import lazy
from geoseg_tools.classical.learner import learn
from geoseg_tools.classical.ops import logit, sig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask
    from geoseg_tools.classical.layer import Layer
    from geoseg_tools.classical.ops import Map
    from geoseg_tools.geometry import Box

GATE = 0.4
"""Least agreement (IoU) of a box and evidence for the evidence to count."""

# Where the prior stops to rise. A later end does better on the mean, but boxes tightly filled by their targets then
# lose to the box itself: docs/offline-default.md has the surface.
_RISE = 0.4
_DEPTH = 0.9
_SLACK = 0.1
_MANY = 7


class Marks(NamedTuple):
    """Superpixels known to belong to the target and known not to, and what follows for the rest, -1..1 or None."""

    inside: NDArray[np.int64]
    outside: NDArray[np.int64]
    belief: NDArray[np.float64] | None = None


NO_MARKS = Marks(np.zeros(0, np.int64), np.zeros(0, np.int64))


@dataclass(frozen=True, eq=False)
class Boxed:
    """A box on its layer; what both tools want to know of it is computed once.

    Attributes:
        layer: superpixels of a window around the box.
        box: absolute pixels, inside the window.
    """

    layer: Layer
    box: Box

    @lazy
    def depth(self) -> Map:
        """(h, w) float32, 0 at the border of the box, 1 at its centre lines, -1 outside; by the nearest side."""
        (height, width), window = self.layer.labels.shape, self.layer.window
        inner = self.box.relative_to(window)
        x = (np.arange(width) + 0.5) * window.width / width
        y = (np.arange(height) + 0.5) * window.height / height
        across = np.minimum(x - inner.x1, inner.x2 - x) / (inner.width / 2)
        along = np.minimum(y - inner.y1, inner.y2 - y) / (inner.height / 2)
        depth = np.minimum(along[:, None], across[None, :])
        if not (depth >= 0).any():
            # A box narrower than a pixel of the layer still holds the pixel that it lies in.
            depth.flat[int(depth.argmax())] = 1.0
        return np.where(depth < 0, -1, depth).astype(np.float32)

    @property
    def within(self) -> Mask:
        """(h, w) bool, the pixels of the layer that lie in the box."""
        inside: Mask = self.depth >= 0
        return inside

    @lazy
    def inside(self) -> NDArray[np.bool_]:
        """(n,) superpixels that may belong to the target."""
        return (self.layer.mean(self.within.astype(np.float32)) > 0.5) & self._valid

    @lazy
    def prior(self) -> NDArray[np.float64]:
        """(n,) logit that rises from the border of the box inward."""
        return _DEPTH * (2 * np.clip(self.layer.mean(np.maximum(self.depth, 0)) / _RISE, 0, 1) - 1)

    @lazy
    def alone(self) -> Map:
        """(n,) float32 logit of the learner that tells inside from outside, without marks."""
        return self.learnt(self._labels, NO_MARKS)

    @lazy
    def _valid(self) -> NDArray[np.bool_]:
        return self.layer.mean(self.layer.valid.astype(np.float32)) > 0.5

    @property
    def _labels(self) -> NDArray[np.floating[Any]]:
        return 2 * sig(1 + self.prior) - 1

    def first(self, marks: Marks) -> Map:
        """(n,) float32 logit of the learner that tells inside from outside, with marks."""
        return self.learnt(self._labels, marks) if len(marks.inside) or len(marks.outside) else self.alone

    def learnt(self, target: NDArray[np.floating[Any]], marks: Marks) -> Map:
        """(n,) float32 logit of what a learner makes of labels -1..1 inside; settled superpixels count more."""
        area = self.layer.area
        target = np.where(self.inside, target, -1.0)
        weight = np.where(self._valid, area / max(area.mean(), 1e-9), 0.0)
        for settled, value in ((marks.inside, 1.0), (marks.outside, -1.0)):
            target[settled] = value
            weight[settled] *= 5
        return logit(learn(self.layer.design, target, weight), 0.02)

    def agreement(self, evidence: Map) -> float:
        """IoU, by area inside of the box, of what it says alone and of evidence (h, w) at layer resolution."""
        area = np.where(self.inside, self.layer.area, 0)
        a, b = sig(self.alone + self.prior) > 0.5, self.layer.mean(evidence) > 0.5
        union = float(area[a | b].sum())
        return float(area[a & b].sum()) / union if union else 0.0

    def explained_by(self, evidence: Map) -> bool:
        """Whether evidence alone gives the box its extent, and is rarer around it.

        One component has to reach all four sides, as a road network does, or many components together, as the houses
        of a quarter do. A few stray spots may reach the sides by chance.
        """
        inside = self.within
        found = ops.components((evidence > 0.5) & inside)
        rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        reach = np.array([cols[0], rows[0], cols[-1] + 1, rows[-1] + 1])
        slack = _SLACK * np.array([len(cols), len(rows)] * 2)
        boxes = found.box[1:]
        if not len(boxes):
            return False
        if len(boxes) >= _MANY:
            boxes = np.r_[boxes, [np.r_[boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)]]]
        if not (np.abs(boxes - reach) <= slack).all(axis=1).any():
            return False
        held, around = found.labels > 0, ~inside & self.layer.valid
        return not around.any() or float((evidence > 0.5)[around].mean()) < float(held[inside].mean())
