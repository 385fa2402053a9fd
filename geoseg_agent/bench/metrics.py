"""The scores of one pair: a predicted mask against the answer.

With tp, fp, fn, tn the pixel counts, positive = in the mask:

    iou         = tp / (tp + fp + fn)                 (Jaccard)
    dice        = 2 tp / (2 tp + fp + fn)             (F1)
    accuracy    = (tp + tn) / (tp + fp + fn + tn)
    precision   = tp / (tp + fp)
    recall      = tp / (tp + fn)
    specificity = tn / (tn + fp)
    boundary_pixels, boundary_diagonal                see `geoseg_agent.bench.boundary`

**Where a score is 0 / 0 it is 1 if the prediction equals the truth, and 0 if not.** So:

    prediction   truth    iou  dice  accuracy      precision  recall    specificity  boundary
    empty        empty    1    1     1             1          1         1            1
    empty        some     0    0     1 - share     0          0         1            0
    some         empty    0    0     1 - share     0          0         1 - share    0
    some         all      tp/N ...   tp/N          1          tp/N      0            0       dice 2 tp / (N + tp)
    all          all      1    1     1             1          1         1            1
    none given   any      0    0     0             0          0         0            0

Both empty is right, hence 1: the rule for targets that are not there of LISA (`validate` in its `train_ds.py`) and of
SegEarth-R2 (`segearth_r2/eval/eval.py`), and of DAVIS for outlines. One of them empty earns nothing: neither a mask
that says nothing (precision) nor one that says something where nothing is (recall). The paper's table takes systems
with empty masks only out of the Accuracy and Specificity rankings, which fits a precision of 0 and not one of 1.

**No mask at all is never right.** A query that failed, or where the system declined to answer, has `prediction` None:
every score is 0, accuracy, specificity and the case of an empty truth included. Its counts are those of an empty
mask, so that its target still weighs in the denominator of the cumulative IoU. "There is nothing" is an answer, not a
refusal: it is an empty mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
from pydantic import Field

from geoseg_agent.bench.boundary import boundary_f, tolerances
from geoseg_agent.bench.ratios import ratio
from geoseg_agent.errors import DatasetError
from geoseg_agent.trace.record_base import Record

if TYPE_CHECKING:
    from geoseg_tools.arrays import Mask

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Counts(Record):
    """Pixels by what they are and what they were taken for; their sum is H x W."""

    tp: Count
    fp: Count
    fn: Count
    tn: Count

    @property
    def total(self) -> int:
        """All pixels of the image."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def union(self) -> int:
        """Pixels in either mask."""
        return self.tp + self.fp + self.fn

    @property
    def right(self) -> bool:
        """Whether the two masks are equal."""
        return not self.fp and not self.fn


class Scores(Record):
    """0..1, higher is better."""

    iou: Share
    dice: Share
    accuracy: Share
    precision: Share
    recall: Share
    specificity: Share
    boundary_pixels: Share
    boundary_diagonal: Share


METRICS: Final = tuple(Scores.model_fields)
"""The names of the scores, in the paper's order."""

NOTHING: Final = Scores(**dict.fromkeys(METRICS, 0.0))
"""The scores of a query without an answer."""


def count(prediction: Mask | None, truth: Mask) -> Counts:
    """Count the pixels; no prediction counts as an empty one.

    Args:
        prediction: (H, W) bool, or None.
        truth: (H, W) bool.

    Raises:
        DatasetError: not masks, or not of one size.
    """
    if truth.dtype != np.bool_ or truth.ndim != 2:
        raise DatasetError(f"a mask is a (H, W) bool array, the truth is {truth.dtype} of shape {truth.shape}")
    if prediction is None:
        positives = int(np.count_nonzero(truth))
        return Counts(tp=0, fp=0, fn=positives, tn=truth.size - positives)
    if prediction.dtype != np.bool_ or prediction.shape != truth.shape:
        raise DatasetError(
            f"the prediction is {prediction.dtype} of shape {prediction.shape}, the truth bool of {truth.shape}"
        )
    both = int(np.count_nonzero(prediction & truth))
    predicted, positives = int(np.count_nonzero(prediction)), int(np.count_nonzero(truth))
    return Counts(tp=both, fp=predicted - both, fn=positives - both, tn=truth.size - predicted - positives + both)


def region_scores(counts: Counts) -> dict[str, float]:
    """The scores that the counts alone give: all but the two of the boundary."""
    tp, fp, fn, tn, right = counts.tp, counts.fp, counts.fn, counts.tn, counts.right
    return {
        "iou": ratio(tp, tp + fp + fn, right=right),
        "dice": ratio(2 * tp, 2 * tp + fp + fn, right=right),
        "accuracy": ratio(tp + tn, counts.total, right=right),
        "precision": ratio(tp, tp + fp, right=right),
        "recall": ratio(tp, tp + fn, right=right),
        "specificity": ratio(tn, tn + fp, right=right),
    }


def score(prediction: Mask | None, truth: Mask) -> tuple[Counts, Scores]:
    """Counts and scores of one pair.

    Args:
        prediction: (H, W) bool; None where the query failed or was not answered.
        truth: (H, W) bool, the same frame.

    Raises:
        DatasetError: not masks, or not of one size.
    """
    counts = count(prediction, truth)
    if prediction is None:
        return counts, NOTHING
    fixed, relative = boundary_f(prediction, truth, tolerances((truth.shape[0], truth.shape[1])))
    return counts, Scores(**region_scores(counts), boundary_pixels=fixed, boundary_diagonal=relative)
