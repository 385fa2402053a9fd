"""How often each line of Eq. 7 gave a mask."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, get_args

from geoseg_agent.bench.metrics import Count  # noqa: TC001 - pydantic reads them
from geoseg_agent.trace.record_base import Record
from geoseg_tools.fusion import Rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.bench.records import PairResult

RULES: Final = get_args(Rule)


class RuleCounts(Record):
    """Frequencies of the fusion rules.

    Attributes:
        targets: targets by rule; a pair may have several.
        pairs: pairs by the one rule of all their targets, "mixed" where they differ, "without" where there is none,
            as in queries that failed. They sum to n.
    """

    targets: dict[str, Count]
    pairs: dict[str, Count]


def count_rules(results: Sequence[PairResult]) -> RuleCounts:
    """Count the rules over targets and over pairs."""
    targets = Counter(rule for result in results for rule in result.rules)
    pairs = Counter(_of_pair(result) for result in results)
    return RuleCounts(
        targets={rule: targets[rule] for rule in RULES},
        pairs={rule: pairs[rule] for rule in (*RULES, "mixed", "without")},
    )


def _of_pair(result: PairResult) -> str:
    kinds: set[str] = set(result.rules)
    if not kinds:
        return "without"
    return kinds.pop() if len(kinds) == 1 else "mixed"
