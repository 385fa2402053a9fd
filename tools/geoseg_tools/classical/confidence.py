"""How far to trust a result: what stays when the image is made smaller and its tones are changed.

Evidence that holds only at one size or one exposure sits on its thresholds. On the development images this
ranks results better than a table of how well each concept usually goes, and it needs no such table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geoseg_tools.classical import ops
from geoseg_tools.classical.evidence import Evidence
from geoseg_tools.classical.features import changed
from geoseg_tools.classical.select import choose

if TYPE_CHECKING:
    from geoseg_tools.arrays import Mask
    from geoseg_tools.classical.reading import Reading
    from geoseg_tools.classical.select import Choice

CHANGES = ((0.6, 1.0), (0.6, 1.25))
"""(scale, gamma) of the copies that are looked at again."""


class Confidence(NamedTuple):
    """A confidence in 0..1 and what it was made of, each 0..1."""

    value: float
    factors: dict[str, float]

    @property
    def weakest(self) -> str:
        """Name of the lowest factor."""
        return min(self.factors, key=self.factors.__getitem__)


def confidence(evidence: Evidence, reading: Reading, choice: Choice) -> Confidence:
    """Judge a choice by the stability of its region, the contrast of its evidence and how it was read."""
    region = choice.region
    if not region.any():
        return Confidence(0.0, {"evidence": 0.0})
    again = [overlap(region, _again(evidence, reading, *change)) for change in CHANGES]
    outside = evidence.thumb.valid & ~region
    inside = float(choice.evidence[region].mean())
    around = float(choice.evidence[outside].mean()) if outside.any() else 0.0
    factors = {
        "stability": float(np.mean(again)),
        "contrast": float(np.clip(inside - around, 0.0, 1.0)),
        "separation": choice.margin,
        "reading": _reading(evidence, reading),
    }
    value = factors["stability"] * factors["reading"] * factors["separation"] ** 0.25 * factors["contrast"] ** 0.5
    return Confidence(float(np.clip(value, 0.0, 1.0)), factors)


def _again(evidence: Evidence, reading: Reading, scale: float, gamma: float) -> Mask:
    return choose(Evidence(changed(evidence.thumb, scale, gamma)), reading).region


def overlap(region: Mask, other: Mask) -> float:
    """Intersection over union of two masks of one scene, compared at the size of the smaller second one."""
    small = ops.shrink(region.view(np.uint8) * np.uint8(255), (other.shape[0], other.shape[1])) > 127
    union = int((small | other).sum())
    return int((small & other).sum()) / union if union else 0.0


def _reading(evidence: Evidence, reading: Reading) -> float:
    value = 1.0
    if reading.relation is not None and (reading.relation.kind == "with" or not reading.relation.references):
        value *= 0.75
    if reading.implicit:
        value *= 0.9
    if reading.ignored:
        value *= 0.9
    if not evidence.blank and evidence.features.grey:
        value *= 0.4
    return value
