"""A classifier learnt from one window alone: ridge regression on random Fourier features.

Features: Rahimi, Recht: Random Features for Large-Scale Kernel Machines, NIPS 2007. Labelled regions are predicted by
the closed-form leave-one-out value, (f - h y) / (1 - h) with h of the hat matrix (Allen 1974, PRESS); without it the
learner would only repeat the labels it was given, and most of those given by a box are wrong somewhere.

All products are in float64: BLAS adds up in another order with more threads, and in float32 that is enough
to move pixels of a mask.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

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
def _directions(dimension: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies and phases of a Gaussian kernel; fixed, so that results are too."""
    draw = np.random.default_rng(_SEED)
    frequency = draw.normal(size=(dimension, _FEATURES)) / _BANDWIDTH
    return frequency, draw.uniform(0, 2 * np.pi, _FEATURES)


def basis(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, p) random Fourier features, a constant and the vectors themselves, weakly; p does not depend on n."""
    frequency, phase = _directions(vectors.shape[1])
    angle = (vectors.astype(np.float64) @ frequency + phase).astype(np.float32)
    waves = np.float32(np.sqrt(2 / _FEATURES)) * np.cos(angle)
    return np.column_stack([waves, np.ones(len(vectors), np.float32), np.float32(_LINEAR) * vectors])


def learn(
    design: NDArray[np.float32], target: NDArray[np.floating[Any]], weight: NDArray[np.float64]
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
    wide = design.astype(np.float64)
    root, y = np.sqrt(share[labelled]), target[labelled]
    rows = wide[labelled] * root[:, None]
    # numpy sees the same matrix on both sides and computes one half of the symmetric product.
    gram = rows.T @ rows
    gram[np.diag_indices_from(gram)] += _RIDGE
    lower = cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
    score = wide @ cho_solve((lower, True), rows.T @ (root * y), check_finite=False)
    # The diagonal of the hat matrix: rows' inverse(gram) rows, by one triangular solve.
    half = solve_triangular(lower, rows.T, lower=True, overwrite_b=True, check_finite=False)
    hat = np.clip(np.einsum("pn,pn->n", half, half), 0.0, 0.999)
    score[labelled] = (score[labelled] - hat * y) / (1 - hat)
    return sig(3 * score).astype(np.float64)
