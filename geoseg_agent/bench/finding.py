"""What checking a bound came to, and how printed digits blur it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Verdict = Literal["holds", "holds within rounding", "impossible"]

EXACT: Final = 1e-9
"""What sums of floats may be off by."""

_BLUR: Final = 1e-5  # of a tenth of a per cent: what a sum of printed figures may be off by as a float


@dataclass(frozen=True, slots=True)
class Finding:
    """One bound on one table or run.

    Attributes:
        bound: its name.
        where: the row or rows, or the pairs, that it was checked on.
        says: the bound with its numbers.
        why: why it must hold.
        margin: by how much it holds, as a share; negative by how much it is broken. On the figures as given.
        verdict: "holds within rounding" where only other figures that print the same satisfy it.
        implied: what follows from it beyond the table, or None.
    """

    bound: str
    where: str
    says: str
    why: str
    margin: float
    verdict: Verdict
    implied: str | None = None


class Span(NamedTuple):
    """The values that a formula can take when every figure in it may be off by half of its last digit."""

    low: float
    value: float
    high: float


def span(formula: Callable[..., float], figures: Sequence[float], half_unit: float) -> Span:
    """The span of `formula`, which is monotone in each of its figures, so that its extremes lie in corners."""
    corners = [formula(*corner) for corner in product(*((x - half_unit, x + half_unit) for x in figures))]
    value = formula(*figures)
    return Span(min(corners, default=value), value, max(corners, default=value))


def verdict_of(margin: Span) -> Verdict:
    """The verdict on a margin that must not be negative."""
    if margin.value >= -EXACT:
        return "holds"
    return "holds within rounding" if margin.high >= -EXACT else "impossible"


def percent(share: float) -> str:
    """A share for people."""
    return f"{100 * share:.1f} %"


def percent_down(share: float) -> str:
    """A lower limit for people: rounded so that it stays one."""
    return f"{math.floor(1000 * share + _BLUR) / 10:.1f} %"


def percent_up(share: float) -> str:
    """An upper limit for people: rounded so that it stays one."""
    return f"{math.ceil(1000 * share - _BLUR) / 10:.1f} %"
