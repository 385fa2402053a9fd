"""Bounds between rows: what the fusion rules let the full method do against one route alone.

Let a pair have one target, and let X and Y be the masks of Route A and Route B, empty where not valid (Eq. 6). The
row without Route B is X and the row without Route A is Y, in the same region; by Eq. 7 the full method is

    rule "both"      X and Y both valid     X intersected with Y
    rule "points"    only X valid           X; Y is empty
    rule "text"      only Y valid           Y; X is empty
    rule "none"      neither                empty; both are

Recall R is the share of the target that a mask covers, and F = 1 - specificity the share of everything else. Both
measure a mask, so both obey the same inequalities, which are worked out for a pair per rule and then averaged: where
a difference can be positive under one rule only, its mean is at most the share of pairs with that rule. Without any
mask, a table so bounds how often each rule was used.

Of a pair with several targets the same holds with unions, as long as all of its targets fell under one rule; others
are "mixed" and exempt. Where masks of several targets are intersected one by one, their union may miss what Route A
found in one and Route B in another, so that bounds on what is missed or lost exempt every pair with several targets.
A pair whose figures follow a convention and not their definition (a query that failed scores 0 in all of them,
specificity included; a truth with no pixel, or with all) is exempt from everything. Nothing can be said between a row
without refinement and the others: it looks at another region.

All rows must be of one grounding, and a route alone must be held to Eq. 6 too, as it is here. How a published table
was made is not always said: bounds named "full over" and "full within" hold for routes that are not held to it as
well, the others may then be off by what pairs with an invalid route add.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from geoseg_agent.bench.finding import Finding, Span, percent, percent_down, span, verdict_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from geoseg_agent.bench.shares import Shares
    from geoseg_agent.method import Variant
    from geoseg_tools.fusion import Rule


class RuleBound(NamedTuple):
    """Pairs under one of `rules` are at least as large a share as `least` says.

    Attributes:
        name: for people and tests.
        rules: one or several; none where the amount must simply not be positive.
        figures: what the amount is made of: of which row, which figure.
        least: of these figures, in their order; monotone in each.
        why: the derivation.
        exempts: which pairs with several targets may break it.
        most: what the amount of one pair that is exempt can come to.
    """

    name: str
    rules: tuple[Rule, ...]
    figures: tuple[tuple[Variant, str], ...]
    least: Callable[..., float]
    why: str
    exempts: Literal["none", "mixed", "several"]
    most: float = 1.0


class Exempt(NamedTuple):
    """Shares of pairs that bounds between rows do not bind.

    Attributes:
        loose: their figures follow a convention; exempt from all.
        mixed: several targets under several rules.
        several: several targets, the mixed ones included.
    """

    loose: float = 0.0
    mixed: float = 0.0
    several: float = 0.0

    def of(self, bound: RuleBound) -> float:
        """What pairs that are exempt from this bound can add to its amount."""
        return bound.most * (self.loose + {"none": 0.0, "mixed": self.mixed, "several": self.several}[bound.exempts])


_FULL: Final[Variant] = "full"
_A: Final[Variant] = "points"  # the row without Route B is Route A alone
_B: Final[Variant] = "text"  # and the other way round


def _of_coverage(what: str) -> tuple[RuleBound, ...]:
    """The bounds on what a mask covers of a set of pixels: the target's ("recall"), or all the others."""
    full, a, b = (_FULL, what), (_A, what), (_B, what)
    return (
        RuleBound(
            f"{what}: full over Route A",
            ("text",),
            (full, a),
            lambda f, x: f - x,
            'an intersection lies in Route A, and under "points" the mask is Route A\'s: only under "text", where '
            "Route A is empty, can the full method cover more than Route A does",
            "mixed",
        ),
        RuleBound(
            f"{what}: full over Route B",
            ("points",),
            (full, b),
            lambda f, y: f - y,
            'an intersection lies in Route B, and under "text" the mask is Route B\'s: only under "points", where '
            "Route B is empty, can the full method cover more than Route B does",
            "mixed",
        ),
        RuleBound(
            f"{what}: lost by intersecting",
            ("both",),
            (full, a, b),
            lambda f, x, y: x + y - f,
            "where one route is valid the mask is that route's and the other is empty, so A + B - full = 0; only "
            'under "both" can it be positive, and at most 1: two shares of a set overlap in at least A + B - 1 of it',
            "several",
            most=2.0,
        ),
        RuleBound(
            f"{what}: Route A covers anything",
            ("both", "points"),
            (a,),
            lambda x: x,
            'under "text" and "none" Route A is empty',
            "mixed",
        ),
        RuleBound(
            f"{what}: Route B covers anything",
            ("both", "text"),
            (b,),
            lambda y: y,
            'under "points" and "none" Route B is empty',
            "mixed",
        ),
        RuleBound(
            f"{what}: full within the routes together",
            (),
            (full, a, b),
            lambda f, x, y: f - x - y,
            "under every rule the mask is part of Route A or of Route B, so it covers no more than the two together",
            "none",
        ),
    )


RULE_BOUNDS: Final = (
    *_of_coverage("recall"),
    *_of_coverage("false positives"),
    RuleBound(
        "errors: full within the routes together",
        (),
        ((_FULL, "errors"), (_A, "errors"), (_B, "errors")),
        lambda f, x, y: f - x - y,
        "a pixel that the full method gets wrong is wrong in Route A or in Route B: under one valid route it is that "
        "route's error, and an intersection takes in what both take in wrongly and leaves out what either leaves out",
        "several",
    ),
)


class Bounded(NamedTuple):
    """A bound with the figures of a table put in."""

    bound: RuleBound
    amount: Span
    given: str


def bounded(rows: Mapping[Variant, Mapping[str, float]], half_unit: float) -> Iterator[Bounded]:
    """Every bound that the rows have the figures for."""
    for bound in RULE_BOUNDS:
        figures = [_figure(rows.get(row, {}), what) for row, what in bound.figures]
        known = [value for value in figures if value is not None]
        if len(known) == len(figures):
            pairs = zip(bound.figures, known, strict=True)
            given = ", ".join(f"{what} {percent(value)} ({row})" for (row, what), value in pairs)
            yield Bounded(bound, span(bound.least, known, half_unit), given)


def check_rules(
    rows: Mapping[Variant, Mapping[str, float]], half_unit: float, shares: Shares | None, exempt: Exempt
) -> Iterator[Finding]:
    """Every bound between rows: against the shares where they are known, else what it implies of them.

    Args:
        rows: variant to figure to mean, 0..1.
        half_unit: by how much a figure may be off.
        shares: of pairs, by rule; None where they were not published.
        exempt: shares of pairs that need not obey.
    """
    for bound, amount, given in bounded(rows, half_unit):
        allowed = exempt.of(bound)
        known = 0.0 if not bound.rules else 1.0 if shares is None else sum(shares[rule] for rule in bound.rules)
        room = known + allowed
        margin = Span(room - amount.high, room - amount.value, room - amount.low)
        at_least = max(amount.value - allowed, 0.0)
        yield Finding(
            bound.name,
            ", ".join(row for row, _ in bound.figures),
            f"{_claim(bound, amount.value, allowed, None if shares is None else known)}: {given}",
            bound.why,
            margin.value,
            verdict_of(margin),
            _implied(bound, at_least, max(amount.low - allowed, 0.0)) if shares is None else None,
        )


def _figure(row: Mapping[str, float], what: str) -> float | None:
    """A figure of the row, or one less a figure of it."""
    if what == "recall":
        return row.get("recall")
    value = row.get({"false positives": "specificity", "errors": "accuracy"}[what])
    return None if value is None else 1 - value


def _names(rules: tuple[Rule, ...]) -> str:
    return " or ".join(f'"{rule}"' for rule in rules)


def _claim(bound: RuleBound, amount: float, allowed: float, known: float | None) -> str:
    if not bound.rules:
        return f"{percent(amount)} <= {percent(allowed)}"
    measured = "" if known is None else f" (measured {percent(known)})"
    slack = f" less {percent(allowed)} for pairs that are exempt" if allowed else ""
    return f"pairs under {_names(bound.rules)}{measured} >= {percent(amount)}{slack}"


def _implied(bound: RuleBound, at_least: float, for_sure: float) -> str | None:
    if not bound.rules or for_sure <= 0:
        return None
    return (
        f"rule {_names(bound.rules)} on at least {percent(at_least)} of pairs "
        f"({percent_down(for_sure)} whatever was rounded away)"
    )
