"""Two or more runs over the same pairs: what differs, how surely, and who ranks where.

Differences are paired: d = score in A - score in B, per pair, so that hard pairs weigh on both sides alike; their
mean has a bootstrap interval resampled by image. Only pairs that every run has are compared. Runs that have other
pairs are refused unless told to compare what is common, and runs that disagree on what a pair is are always refused.

Ranks, 1 is best, ties share their mean. `rank` orders the runs by their mean score. `mean_rank` ranks them within
every pair and averages over pairs (Demsar, JMLR 2006, 3.2.2), which one pair with a huge difference cannot decide. A
run whose every mask is empty has no rank in accuracy and specificity, and the others are ranked without it.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.stats import rankdata

from geoseg_agent.bench.bootstrap import RESAMPLES, SEED, intervals
from geoseg_agent.bench.groups import Estimate
from geoseg_agent.bench.metrics import METRICS, Count
from geoseg_agent.bench.summary import UNRANKED, all_empty, by_id
from geoseg_agent.errors import DatasetError
from geoseg_agent.trace.record_base import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from geoseg_agent.bench.records import PairResult

_DIGITS = 12  # of a mean score, of which the last few of a float are noise


class Difference(Record):
    """First minus second, in one metric.

    Attributes:
        mean: of the paired differences, with its interval.
        better: pairs where the first scores higher; `worse` and `equal` likewise. They sum to the pairs compared.
        clear: whether the interval leaves 0 out.
    """

    mean: Estimate
    better: Count
    worse: Count
    equal: Count
    clear: bool


class Versus(Record):
    """One run against another, by metric."""

    first: str
    second: str
    metrics: dict[str, Difference]


class Standing(Record):
    """One run among all, in one metric; None where it is not ranked."""

    mean: float
    rank: float | None
    mean_rank: float | None


class Ranked(Record):
    """One run.

    Attributes:
        name: as handed in.
        n: pairs that it has, of which `left_out` are not common to all runs.
        all_empty: no common pair has a pixel in its mask.
        failed: common pairs without an answer.
        metrics: by the names of `METRICS`.
        overall: its `mean_rank`, averaged over the metrics that it is ranked in.
    """

    name: str
    n: Count
    left_out: Count
    all_empty: bool
    failed: Count
    metrics: dict[str, Standing]
    overall: float


class Comparison(Record):
    """Runs over the same pairs.

    Attributes:
        pairs: compared.
        images: that they are asked of.
        runs: best first, by `overall`.
        versus: every two runs, in the order handed in.
    """

    schema_version: Literal[1] = 1
    pairs: Count
    images: Count
    runs: tuple[Ranked, ...]
    versus: tuple[Versus, ...]
    resamples: Count
    seed: int


def compare(
    runs: Mapping[str, Iterable[PairResult]],
    *,
    common_only: bool = False,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Comparison:
    """Compare two or more runs.

    Args:
        runs: results by the name of their run.
        common_only: leave out pairs that a run does not have, instead of refusing.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        DatasetError: fewer than two runs, a run without results or with a pair twice, runs over different data sets.
    """
    if len(runs) < 2:
        raise DatasetError(f"a comparison needs two runs or more, there is {len(runs)}")
    have = {name: {result.id: result for result in by_id(results)} for name, results in runs.items()}
    ids = _common(have, common_only=common_only)
    kept = {name: [results[key] for key in ids] for name, results in have.items()}
    _same_pairs(kept)
    first = next(iter(kept.values()))
    images = [result.image for result in first]
    scores = np.stack([[result.values() for result in results] for results in kept.values()])
    empty = [all_empty(results) for results in kept.values()]
    standings = _standings(scores, empty)
    ranked = [
        Ranked(
            name=name,
            n=len(have[name]),
            left_out=len(have[name]) - len(ids),
            all_empty=empty[at],
            failed=sum(not result.answered for result in kept[name]),
            metrics=standings[at],
            overall=float(np.mean([one.mean_rank for one in standings[at].values() if one.mean_rank is not None])),
        )
        for at, name in enumerate(kept)
    ]
    names = list(kept)
    return Comparison(
        pairs=len(ids),
        images=len(set(images)),
        runs=tuple(sorted(ranked, key=lambda run: (run.overall, run.name))),
        versus=tuple(
            Versus(
                first=names[one],
                second=names[other],
                metrics=_differences(scores[one] - scores[other], images, resamples=resamples, seed=seed),
            )
            for one, other in combinations(range(len(names)), 2)
        ),
        resamples=resamples,
        seed=seed,
    )


def _common(have: dict[str, dict[str, PairResult]], *, common_only: bool) -> list[str]:
    common = set.intersection(*(set(results) for results in have.values()))
    every = set.union(*(set(results) for results in have.values()))
    lacking = {name: len(every) - len(results) for name, results in have.items() if len(results) < len(every)}
    if lacking and not common_only:
        told = ", ".join(f"{name} lacks {n}" for name, n in lacking.items())
        raise DatasetError(
            f"the runs have different pairs: of {len(every)} in all, {told}; {len(common)} are common",
            hint="finish the runs, or compare what they have in common with --common-only",
        )
    if not common:
        raise DatasetError(f"the runs {', '.join(have)} have no pair in common")
    return sorted(common)


def _same_pairs(kept: dict[str, list[PairResult]]) -> None:
    names = list(kept)
    for name in names[1:]:
        for one, other in zip(kept[names[0]], kept[name], strict=True):
            for field in ("size", "truth_area", "query"):
                if getattr(one, field) != getattr(other, field):
                    raise DatasetError(
                        f"the runs are over different data sets: pair {one.id} has {field} "
                        f"{getattr(one, field)!r} in {names[0]} and {getattr(other, field)!r} in {name}"
                    )


def _standings(scores: NDArray[np.float64], empty: list[bool]) -> list[dict[str, Standing]]:
    """Per run, by metric.

    Args:
        scores: (runs, pairs, metrics).
        empty: (runs) whether all masks of a run are empty.
    """
    means = scores.mean(axis=1)
    ranks, mean_ranks = np.full(means.shape, np.nan), np.full(means.shape, np.nan)
    for at, metric in enumerate(METRICS):
        in_it = [run for run, nothing in enumerate(empty) if not (nothing and metric in UNRANKED)]
        if in_it:
            # Rounded: two runs with the same scores on other pairs tie, though their float sums may not.
            ranks[in_it, at] = rankdata(-means[in_it, at].round(_DIGITS))
            mean_ranks[in_it, at] = rankdata(-scores[in_it, :, at], axis=0).mean(axis=1)
    return [
        {
            metric: Standing(
                mean=float(means[run, at]), rank=_or_none(ranks[run, at]), mean_rank=_or_none(mean_ranks[run, at])
            )
            for at, metric in enumerate(METRICS)
        }
        for run in range(len(scores))
    ]


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _differences(
    scores: NDArray[np.float64], images: list[str], *, resamples: int, seed: int
) -> dict[str, Difference]:
    ends = intervals(images, scores, np.ones((len(scores), 1)), resamples=resamples, seed=seed)
    found = {}
    for metric, column, interval in zip(METRICS, scores.T, ends, strict=True):
        low, high = interval or (None, None)
        found[metric] = Difference(
            mean=Estimate(value=float(column.mean()), low=low, high=high),
            better=int((column > 0).sum()),
            worse=int((column < 0).sum()),
            equal=int((column == 0).sum()),
            clear=interval is not None and not interval.low <= 0 <= interval.high,
        )
    return found
