"""Whether a system knows when it is wrong: risk against coverage.

Answers are accepted in the order of their confidence. After the k surest of n,

    coverage c(k) = k / n        risk r(k) = mean of (1 - IoU) of the k        AURC = 1/n sum_k r(k)

(El-Yaniv and Wiener, JMLR 2010; Geifman, Uziel and El-Yaniv, ICLR 2019). Lower is better. `oracle` is the AURC of a
perfect order of the same answers, `excess` what is above it; an order by chance has the mean risk.

Equal confidences have no order: r(k) is then its mean over all of them, so that neither the order of the file nor
luck counts. An answer without a confidence, and a query without an answer, come last together; none is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.stats import rankdata

from geoseg_agent.bench.metrics import Count, Share  # noqa: TC001 - pydantic reads them
from geoseg_agent.trace.record_base import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BAD: Final = 0.2
"""A mask under this IoU is a wrong answer."""

HALF: Final = 0.5
_POINTS = 100


class Point(Record):
    """One point of the curve: what is accepted, how wrong it is, and the share of it under 0.2 IoU."""

    coverage: Share
    risk: Share
    bad: Share


class RiskCoverage(Record):
    """Risk against coverage, all pairs counted.

    Attributes:
        n: pairs, of which `confident` have an answer with a confidence.
        aurc: None where no pair has a confidence.
        oracle: the AURC of the best order; `excess` is aurc - oracle.
        chance: the AURC of an order by chance: the mean risk.
        bad_at_half: share of masks under 0.2 IoU among the surest half, rounded up; None likewise.
        spearman: rank correlation of confidence and IoU; None where either is constant.
        curve: at 1, 2, ... 100 % coverage, k rounded up.
    """

    n: Count
    confident: Count
    aurc: Share | None
    oracle: Share
    excess: float | None
    chance: Share
    bad_at_half: Share | None
    spearman: float | None
    curve: tuple[Point, ...]


def risk_coverage(confidences: Sequence[float | None], ious: Sequence[float]) -> RiskCoverage:
    """The curve and its summary.

    Args:
        confidences: one per pair, None where there is none, or no answer.
        ious: 0..1, one per pair, at least one.
    """
    iou = np.asarray(ious, dtype=np.float64)
    sure = np.array([-np.inf if value is None else value for value in confidences], dtype=np.float64)
    n, confident = len(iou), int(np.isfinite(sure).sum())
    risk = running_mean(sure, 1 - iou)
    bad = running_mean(sure, (iou < BAD).astype(np.float64))
    aurc = _share(risk.mean()) if confident else None
    oracle = _share(running_mean(iou, 1 - iou).mean())
    at = sorted({-(-n * percent // _POINTS) for percent in range(1, _POINTS + 1)})
    points = (Point(coverage=k / n, risk=_share(risk[k - 1]), bad=_share(bad[k - 1])) for k in at)
    return RiskCoverage(
        n=n,
        confident=confident,
        aurc=aurc,
        oracle=oracle,
        excess=None if aurc is None else aurc - oracle,
        chance=_share((1 - iou).mean()),
        bad_at_half=_share(bad[int(np.ceil(HALF * n)) - 1]) if confident else None,
        spearman=_spearman(sure, iou),
        curve=tuple(points) if confident else (),
    )


def running_mean(order: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the first k values, k = 1..n, highest `order` first; expected over all orders where it ties.

    Args:
        order: (n), may hold -inf.
        values: (n).
    """
    highest = np.argsort(-order, kind="stable")
    _, start, size = np.unique(-order[highest], return_index=True, return_counts=True)
    mean = np.add.reduceat(values[highest], start) / size
    return np.cumsum(np.repeat(mean, size)) / np.arange(1, len(values) + 1)


def _share(value: float) -> float:
    return min(max(float(value), 0.0), 1.0)  # a running sum may be past its bound by a rounding


def _spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    ranks = rankdata(first), rankdata(second)
    if any(np.ptp(rank) == 0 for rank in ranks):
        return None
    return float(np.clip(np.corrcoef(*ranks)[0, 1], -1, 1))
