"""What the answers took: seconds, calls and tokens.

**Protocol of the seconds.** A query's clock runs on a warm system: models are loaded, and have answered once, before
the first pair is timed; reading the data set, scoring and writing results are outside. Failed queries are timed like
all others. Stages have figures of their own, over the queries that came to them; those that overlap do not add up to
the total. "Per pair" is one query; "per image" is the sum over the pairs of one image, so both are given, each with
median, mean and 95th percentile. What nobody timed or counted is not taken for 0: `n` says of how many a figure is.

The paper's frames per second cannot be matched: its released script times the first 20 queries only, and image
writing is among what it times.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from geoseg_agent.bench.metrics import Count  # noqa: TC001 - pydantic reads them
from geoseg_agent.trace.record_base import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from geoseg_agent.bench.records import PairResult


class Spread(Record):
    """How a quantity is spread over `n` pairs or images."""

    n: Count
    mean: float
    median: float
    p95: float
    total: float


class Both(Record):
    """A quantity per pair, and summed over the pairs of each image; an image counts once all of its pairs do."""

    per_pair: Spread
    per_image: Spread | None


class Costs(Record):
    """None where no pair has the figure."""

    seconds: Both | None
    stages: dict[str, Spread]
    calls: Both | None
    tokens: Both | None


def costs(results: Sequence[PairResult]) -> Costs:
    """What the results took."""
    stages: dict[str, list[float]] = defaultdict(list)
    for result in results:
        if result.seconds is not None:
            for stage, seconds in result.seconds.stages.items():
                stages[stage].append(seconds)
    return Costs(
        seconds=_both(results, lambda result: None if result.seconds is None else result.seconds.total),
        stages={stage: _spread(stages[stage]) for stage in sorted(stages)},
        calls=_both(results, lambda result: result.calls),
        tokens=_both(results, lambda result: result.tokens),
    )


def _both(results: Iterable[PairResult], of: Callable[[PairResult], float | None]) -> Both | None:
    images: dict[str, list[float | None]] = defaultdict(list)
    for result in results:
        images[result.image].append(of(result))
    known = [value for values in images.values() for value in values if value is not None]
    if not known:
        return None
    whole = [[value for value in values if value is not None] for values in images.values() if None not in values]
    return Both(per_pair=_spread(known), per_image=_spread([sum(values) for values in whole]) if whole else None)


def _spread(values: Sequence[float]) -> Spread:
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    return Spread(
        n=len(ordered),
        mean=float(ordered.mean()),
        median=float(np.median(ordered)),
        p95=float(np.quantile(ordered, 0.95)),
        total=float(ordered.sum()),
    )
