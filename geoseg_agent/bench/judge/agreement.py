"""Agreement of a judge with people, or of two judges: Spearman's rank correlation and quadratic weighted kappa."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

from geoseg_agent.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

Scores: TypeAlias = Mapping[str, Mapping[str, float]]
"""Pair to criterion to score 1..5; means of several raters or samples need not be whole."""

CRITERIA: Final = ("faithfulness", "localization", "robustness", "overlap")


class Agreement(NamedTuple):
    """How two sets of scores agree on one criterion.

    Attributes:
        pairs: that both have scored.
        spearman: -1..1, of the ranks; None where either has one rank only.
        kappa: up to 1, of the scores themselves; None where both have one and the same score throughout.
        difference: mean of one minus other.
    """

    pairs: int
    spearman: float | None
    kappa: float | None
    difference: float


def agreement(one: Scores, other: Scores) -> dict[str, Agreement]:
    """The agreement by criterion, over the pairs that both have scored; criteria that share no pair are left out."""
    found = {}
    for criterion in CRITERIA:
        shared = sorted(pair for pair in one if criterion in one[pair] and criterion in other.get(pair, {}))
        if shared:
            left = [one[pair][criterion] for pair in shared]
            right = [other[pair][criterion] for pair in shared]
            found[criterion] = Agreement(
                len(shared),
                spearman(left, right),
                quadratic_kappa(left, right),
                fmean(left) - fmean(right),
            )
    return found


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Pearson's correlation of the ranks, where ties have their mean rank; None where one is constant.

    Args:
        one: scores.
        other: of the same things, in the same order.
    """
    a, b = _ranks(one), _ranks(other)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else None


def quadratic_kappa(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Cohen's kappa with squared weights (Cohen 1968): 1 - observed over expected squared difference.

        expected = mean over all i, j of (one_i - other_j)^2 = var(one) + var(other) + (mean(one) - mean(other))^2

    which for whole scores is the kappa of their confusion matrix, whatever the number of categories, and needs no
    rounding where scores are means. None where nothing is expected: both have one and the same score throughout.

    Args:
        one: scores.
        other: of the same things, in the same order.
    """
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    # Not by `expected`: the variance of equal means, such as 10 / 3, may be a little over 0.
    if len({*a.tolist(), *b.tolist()}) == 1:
        return None
    expected = float(a.var() + b.var() + (a.mean() - b.mean()) ** 2)
    return 1 - float(np.mean((a - b) ** 2)) / expected


def read_scores(path: Path) -> Scores:
    """Human scores from a CSV file with a header: a column "pair", and one for each criterion that was scored.

    Other columns, such as one for the rater, are passed over. A pair in several rows has the mean of its scores; an
    empty cell is no score.

    Raises:
        DatasetError: the file cannot be read, has no column "pair" or none of a criterion, or holds a score that is
            not a number from 1 to 5 or of no pair; the message names the line.
    """
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            scored = [name for name in CRITERIA if name in (rows.fieldnames or ())]
            if "pair" not in (rows.fieldnames or ()) or not scored:
                raise DatasetError(
                    f"{path.name} must have a column 'pair' and one or more of {', '.join(CRITERIA)}; it has "
                    f"{', '.join(rows.fieldnames or ()) or 'none'}"
                )
            for row in rows:
                pair, where = (row["pair"] or "").strip(), f"{path.name}, line {rows.line_num}"
                for name in scored:
                    if (row[name] or "").strip():
                        if not pair:
                            raise DatasetError(f"{where}: a score of no pair")
                        found[pair][name].append(score_of(row[name], where))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path.name} cannot be read as CSV: {error}") from error
    return {pair: {name: fmean(values) for name, values in scores.items()} for pair, scores in found.items()}


def score_of(text: str, where: str) -> float:
    """The score 1..5 that `text` says.

    Raises:
        DatasetError: it says none; the message begins with `where`.
    """
    try:
        score = float(text)
    except ValueError:
        score = 0.0
    if not 1 <= score <= 5:
        raise DatasetError(f"{where}: {text[:80]!r} is no score from 1 to 5")
    return score


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[place], dtype=np.float64)
