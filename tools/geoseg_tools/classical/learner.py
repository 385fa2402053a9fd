"""A classifier learnt from one window alone: ridge regression on random Fourier features.

Labelled regions are predicted by the closed-form leave-one-out value; without it the learner would only repeat
the labels it was given, and most of those given by a box are wrong somewhere.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from geoseg_tools.classical.ops import sig

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEATURES = 192
_BANDWIDTH = 3.0
_RIDGE = 0.3
_LINEAR = 0.1
_TOTAL = 1200.0
_SEED = 20


@lru_cache(maxsize=4)
def _directions(dimension: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Frequencies and phases of a Gaussian kernel; fixed, so that results are too."""
    draw = np.random.default_rng(_SEED)
    frequency = draw.normal(size=(dimension, _FEATURES)) / _BANDWIDTH
    return frequency.astype(np.float32), draw.uniform(0, 2 * np.pi, _FEATURES).astype(np.float32)


def basis(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, p) random Fourier features (Rahimi, Recht 2007), a constant and the vectors themselves, weakly."""
    frequency, phase = _directions(vectors.shape[1])
    waves = np.float32(np.sqrt(2 / _FEATURES)) * np.cos(vectors @ frequency + phase)
    return np.column_stack([waves, np.ones(len(vectors), np.float32), np.float32(_LINEAR) * vectors])


def learn(
    design: NDArray[np.float32], target: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Probabilities of all regions from soft labels on some of them.

    Args:
        design: (n, p) from `basis`.
        target: (n,) labels -1..1; ignored where the weight is 0.
        weight: (n,) how much each label counts, 0 for none; both signs get the same total.

    Returns:
        (n,) probability of +1, leave-one-out where labelled. 0.5 everywhere without both signs.
    """
    share = weight.copy()
    total = min(_TOTAL, float((weight > 0).sum()))
    for side in (target > 0, target <= 0):
        mass = float(share[side].sum())
        if mass <= 0:
            return np.full(len(target), 0.5)
        share[side] *= total / 2 / mass
    labelled = share > 0
    rows, w, y = design[labelled], share[labelled].astype(np.float32), target[labelled]
    weighted = rows * w[:, None]
    gram = (weighted.T @ rows).astype(np.float64)
    gram[np.diag_indices_from(gram)] += _RIDGE
    factor = cho_factor(gram, check_finite=False)
    inverse = cho_solve(factor, np.eye(len(gram)), check_finite=False).astype(np.float32)
    score = (design @ (inverse @ (weighted.T @ y.astype(np.float32)))).astype(np.float64)
    # The diagonal of the hat matrix; the full inverse makes it one fast product.
    hat = np.clip(((rows @ inverse) * weighted).sum(axis=1), 0.0, 0.999)
    score[labelled] = (score[labelled] - hat * y) / (1 - hat)
    return sig(3 * score).astype(np.float64)
