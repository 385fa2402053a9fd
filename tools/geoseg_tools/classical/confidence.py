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

GAMMA = 1.25
"""Power that the tones of the copy that is looked at again are raised to."""

_SIDE = 320
_MOST, _LEAST = 0.5, 0.8


class Confidence(NamedTuple):
    """A confidence in 0..1 and what it was made of, each 0..1."""

    value: float
    factors: dict[str, float]

    @property
    def weakest(self) -> str:
        """Name of the lowest factor."""
        return min(self.factors, key=self.factors.__getitem__)


def look_again(evidence: Evidence, reading: Reading) -> Mask:
    """(h, w) bool: what a query chooses in a smaller and darker copy of the scene; nothing else is asked of it."""
    # Half of a full working size; a small image would lose its objects altogether, so it shrinks less.
    scale = float(np.clip(_SIDE / max(evidence.size), _MOST, _LEAST))
    again = Evidence(changed(evidence.thumb, scale, GAMMA), threads=1)
    return choose(again, reading).region


def confidence(evidence: Evidence, reading: Reading, choice: Choice, again: Mask | None = None) -> Confidence:
    """Judge a choice by the stability of its region, the contrast of its evidence and how it was read.

    What is chosen when looking `again` may be given by a caller who has had it computed meanwhile.
    """
    region = choice.region
    if not region.any():
        return Confidence(0.0, {"evidence": 0.0})
    outside = evidence.thumb.valid & ~region
    inside = float(choice.evidence[region].mean())
    around = float(choice.evidence[outside].mean()) if outside.any() else 0.0
    factors = {
        "stability": overlap(region, look_again(evidence, reading) if again is None else again),
        "contrast": float(np.clip(inside - around, 0.0, 1.0)),
        "reading": _reading(evidence, reading),
    }
    # Contrast hardly varies between good and bad regions, so it only gets a small say.
    value = factors["stability"] * factors["reading"] * factors["contrast"] ** 0.25
    return Confidence(float(np.clip(value, 0.0, 1.0)), factors)


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
