"""The same figures for parts of the pairs: by level, domain, source and size of the target."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from geoseg_agent.bench.records import PairResult

UNSTATED: Final = "unstated"
"""The stratum of pairs whose data set does not say."""

SIZES: Final = (("tiny", 0.001), ("small", 0.01), ("medium", 0.1))
"""Classes of target size by its share of the image: tiny under 0.1 %, small under 1 %, medium under 10 %, else large;
empty where there is no target. These are ours: the paper has none, and COCO's (32 x 32 and 96 x 96 pixels) depend on
the picture's scale; at 810 x 810 they would be 0.16 % and 1.4 %."""


def size_class(result: PairResult) -> str:
    """The class of the target's size: empty, tiny, small, medium or large."""
    if not result.truth_area:
        return "empty"
    share = result.truth_area / (result.size[0] * result.size[1])
    return next((name for name, limit in SIZES if share < limit), "large")


STRATA: Final[dict[str, Callable[[PairResult], str]]] = {
    "level": lambda result: result.level or UNSTATED,
    "domain": lambda result: result.domain or UNSTATED,
    "size": size_class,
    "source": lambda result: result.source or UNSTATED,
}


def strata(results: Sequence[PairResult], by: str) -> dict[str, list[PairResult]]:
    """The results by one of `STRATA`, names in order; each result is in exactly one."""
    parts: dict[str, list[PairResult]] = defaultdict(list)
    for result in results:
        parts[STRATA[by](result)].append(result)
    ranks = {name: rank for rank, name in enumerate(("empty", *(name for name, _ in SIZES), "large"))}
    return {name: parts[name] for name in sorted(parts, key=lambda name: (ranks.get(name, -1), name))}
