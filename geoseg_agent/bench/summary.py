"""A run in figures: `summary.json`.

Definitions stand where they are computed: scores in `metrics` and `boundary`, means in `groups`, intervals in
`bootstrap`, confidence in `coverage`, seconds in `costs`, classes of size in `strata`. The figures depend on the
results alone and not on their order, so an interrupted and resumed run has the summary of an uninterrupted one,
seconds aside.
"""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Final, Literal

from geoseg_agent.bench import boundary
from geoseg_agent.bench.bootstrap import LEVEL, RESAMPLES, SEED
from geoseg_agent.bench.costs import Costs, costs
from geoseg_agent.bench.coverage import RiskCoverage, risk_coverage
from geoseg_agent.bench.groups import Group, group
from geoseg_agent.bench.metrics import METRICS, Count
from geoseg_agent.bench.rules import RuleCounts, count_rules
from geoseg_agent.bench.strata import SIZES, STRATA, strata
from geoseg_agent.errors import DatasetError
from geoseg_agent.trace.record_base import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geoseg_agent.bench.records import PairResult

UNRANKED: Final = ("accuracy", "specificity")
"""The scores that an empty mask does well in: most of an image is background."""

_NAMED = 20


class Protocol(Record):
    """What one must know to compute the same figures from the same masks."""

    boundary_pixels: float
    boundary_diagonal: float
    interval: float
    resamples: Count
    seed: int
    resampled_by: Literal["image"]
    sizes: dict[str, float]


class Summary(Record):
    """A run in figures.

    Attributes:
        engines: what answered; more than one where runs were mixed.
        overall: of all pairs.
        over_sources: each score averaged within every source and then over sources, so that a large source does not
            stand for all; pairs without a source are one source.
        strata: by level, domain, size, source: their parts.
        rules: frequencies of the fusion rules.
        risk: whether the confidence is worth something.
        costs: seconds, calls, tokens.
        errors: how many failed, by the error's code.
        all_empty: no pair has a pixel in its mask.
        unranked: scores that this run is not ranked in: accuracy and specificity where all masks are empty, as in the
            paper's table.
        protocol: constants behind the figures.
    """

    schema_version: Literal[1] = 1
    engines: tuple[str, ...]
    overall: Group
    over_sources: dict[str, float]
    strata: dict[str, dict[str, Group]]
    rules: RuleCounts
    risk: RiskCoverage
    costs: Costs
    errors: dict[str, Count]
    all_empty: bool
    unranked: tuple[str, ...]
    protocol: Protocol


def summarise(results: Iterable[PairResult], *, resamples: int = RESAMPLES, seed: int = SEED) -> Summary:
    """Sum up a run, every pair of it counted.

    Args:
        results: of one run, in any order.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        DatasetError: there is no result, or a pair stands there twice.
    """
    ordered = by_id(results)
    parts = {name: strata(ordered, name) for name in STRATA}
    groups = {
        name: {key: group(members, resamples=resamples, seed=seed) for key, members in kinds.items()}
        for name, kinds in parts.items()
    }
    codes = [result.error.code for result in ordered if result.error is not None]
    empty = all_empty(ordered)
    return Summary(
        engines=tuple(sorted({result.engine for result in ordered})),
        overall=group(ordered, resamples=resamples, seed=seed),
        over_sources={
            name: fmean(part.metrics[name].value for part in groups["source"].values()) for name in METRICS
        },
        strata=groups,
        rules=count_rules(ordered),
        risk=risk_coverage(
            # Declining is no answer, however sure the system is of it: without this it would be accepted first.
            [result.confidence if result.answered else None for result in ordered],
            [result.scores.iou for result in ordered],
        ),
        costs=costs(ordered),
        errors={code: codes.count(code) for code in sorted(set(codes))},
        all_empty=empty,
        unranked=UNRANKED if empty else (),
        protocol=Protocol(
            boundary_pixels=boundary.PIXELS,
            boundary_diagonal=boundary.DIAGONAL,
            interval=LEVEL,
            resamples=resamples,
            seed=seed,
            resampled_by="image",
            sizes=dict(SIZES),
        ),
    )


def by_id(results: Iterable[PairResult]) -> list[PairResult]:
    """The results in the order of their ids.

    Raises:
        DatasetError: there is none, or a pair stands there twice.
    """
    ordered = sorted(results, key=lambda result: result.id)
    if not ordered:
        raise DatasetError("there are no results", hint="a run leaves one line per pair in results.jsonl")
    twice = sorted({one.id for one, other in pairwise(ordered) if one.id == other.id})
    if twice:
        raise DatasetError(f"{len(twice)} pairs stand there more than once: {', '.join(twice[:_NAMED])}")
    return ordered


def all_empty(results: Sequence[PairResult]) -> bool:
    """Whether no pair has a pixel in its mask."""
    return not any(result.prediction_area for result in results)
