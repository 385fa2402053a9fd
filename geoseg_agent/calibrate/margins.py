"""Margins for Eq. 2 that hold a chosen share of the true boxes, what they cost, and how sure they are.

A pair needs a_i = max(left, top, 0) of alpha and b_i = max(right, bottom, 0) of beta (`offsets`). Margins hold it
when alpha >= a_i and beta >= b_i. Many margins hold the same share of pairs; proposed are the BALANCED ones: with
F_a(x) and F_b(x) the shares of the pairs that need less than x, the smallest level q with

    share of pairs with F_a(a_i) <= q and F_b(b_i) <= q   >=  coverage,
    alpha = the largest a_i with F_a(a_i) <= q,   beta = the largest b_i with F_b(b_i) <= q,

so that neither pair of sides is the more often too short. They have one answer, found exactly from ranks, and go with
the numbers of pairs to the same margins of the population, which is what the margins of a simulation are compared to.
Where every pair needs the same, they are that need, at every coverage.

Intervals are percentiles of the bootstrap, resampled by image, because boxes of one image are alike (Efron 1979).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from geoseg_agent.calibrate.offsets import LEAST_IOU, by_size, offsets, overlapping
from geoseg_agent.errors import ConfigError, DatasetError
from geoseg_tools.geometry import refine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geoseg_agent.calibrate.frames import FrameTest
    from geoseg_agent.calibrate.pairs import BoxPair

LEAST_PAIRS: Final = 20
"""Of a group that margins are proposed for."""

COVERAGES: Final = (0.8, 0.9, 0.95)
PAPER: Final = (0.2, 0.1)
MOST: Final = 10.0
"""Largest margin that the settings take."""

_LEVEL = 0.95  # of the intervals
_DECIMALS = 1000


class Cost(NamedTuple):
    """What margins do on the pairs, with the whole-pixel regions of `geoseg_tools.geometry.refine`.

    Attributes:
        inside: share of the true boxes that are wholly inside their region.
        kept: mean share of the true box that is inside.
        growth: mean of the region's area over that of the box said.
        precision: mean share of the region that is the true box.
    """

    inside: float
    kept: float
    growth: float
    precision: float


class Margins(NamedTuple):
    """Proposed margins; rounded up to 0.001, so that the coverage holds.

    Attributes:
        coverage: share of the boxes that was asked for.
        alpha, beta: the margins.
        alpha_range, beta_range: 95 % intervals, or None with fewer than two images.
        cost: on the same pairs.
    """

    coverage: float
    alpha: float
    beta: float
    alpha_range: tuple[float, float] | None
    beta_range: tuple[float, float] | None
    cost: Cost


class Group(NamedTuple):
    """Margins for a group of pairs: "all", or a size class.

    Attributes:
        name: of the group.
        pairs, images: how many.
        margins: one for each coverage; none where the pairs are fewer than `LEAST_PAIRS`.
        without: the cost of no margins at all.
        paper: the cost of those of the paper, 0.2 and 0.1.
    """

    name: str
    pairs: int
    images: int
    margins: tuple[Margins, ...]
    without: Cost
    paper: Cost


class Proposal(NamedTuple):
    """Everything proposed.

    Attributes:
        groups: "all" first, then the size classes that occur.
        elsewhere: pairs left out because the box said overlaps the true one too little, or was refused; no margin
            within reason holds them, so coverage is of the others.
        least_iou: the overlap that counted.
    """

    groups: tuple[Group, ...]
    elsewhere: int
    least_iou: float

    def at(self, coverage: float) -> Margins:
        """The pooled margins for a coverage that was asked for."""
        for margins in self.groups[0].margins:
            if math.isclose(margins.coverage, coverage):
                return margins
        known = ", ".join(f"{margins.coverage:g}" for margins in self.groups[0].margins)
        raise DatasetError(f"margins for a coverage of {coverage:g} were not asked for", hint=f"known are {known}")


def propose(
    pairs: Sequence[BoxPair],
    test: FrameTest,
    *,
    coverages: Sequence[float] = COVERAGES,
    least_iou: float = LEAST_IOU,
    replicates: int = 1000,
    seed: int = 0,
) -> Proposal:
    """Margins for all pairs and for each size class.

    Args:
        pairs: as they were read.
        test: of the same pairs, by `geoseg_agent.calibrate.frames.frame_test`.
        coverages: shares of boxes to be held, each over 0 and at most 1.
        least_iou: overlap from which a box said means the true one.
        replicates: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ConfigError: the frame test speaks against the recorded reading: margins would hide a wrong unit.
        DatasetError: there are too few pairs, a coverage is out of range, or the margins are beyond the settings.
    """
    check_coverages(coverages)
    _refuse(test)
    used = overlapping(pairs, least_iou)
    if len(used) < LEAST_PAIRS:
        raise DatasetError(
            f"{len(used)} of {len(pairs)} pairs overlap by {least_iou:g} or more; margins need {LEAST_PAIRS}",
            hint="run the benchmark on more images",
        )
    rng = np.random.default_rng(seed)
    groups = tuple(_group(name, group, sorted(coverages), replicates, rng) for name, group in by_size(used).items())
    return Proposal(groups, len(pairs) - len(used), least_iou)


def check_coverages(coverages: Sequence[float]) -> None:
    """Refuse what is no share of boxes.

    Raises:
        DatasetError: there is none, or one is not over 0 and at most 1.
    """
    if not coverages or not all(0 < coverage <= 1 for coverage in coverages):
        raise DatasetError(f"coverages are over 0 and at most 1, got {list(coverages)}")


def _refuse(test: FrameTest) -> None:
    problem = test.problem
    if problem is None:
        return
    if len(test.recorded) > 1:
        hint = "calibrate each reading alone"
    elif test.mixed or test.best is None:
        hint = "run `geoseg doctor grounding`; another prompt, server or model may keep to one frame"
    elif test.best.startswith("original"):
        hint = "the model speaks of a picture that it was not sent: look at the server, `geoseg doctor grounding`"
    else:
        hint = (
            f"set GEOSEG_FRAME={test.best} and run again, or calibrate these pairs as read in {test.best}; "
            "margins cannot repair a wrong unit"
        )
    raise ConfigError(f"no margins are proposed: {problem}", hint=hint)


def balanced(needs: NDArray[np.float64], coverages: Sequence[float]) -> NDArray[np.float64]:
    """(m, 2) alpha and beta for m coverages from (n, 2) needs, by the definition above."""
    count = len(needs)
    ordered = np.sort(needs, axis=0)
    ranks = np.stack([np.searchsorted(ordered[:, k], needs[:, k], side="left") for k in (0, 1)], axis=1)
    levels = np.sort(ranks.max(axis=1))
    wanted = [levels[max(math.ceil(coverage * count - 1e-9), 1) - 1] for coverage in coverages]
    tops = np.stack([np.searchsorted(np.sort(ranks[:, k]), wanted, side="right") for k in (0, 1)], axis=1)
    found: NDArray[np.float64] = np.stack([ordered[tops[:, k] - 1, k] for k in (0, 1)], axis=1)
    return found


def needs_of(pairs: Sequence[BoxPair]) -> NDArray[np.float64]:
    """(n, 2) what each pair needs of alpha and beta."""
    outward = offsets(pairs)
    found: NDArray[np.float64] = np.stack([outward[:, :2].max(axis=1), outward[:, 2:].max(axis=1)], axis=1).clip(
        min=0
    )
    return found


def cost_of(pairs: Sequence[BoxPair], alpha: float, beta: float) -> Cost:
    """What margins do on pairs that have a predicted box."""
    rows = []
    for pair in pairs:
        if pair.predicted is None:
            raise ValueError("a pair without a predicted box has no region; see `overlapping`")
        region = refine(pair.predicted, pair.size, alpha, beta)
        common = region.intersection(pair.true)
        shared = 0 if common is None else common.area
        rows.append(
            (
                region.contains(pair.true),
                shared / pair.true.area,
                region.area / pair.predicted.area,
                shared / region.area,
            )
        )
    inside, kept, growth, precision = np.array(rows, dtype=np.float64).mean(axis=0)
    return Cost(float(inside), float(kept), float(growth), float(precision))


def _group(
    name: str, pairs: Sequence[BoxPair], coverages: Sequence[float], replicates: int, rng: np.random.Generator
) -> Group:
    _, images = np.unique([pair.image for pair in pairs], return_inverse=True)
    count = int(images.max()) + 1
    margins: tuple[Margins, ...] = ()
    if len(pairs) >= LEAST_PAIRS:
        needs = needs_of(pairs)
        if (largest := float(needs.max())) > MOST:
            raise DatasetError(
                f"a pair needs margins of {largest:.3g}, the settings take {MOST:g}", hint="raise least_iou"
            )
        found = np.maximum(np.ceil(balanced(needs, coverages) * _DECIMALS - 1e-6), 0) / _DECIMALS
        ranges = _intervals(needs, images, count, coverages, replicates, rng)
        margins = tuple(
            Margins(
                coverage,
                float(alpha),
                float(beta),
                None if ranges is None else (float(ranges[0, place, 0]), float(ranges[1, place, 0])),
                None if ranges is None else (float(ranges[0, place, 1]), float(ranges[1, place, 1])),
                cost_of(pairs, float(alpha), float(beta)),
            )
            for place, (coverage, (alpha, beta)) in enumerate(zip(coverages, found, strict=True))
        )
    return Group(name, len(pairs), count, margins, cost_of(pairs, 0.0, 0.0), cost_of(pairs, *PAPER))


def _intervals(
    needs: NDArray[np.float64],
    images: NDArray[np.int64],
    count: int,
    coverages: Sequence[float],
    replicates: int,
    rng: np.random.Generator,
) -> NDArray[np.float64] | None:
    """(2, m, 2) lower and upper ends for m coverages, alpha and beta; None where there is nothing to resample."""
    if count < 2 or replicates < 2:
        return None
    order = np.argsort(images, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(images, minlength=count))[:-1])
    drawn = [
        balanced(needs[np.concatenate([parts[place] for place in rng.integers(0, count, count)])], coverages)
        for _ in range(replicates)
    ]
    ends: NDArray[np.float64] = np.quantile(np.array(drawn), ((1 - _LEVEL) / 2, (1 + _LEVEL) / 2), axis=0)
    return ends
