"""What must hold exactly, pair by pair, between the full method and each route alone.

Of every pair with an answer in all three rows, from its counts of pixels (`check_pairs`):

    no target under "text"                  the full mask lies in Route A's: no more tp, no more fp
    no target under "points"                the full mask lies in Route B's
    all targets under "points"              the counts are Route A's, and Route B has no pixel
    all targets under "text"                the counts are Route B's, and Route A has no pixel
    all targets under "none", or none       no pixel in any row
    one target, under "both"                tp >= tp(A) + tp(B) - positives, fp >= fp(A) + fp(B) - negatives

and of the masks themselves, target by target (`mask_problems`): under "both" the mask is the intersection of the
routes' masks, else the valid route's and the other is empty; areas are those of the masks. How the figures of one
pair hang together is checked where its record is read (`PairResult`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from geoseg_agent.bench.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from geoseg_agent.bench.records import PairResult
    from geoseg_agent.segmentation import Segmentation
    from geoseg_agent.types import TargetMask

_NAMED = 5  # pairs named in one finding


class Rows(NamedTuple):
    """One pair under the full method, Route A alone and Route B alone."""

    full: PairResult
    points: PairResult
    text: PairResult


class PairBound(NamedTuple):
    """A bound on every pair.

    Attributes:
        name: for people and tests.
        applies: to which pairs, by the rules of the full method's targets.
        excess: pixels by which a pair breaks it; not positive where it holds.
        why: the derivation.
    """

    name: str
    applies: Callable[[frozenset[str], int], bool]
    excess: Callable[[Rows], int]
    why: str


def _over(one: PairResult, other: PairResult) -> int:
    """By how much `one` has more right or wrong pixels than `other`, of which it should be a part."""
    return max(one.counts.tp - other.counts.tp, one.counts.fp - other.counts.fp)


def _apart(one: PairResult, other: PairResult) -> int:
    return abs(one.counts.tp - other.counts.tp) + abs(one.counts.fp - other.counts.fp)


def _area(one: PairResult) -> int:
    return one.counts.tp + one.counts.fp


def _lost(rows: Rows) -> int:
    full, points, text = (row.counts for row in rows)
    positives, negatives = full.tp + full.fn, full.fp + full.tn
    return max(points.tp + text.tp - positives - full.tp, points.fp + text.fp - negatives - full.fp)


PAIR_BOUNDS: Final = (
    PairBound(
        "full within Route A",
        lambda rules, _: "text" not in rules,
        lambda rows: _over(rows.full, rows.points),
        "without a target under \"text\" every target's mask is Route A's or part of it",
    ),
    PairBound(
        "full within Route B",
        lambda rules, _: "points" not in rules,
        lambda rows: _over(rows.full, rows.text),
        "without a target under \"points\" every target's mask is Route B's or part of it",
    ),
    PairBound(
        "full is Route A",
        lambda rules, _: rules == {"points"},
        lambda rows: _apart(rows.full, rows.points) + _area(rows.text),
        'under "points" the mask is Route A\'s, and Route B was not valid',
    ),
    PairBound(
        "full is Route B",
        lambda rules, _: rules == {"text"},
        lambda rows: _apart(rows.full, rows.text) + _area(rows.points),
        'under "text" the mask is Route B\'s, and Route A was not valid',
    ),
    PairBound(
        "nothing anywhere",
        lambda rules, _: rules <= {"none"},
        lambda rows: sum(map(_area, rows)),
        'under "none" neither route was valid',
    ),
    PairBound(
        "no more lost than must be",
        lambda rules, targets: rules == {"both"} and targets == 1,
        _lost,
        "two parts of a set of n pixels overlap in at least the sum of their sizes less n",
    ),
)


def check_pairs(pairs: Sequence[Rows]) -> Iterator[Finding]:
    """Every bound over all pairs that have an answer in all rows."""
    answered = [rows for rows in pairs if all(row.answered for row in rows)]
    for bound in PAIR_BOUNDS:
        bound_to = [rows for rows in answered if bound.applies(frozenset(rows.full.rules), len(rows.full.rules))]
        broken = [(rows.full.id, excess) for rows in bound_to if (excess := bound.excess(rows)) > 0]
        named = ", ".join(f"{name} by {excess} pixels" for name, excess in broken[:_NAMED])
        more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        yield Finding(
            bound.name,
            f"{len(bound_to)} of {len(pairs)} pairs",
            f"broken by {named}{more}" if broken else "every pair obeys",
            bound.why,
            -len(broken) / max(len(bound_to), 1),
            "impossible" if broken else "holds",
        )


def mask_problems(full: Segmentation, points: Segmentation, text: Segmentation) -> tuple[str, ...]:
    """What of one query's masks contradicts Eq. 7, in words; empty where nothing does.

    Args:
        full: by the full method.
        points: by Route A alone.
        text: by Route B alone.
    """
    counts = [len(answer.targets) for answer in (full, points, text)]
    if len(set(counts)) > 1:
        return (f"the rows have {counts[0]}, {counts[1]} and {counts[2]} targets",)
    triples = zip(full.targets, points.targets, text.targets, strict=True)
    return tuple(
        f"target {number}: {problem}"
        for number, triple in enumerate(triples, start=1)
        for problem in _target_problems(*triple)
    )


def _target_problems(full: TargetMask, a: TargetMask, b: TargetMask) -> Iterator[str]:
    if not full.roi == a.roi == b.roi:
        yield f"the regions are {tuple(full.roi)}, {tuple(a.roi)} and {tuple(b.roi)}"
        return
    nothing = np.zeros_like(full.mask)
    due, rule_a, rule_b = {
        "both": (a.mask & b.mask, "points", "text"),
        "points": (a.mask, "points", "none"),
        "text": (b.mask, "none", "text"),
        "none": (nothing, "none", "none"),
    }[full.rule]
    if (a.rule, b.rule) != (rule_a, rule_b):
        yield f'under "{full.rule}" the routes alone fall under "{rule_a}" and "{rule_b}", not "{a.rule}", "{b.rule}"'
    if not np.array_equal(full.mask, due):
        yield f'the mask is not what "{full.rule}" makes of the routes\' masks'
    for what, one, other in (("points", full.areas.points, a.areas.points), ("text", full.areas.text, b.areas.text)):
        if one != other:
            yield f"the area of {what} is {one}, alone {other}"
    for what, target in (("full", full), ("points", a), ("text", b)):
        if target.areas.mask != int(np.count_nonzero(target.mask)):
            yield f"the area of the {what} mask is not {target.areas.mask}"
