"""Evidence sharpened by a learner that takes the scene's own sure regions as its examples.

It keeps what the evidence is sure of, and settles the rest by what these regions look like in this scene. It
cannot repair evidence that is sure and wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoseg_tools.classical.learner import learn
from geoseg_tools.classical.ops import logit, sig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_tools.classical.layer import Layer
    from geoseg_tools.classical.ops import Map

_SURE, _SURELY_NOT = 0.6, 0.1
_UPPER = 40
_FEWEST = 4
_HAND = 0.5
_OWN = 0.3


def relearn(layer: Layer, evidence: Map, others: Sequence[Map]) -> Map:
    """Evidence of a concept after learning from its sure regions.

    Args:
        layer: superpixels of the whole scene at working size.
        evidence: (h, w) float32, the concept's evidence.
        others: evidence of concepts that exclude it; being surely one of them counts double against it.

    Returns:
        (h, w) float32, 0..1; `evidence` itself where too few regions are sure either way.
    """
    held = layer.mean(evidence)
    valid = layer.mean(layer.valid.astype(np.float32)) > 0.5
    sure = np.flatnonzero((held > _SURE) & valid)
    if len(sure) < _FEWEST:
        return evidence
    sure = sure[held[sure] >= np.percentile(held[sure], _UPPER)]
    against = (held < _SURELY_NOT) & valid
    if not against.any():
        return evidence
    weight = np.where(against, 1.0, 0.0)
    for other in others:
        weight[against & (layer.mean(other) > _SURE)] = 2.0
    weight[sure] = 1.0
    target = np.where(against, -1.0, 1.0)
    learnt = logit(learn(layer.design, target, weight * layer.area), 0.02)
    joint = sig(learnt + _HAND * logit(held, 0.05)).astype(np.float64)
    smooth = np.clip(layer.smooth(np.where(valid, joint, 0.0), _OWN), 0, 1)
    out: Map = layer.pixels(smooth) * layer.valid
    return out
