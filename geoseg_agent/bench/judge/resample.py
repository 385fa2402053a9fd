"""Intervals of means by bootstrap, resampling images: pairs of one image are not independent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

DRAWS: Final = 2000


def interval(values: Sequence[float], clusters: Sequence[str], *, seed: int = 0, draws: int = DRAWS) -> list[float]:
    """The 2.5th and 97.5th percentile of the mean over resampled clusters (percentile bootstrap).

    Args:
        values: at least one.
        clusters: which cluster each belongs to.
        seed: equal seeds give equal intervals.
        draws: of as many clusters as there are, with replacement.
    """
    _, member = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(member, weights=np.asarray(values, dtype=np.float64))
    counts = np.bincount(member)
    rng = np.random.default_rng(seed)
    means = np.empty(draws)
    # One draw at a time: all at once would take draws x images of memory.
    for number in range(draws):
        chosen = rng.integers(0, len(sums), len(sums))
        means[number] = sums[chosen].sum() / counts[chosen].sum()
    low, high = np.percentile(means, (2.5, 97.5))
    return [float(low), float(high)]
