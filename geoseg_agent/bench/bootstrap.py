"""How sure a mean is: bootstrap intervals, resampled by image.

Pairs of one image share its sensor, its light and its labels, so they are not independent; resampling them one by one
makes intervals too narrow. Here whole images are drawn, with replacement, as many as there are (the cluster
bootstrap: Davison and Hinkley, "Bootstrap Methods and their Application", 1997, 3.8), and the statistic is that of
all pairs of the images drawn:

    theta* = sum_i w_i S_i / sum_i w_i N_i      w ~ multinomial(m; 1/m, ..., 1/m) over the m images

with S_i an image's sum of scores and N_i its number of pairs; for the cumulative IoU S_i is its sum of intersections
and N_i of unions. The interval runs between percentiles (Efron, 1979). One image says nothing about others, so it has
none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

RESAMPLES: Final = 2000
SEED: Final = 0
LEVEL: Final = 0.95

_AT_ONCE = 1 << 21  # weights held at one time


class Interval(NamedTuple):
    """Where the statistic lies with the stated probability."""

    low: float
    high: float


def intervals(
    images: Sequence[str],
    above: ArrayLike,
    below: ArrayLike,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    level: float = LEVEL,
) -> list[Interval | None]:
    """The interval of each ratio sum(above) / sum(below), columns apart.

    The same values and seed give the same intervals, in whatever order the pairs come.

    Args:
        images: (n) names; pairs with equal names are drawn together.
        above: (n, c) summands of the numerators, such as the scores.
        below: (n, c), or (n, 1) for all columns: of the denominators, >= 0; 1 each for means over pairs.
        resamples: how often to draw.
        seed: of the random numbers.
        level: probability inside the interval.

    Returns:
        One interval per column; None where there are fewer than two images or a denominator may be 0.
    """
    over, under = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    under = np.broadcast_to(under, over.shape)
    names, group = np.unique(np.asarray(images, dtype=object), return_inverse=True)
    if len(names) < 2:
        return [None] * over.shape[1]
    ordered = np.lexsort((*over.T, *under.T, group))  # float sums depend on the order of their summands
    sums = _sums(group[ordered], over[ordered], len(names)), _sums(group[ordered], under[ordered], len(names))
    drawn = _drawn(*sums, resamples, np.random.default_rng(seed))
    edges = ((1 - level) / 2, (1 + level) / 2)
    return [
        None if np.isnan(column).any() else Interval(*map(float, np.quantile(column, edges))) for column in drawn.T
    ]


def _sums(group: NDArray[np.intp], values: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    return np.stack([np.bincount(group, column, n) for column in values.T], axis=1)


def _drawn(
    over: NDArray[np.float64], under: NDArray[np.float64], resamples: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """(resamples, c) statistics; NaN where a denominator is 0."""
    images = len(over)
    share = np.full(images, 1 / images)
    parts = []
    step = max(1, _AT_ONCE // images)
    for first in range(0, resamples, step):
        weights = random.multinomial(images, share, size=min(step, resamples - first)).astype(np.float64)
        denominators = weights @ under
        parts.append(
            np.divide(weights @ over, denominators, out=np.full_like(denominators, np.nan), where=denominators > 0)
        )
    return np.concatenate(parts)
