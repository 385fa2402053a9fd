"""What a set of pairs amounts to: counts of outcomes, and every mean with its interval.

**Per pair, then averaged.** Each score is taken of one pair, and the mean is over pairs. It is the paper's way
(GeoSeg, arXiv 2603.03983), though it does not say so: of one pair, or of pixels pooled over all pairs,

    dice = 2 iou / (1 + iou)        so IoU 56.4 would go with Dice 2 * 0.564 / 1.564 = 72.1

but its table has Dice 64.2. The function is concave, so a mean over pairs whose IoU varies lies below (Jensen), as
64.2 does: it averages pairs. Precision 69.0 and recall 65.7 say the same: pooled they would give Dice 67.3 and IoU
50.7.

Two more figures, as neighbours report them (LISA, arXiv 2308.00692; SegEarth-R1 and R2):

    giou = mean of the pairs' IoU                     an empty truth with an empty prediction counts 1, as in theirs
    cumulative_iou = sum of intersections / sum of unions          large targets outweigh small ones

giou is therefore the mean IoU under another name, with one difference to their scripts: a query without an answer is
0, where theirs make an empty mask of it, which scores 1 on an empty truth.

**Nothing is dropped.** A pair that failed or was not answered is in every denominator, with 0; in the cumulative IoU
its target is in the sum of unions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoseg_agent.bench.bootstrap import RESAMPLES, SEED, intervals
from geoseg_agent.bench.metrics import METRICS, Count
from geoseg_agent.trace.record_base import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.bench.records import PairResult


class Estimate(Record):
    """A value and its 95 % interval, resampled by image; without one where there are fewer than two images."""

    value: float
    low: float | None
    high: float | None


class Outcomes(Record):
    """How many pairs ended how: each is exactly one of these.

    Attributes:
        found: with a mask, be it empty.
        not_found: the system says there is nothing.
        ambiguous: the system is not sure but gives a mask.
        abstained: it gives none.
        failed: an error.
    """

    found: Count
    not_found: Count
    ambiguous: Count
    abstained: Count
    failed: Count


class Group(Record):
    """A set of pairs.

    Attributes:
        n: pairs; every mean is over all of them.
        images: that they are asked of.
        outcomes: sum to n.
        metrics: by the names of `METRICS`.
        giou: see above.
        cumulative_iou: None where all truths and predictions are empty.
    """

    n: Count
    images: Count
    outcomes: Outcomes
    metrics: dict[str, Estimate]
    giou: Estimate
    cumulative_iou: Estimate | None


def group(results: Sequence[PairResult], *, resamples: int = RESAMPLES, seed: int = SEED) -> Group:
    """Sum up a set of at least one pair."""
    scores = np.array([result.values() for result in results])
    pixels = np.array([(result.counts.tp, result.counts.union) for result in results], dtype=np.float64)
    above = np.column_stack([scores, pixels[:, 0]])
    below = np.column_stack([np.ones_like(scores), pixels[:, 1]])
    images = [result.image for result in results]
    found = intervals(images, above, below, resamples=resamples, seed=seed)
    sums, totals = above.sum(axis=0), below.sum(axis=0)
    estimates = [
        Estimate(value=float(over / under), low=ends and ends.low, high=ends and ends.high) if under else None
        for over, under, ends in zip(sums, totals, found, strict=True)
    ]
    means = {name: estimate for name, estimate in zip(METRICS, estimates, strict=False) if estimate is not None}
    return Group(
        n=len(results),
        images=len(set(images)),
        outcomes=_outcomes(results),
        metrics=means,
        giou=means["iou"],
        cumulative_iou=estimates[-1],
    )


def _outcomes(results: Sequence[PairResult]) -> Outcomes:
    kinds = ["abstained" if result.abstained else result.status for result in results]
    return Outcomes(**{kind: kinds.count(kind) for kind in Outcomes.model_fields})
