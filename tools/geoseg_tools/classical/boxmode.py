"""The foreground of a box: a learner that separates what is inside from what is around it.

Works without a word. Evidence of a known concept joins in when it agrees with what the box alone says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geoseg_tools.classical import ops
from geoseg_tools.classical.learner import learn
from geoseg_tools.classical.ops import logit, sig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask
    from geoseg_tools.classical.layer import Layer
    from geoseg_tools.classical.ops import Map
    from geoseg_tools.geometry import Box

GATE = 0.4
"""Least agreement (IoU) of learner and evidence for the evidence to count."""

# Where the prior stops to rise. A later end does better on the mean, but boxes tightly filled by their targets then
# lose to the box itself: docs/offline-default.md has the surface.
_RISE = 0.4
_DEPTH = 0.9
_EVIDENCE = 0.5
_BELIEF = 4.0
_LOWEST, _HIGHEST = 0.2, 0.6
_SLACK = 0.1
_MANY = 7


class Foreground(NamedTuple):
    """What a box holds.

    Attributes:
        probability: (h, w) float32 at layer resolution, 0 outside the box.
        threshold: where to cut it for the greatest expected IoU.
        expected: that expected IoU, 0..1: how sure the learner is.
        agreement: IoU of learner and evidence, or None without evidence.
    """

    probability: Map
    threshold: float
    expected: float
    agreement: float | None


class Marks(NamedTuple):
    """Superpixels known to belong to the target and known not to, and what follows for the rest, -1..1 or None."""

    inside: NDArray[np.int64]
    outside: NDArray[np.int64]
    belief: NDArray[np.float64] | None = None


NO_MARKS = Marks(np.zeros(0, np.int64), np.zeros(0, np.int64))


def foreground(layer: Layer, box: Box, evidence: Map | None = None, marks: Marks = NO_MARKS) -> Foreground:
    """Separate the target of a box from its surroundings.

    Args:
        layer: superpixels of a window around the box.
        box: absolute pixels, inside the window.
        evidence: (h, w) float32 evidence at layer resolution, or None.
        marks: superpixels that a person or a keypoint has settled.
    """
    depth = _depth(layer, box)
    share = layer.mean((depth >= 0).astype(np.float32))
    valid = layer.mean(layer.valid.astype(np.float32)) > 0.5
    inside = (share > 0.5) & valid
    prior = _DEPTH * (2 * np.clip(layer.mean(np.maximum(depth, 0)) / _RISE, 0, 1) - 1)
    design = layer.design
    weight = np.where(valid, layer.area / max(layer.area.mean(), 1e-9), 0.0)

    support = np.zeros(layer.count) if marks.belief is None else _BELIEF * marks.belief
    target = np.where(inside, 2 * sig(1 + prior) - 1, -1.0)
    learnt = _learnt(design, target, weight, marks)
    first = sig(learnt + prior + support).astype(np.float64)
    agreement = None
    if evidence is not None:
        held = layer.mean(evidence)
        agreement = _agreement(first > 0.5, held > 0.5, np.where(inside, layer.area, 0))
        if agreement >= GATE:
            support = support + _EVIDENCE * logit(held, 0.05).astype(np.float64)
            first = sig(learnt + prior + support).astype(np.float64)
    learnt = _learnt(design, np.where(inside, 2 * first - 1, -1.0), weight, marks)
    second = sig(learnt + prior + support).astype(np.float64)
    second = np.where(inside, second, 0.02)
    own = np.full(layer.count, 0.3)
    for settled, value in ((marks.inside, 0.98), (marks.outside, 0.02)):
        second[settled], own[settled] = value, 30.0
    pixel = layer.pixels(np.clip(layer.smooth(second, own), 0, 1))
    pixel = np.where((depth >= 0) & layer.valid, 0.85 * pixel + 0.075, 0).astype(np.float32)
    pixel[layer.where(marks.outside)] = 0
    threshold, expected = best_cut(pixel[(depth >= 0) & layer.valid])
    return Foreground(pixel, threshold, expected, agreement)


def _learnt(
    design: NDArray[np.float32], target: NDArray[np.float64], weight: NDArray[np.float64], marks: Marks
) -> Map:
    """(n,) float32 logit of what the learner makes of the labels and of the settled superpixels, which count more."""
    target, weight = target.copy(), weight.copy()
    for settled, value in ((marks.inside, 1.0), (marks.outside, -1.0)):
        target[settled] = value
        weight[settled] *= 5
    return logit(learn(design, target, weight), 0.02)


def _depth(layer: Layer, box: Box) -> Map:
    """(h, w) 0 at the border of the box, 1 at its centre lines, -1 outside; by the nearest side."""
    height, width = layer.labels.shape
    inner = box.relative_to(layer.window)
    x = (np.arange(width) + 0.5) * layer.window.width / width
    y = (np.arange(height) + 0.5) * layer.window.height / height
    across = np.minimum(x - inner.x1, inner.x2 - x) / (inner.width / 2)
    along = np.minimum(y - inner.y1, inner.y2 - y) / (inner.height / 2)
    depth = np.minimum(along[:, None], across[None, :])
    if not (depth >= 0).any():
        # A box narrower than a pixel of the layer still holds the pixel that it lies in.
        depth.flat[int(depth.argmax())] = 1.0
    return np.where(depth < 0, -1, depth).astype(np.float32)


def within(layer: Layer, box: Box) -> Mask:
    """(h, w) bool, the pixels of the layer that lie in a box."""
    inside: Mask = _depth(layer, box) >= 0
    return inside


def explains(layer: Layer, box: Box, evidence: Map) -> bool:
    """Whether evidence alone gives a box its extent, and is rarer around it.

    One component has to reach all four sides, as a road network does, or many components together, as the houses
    of a quarter do. A few stray spots may reach the sides by chance.
    """
    inside = within(layer, box)
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
    held, around = found.labels > 0, ~inside & layer.valid
    return not around.any() or float((evidence > 0.5)[around].mean()) < float(held[inside].mean())


def _agreement(a: NDArray[np.bool_], b: NDArray[np.bool_], area: NDArray[np.float64]) -> float:
    union = float(area[a | b].sum())
    return float(area[a & b].sum()) / union if union else 0.0


def best_cut(probability: NDArray[np.float32]) -> tuple[float, float]:
    """The threshold, within 0.2..0.6, with the greatest expected IoU, and that IoU.

    Expected intersection over expected union of the pixels above a threshold with a mask drawn from the
    probabilities.
    """
    if not probability.size:
        return _HIGHEST, 0.0
    ordered = np.sort(probability.astype(np.float64))[::-1]
    hit = np.cumsum(ordered)
    missed = hit[-1] - hit
    expected = hit / (np.arange(1, len(ordered) + 1) + missed)
    allowed = (ordered >= _LOWEST) & (ordered <= _HIGHEST)
    if not allowed.any():
        cut = _HIGHEST if ordered[0] > _HIGHEST else _LOWEST
        count = int((ordered > cut).sum())
        return cut, float(expected[count - 1]) if count else 0.0
    best = int(np.argmax(np.where(allowed, expected, -1)))
    return float(ordered[best]) - 1e-6, float(expected[best])
