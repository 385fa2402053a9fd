"""Bounds on one row: means over pairs of one system's figures.

Let a pair have tp, fp, fn, tn pixels, J = IoU, D = Dice, P = precision, R = recall, S = specificity, A = accuracy.
Each bound below holds for every pair, and is linear or made so by Jensen's inequality; means over the same pairs
therefore obey it too. It also holds where a figure is 0 / 0 and set as in `geoseg_agent.bench.metrics`, and for a
query without an answer, whose figures are all 0.

What cannot be had: an upper bound of A below 1 by R and S, or one between P and S. Both hang on how large the targets
are: half of the pairs with R = 1, S = 0 and a target that fills the image, and half with R = 0, S = 1 and a tiny one,
have R = S = 0.5 and A = 1. What boundary F is measured with is not fixed either, so that only its range is checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from geoseg_agent.bench.finding import Finding, percent, span, verdict_of
from geoseg_agent.bench.published import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class RowBound(NamedTuple):
    """A bound on the figures of one row.

    Attributes:
        name: for people and tests.
        figures: what it is about.
        margin: of the figures, in their order; not negative where the bound holds; monotone in each.
        why: the derivation.
    """

    name: str
    figures: tuple[str, ...]
    margin: Callable[..., float]
    why: str


def _concave(iou: float) -> float:
    return 2 * iou / (1 + iou)


ROW_BOUNDS: Final = (
    *(RowBound(f"{head} >= 0", (figure,), lambda x: x, "it is a share") for figure, head in COLUMNS.items()),
    *(RowBound(f"{head} <= 1", (figure,), lambda x: 1 - x, "it is a share") for figure, head in COLUMNS.items()),
    RowBound(
        "IoU <= Dice",
        ("iou", "dice"),
        lambda j, d: d - j,
        "of a pair D = 2 J / (1 + J), which is at least J for J in 0..1",
    ),
    RowBound(
        "Dice <= 2 IoU / (1 + IoU)",
        ("iou", "dice"),
        lambda j, d: _concave(j) - d,
        "of a pair D = f(J) with f(x) = 2 x / (1 + x), which is concave: by Jensen's inequality the mean of f(J) is "
        "at most f of the mean, and equal only where all pairs have one J",
    ),
    RowBound(
        "IoU <= Prec",
        ("iou", "precision"),
        lambda j, p: p - j,
        "J = tp / (tp + fp + fn) has the larger denominator than P = tp / (tp + fp)",
    ),
    RowBound(
        "IoU <= Rec",
        ("iou", "recall"),
        lambda j, r: r - j,
        "J = tp / (tp + fp + fn) has the larger denominator than R = tp / (tp + fn)",
    ),
    RowBound(
        "Dice <= (Prec + Rec) / 2",
        ("dice", "precision", "recall"),
        lambda d, p, r: (p + r) / 2 - d,
        "D is the harmonic mean of P and R, which is at most the arithmetic one; that one is linear",
    ),
    RowBound(
        "IoU >= Prec + Rec - 1",
        ("iou", "precision", "recall"),
        lambda j, p, r: j - (p + r - 1),
        "1 / J = 1 / P + 1 / R - 1; with s = P + R and q = P R that is J = q / (s - q), and q - (s - 1) (s - q) = "
        "s (1 - P) (1 - R), which is not negative",
    ),
    RowBound(
        "Acc >= IoU",
        ("accuracy", "iou"),
        lambda a, j: a - j,
        "1 - A = (fp + fn) / N and 1 - J = (fp + fn) / (tp + fp + fn), the same over no more than the N pixels",
    ),
    RowBound(
        "Acc >= Rec + Spec - 1",
        ("accuracy", "recall", "specificity"),
        lambda a, r, s: a - (r + s - 1),
        "A = t R + (1 - t) S with t the target's share of the image, so A >= min(R, S) >= R + S - 1",
    ),
    RowBound(
        "Acc <= Rec + Spec",
        ("accuracy", "recall", "specificity"),
        lambda a, r, s: r + s - a,
        "A = t R + (1 - t) S with t the target's share of the image, so A <= max(R, S) <= R + S",
    ),
)


def check_row(name: str, row: Mapping[str, float], half_unit: float) -> Iterator[Finding]:
    """Every bound whose figures the row has.

    Args:
        name: of the row.
        row: figure to mean, 0..1.
        half_unit: by how much a figure may be off.
    """
    for bound in ROW_BOUNDS:
        if not row.keys() >= set(bound.figures):
            continue
        figures = [row[figure] for figure in bound.figures]
        margin = span(bound.margin, figures, half_unit)
        given = ", ".join(f"{COLUMNS[figure]} {percent(row[figure])}" for figure in bound.figures)
        implied = None
        if bound.name == "Dice <= 2 IoU / (1 + IoU)" and margin.low > 0:
            implied = (
                f"row {name} holds means over pairs: figures of all pixels taken together, with an IoU of "
                f"{percent(row['iou'])}, would have a Dice of {percent(_concave(row['iou']))}"
            )
        yield Finding(bound.name, name, given, bound.why, margin.value, verdict_of(margin), implied)
