"""Overlap as a computed score: intersection over union in bins, apart from everything that the judge says.

    IoU    0 .. 0.2    0.2 .. 0.4    0.4 .. 0.6    0.6 .. 0.8    0.8 .. 1
    score  1           2             3             4             5            the lower bound belongs to the bin

The bins are those of the authors' released judge (GeoSeg, `qwen_api_server_3.py`, read at commit 73ca9fc).
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from geoseg_tools.arrays import Mask

BINS: Final = (0.2, 0.4, 0.6, 0.8)
"""Where the scores 2, 3, 4 and 5 begin."""


def iou_of(truth: Mask, predicted: Mask, *, empty: float = 1.0) -> float:
    """Intersection over union of two masks of one shape; `empty` where both are empty.

    An empty answer to a question without a target is right, so it has 1. The released judge gives it 0.
    """
    union = np.count_nonzero(truth | predicted)
    return float(np.count_nonzero(truth & predicted) / union) if union else empty


def overlap_score(iou: float) -> int:
    """The score 1..5 of an intersection over union 0..1."""
    return 1 + bisect_right(BINS, iou)
