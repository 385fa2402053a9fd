"""Whether any shares of the rules fit all bounds at once, and between what limits each share lies.

The shares of "both", "points", "text", "none" and of mixed pairs sum to 1, and every bound of
`geoseg_agent.bench.rule_bounds` is linear in them, so this is a linear programme of four unknowns: a table can obey
every single bound and still leave no shares that obey them together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from geoseg_agent.bench.finding import EXACT, Finding, percent_down, percent_up
from geoseg_tools.fusion import Rule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geoseg_agent.bench.rule_bounds import Bounded, Exempt

Shares = dict[Rule, float]
"""Rule to share of pairs, 0..1."""

RULES: Final[tuple[Rule, ...]] = get_args(Rule)

NAME: Final = "shares of the rules exist"


def limits(bounds: Sequence[Bounded], exempt: Exempt) -> Mapping[Rule, tuple[float, float]] | None:
    """Smallest and largest possible share of each rule, whatever was rounded away; None where none fit.

    Args:
        bounds: with their figures.
        exempt: shares of pairs that need not obey.
    """
    from scipy.optimize import linprog  # noqa: PLC0415 - half of a second that only this pays

    about = [one for one in bounds if one.bound.rules]
    # at least the amount: -(sum of shares) <= -(amount - what is exempt)
    rows = [[-1.0 if rule in one.bound.rules else 0.0 for rule in RULES] for one in about] or None
    most = [exempt.of(one.bound) - one.amount.low + EXACT for one in about] or None
    found: dict[Rule, tuple[float, float]] = {}
    for number, rule in enumerate(RULES):
        ends = []
        for sign in (1.0, -1.0):
            cost = [sign if place == number else 0.0 for place in range(len(RULES))]
            solved = linprog(
                cost, A_ub=rows, b_ub=most, A_eq=[[1.0] * len(RULES)], b_eq=[1.0 - exempt.mixed], bounds=(0, 1)
            )
            if not solved.success:
                return None
            ends.append(min(max(sign * float(solved.fun), 0.0), 1.0))
        found[rule] = (ends[0], ends[1])
    return found


def check_shares(bounds: Sequence[Bounded], exempt: Exempt) -> Finding:
    """Whether shares of the rules exist that all bounds allow."""
    found = limits(bounds, exempt)
    why = "the shares of the four rules and of mixed pairs sum to 1, and must obey every bound between rows at once"
    where = ", ".join(dict.fromkeys(row for one in bounds for row, _ in one.bound.figures))
    if found is None:
        return Finding(NAME, where, "no shares of the rules obey all bounds together", why, -1.0, "impossible")
    ranges = ", ".join(f'"{rule}" {percent_down(low)} to {percent_up(high)}' for rule, (low, high) in found.items())
    return Finding(NAME, where, "there are shares that obey all bounds", why, 0.0, "holds", f"of all pairs {ranges}")
