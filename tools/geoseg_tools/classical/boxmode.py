"""The foreground of a box: a learner that separates what is inside from what is around it.

Works without a word. Evidence of a known concept joins in when it agrees with what the box alone says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geoseg_tools.classical.boxed import GATE, NO_MARKS
from geoseg_tools.classical.ops import logit, sig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.classical.boxed import Boxed, Marks
    from geoseg_tools.classical.ops import Map

_EVIDENCE = 0.5
_BELIEF = 4.0
_LOWEST, _HIGHEST = 0.2, 0.6


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


def foreground(boxed: Boxed, evidence: Map | None = None, marks: Marks = NO_MARKS) -> Foreground:
    """Separate the target of a box from its surroundings.

    Args:
        boxed: the box on superpixels of a window around it.
        evidence: (h, w) float32 evidence at layer resolution, or None.
        marks: superpixels that a person or a keypoint has settled.
    """
    layer, prior = boxed.layer, boxed.prior
    support = np.zeros(layer.count) if marks.belief is None else _BELIEF * marks.belief
    agreement = None if evidence is None else boxed.agreement(evidence)
    if evidence is not None and agreement is not None and agreement >= GATE:
        support = support + _EVIDENCE * logit(layer.mean(evidence), 0.05).astype(np.float64)
    first = sig(boxed.first(marks) + prior + support).astype(np.float64)
    learnt = boxed.learnt(2 * first - 1, marks)
    second = np.where(boxed.inside, sig(learnt + prior + support).astype(np.float64), 0.02)
    own = np.full(layer.count, 0.3)
    for settled, value in ((marks.inside, 0.98), (marks.outside, 0.02)):
        second[settled], own[settled] = value, 30.0
    pixel = layer.pixels(np.clip(layer.smooth(second, own), 0, 1))
    seen = boxed.within & layer.valid
    pixel = np.where(seen, 0.85 * pixel + 0.075, 0).astype(np.float32)
    pixel[layer.where(marks.outside)] = 0
    threshold, expected = best_cut(pixel[seen])
    return Foreground(pixel, threshold, expected, agreement)


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
