"""From clicks to a mask, where no box says how large the target is.

One click grows by colour; from the second on, a Gaussian-process-like regression over superpixels does better,
since it can weigh what was clicked against what was excluded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import binary_fill_holes
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from geoseg_tools.classical import ops

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask
    from geoseg_tools.classical.layer import Layer
    from geoseg_tools.classical.ops import Map

_AXES = np.array([0.8, 1.3, 1.3], np.float32)
_PRIOR = -0.4
_NOISE = 0.05
_REACH = 6.0
_ALIKE = 1.0
_FLOOR = 0.15
_OWN = 0.25
_FIXED = 50.0

HELD = 0.4
"""Belief in an earlier mask: as firm as the belief that what nobody clicked is not meant."""


def grow(layer: Layer, cells: NDArray[np.int64]) -> Mask:
    """Everything connected to the points and of their colour.

    Args:
        layer: the window.
        cells: (n, 2) x, y at layer resolution.

    Returns:
        (h, w) bool at layer resolution.
    """
    away = _distance(layer, cells)
    limit = float(np.clip(ops.otsu(np.minimum(away, 60)[layer.valid], 12.0), 7.0, 18.0))
    alike = (away < limit) & layer.valid
    alike[cells[:, 1], cells[:, 0]] = True
    found = ops.components(alike)
    keep = np.zeros(len(found.area), np.bool_)
    keep[found.labels[cells[:, 1], cells[:, 0]]] = True
    return np.asarray(binary_fill_holes(found.only(keep)), np.bool_) & layer.valid


def _distance(layer: Layer, cells: NDArray[np.int64]) -> Map:
    """(h, w) smallest colour distance to the median colour around each point."""
    height, width = layer.labels.shape
    lab = layer.lab * _AXES
    best = np.full((height, width), np.inf, np.float32)
    for x, y in cells:
        patch = lab[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].reshape(-1, 3)
        delta = lab - np.median(patch, axis=0).astype(np.float32)
        np.minimum(best, (delta * delta).sum(axis=-1), out=best)
    out: Map = np.sqrt(best)
    return out


def regress(layer: Layer, inside: NDArray[np.int64], outside: NDArray[np.int64]) -> NDArray[np.float64]:
    """Belief that a superpixel belongs to the clicked target, -1..1; the target is above 0.

    Args:
        layer: the window.
        inside: superpixels clicked as target.
        outside: superpixels clicked as not; they win over `inside`.

    Returns:
        (n,) float64, n superpixels.
    """
    prior = np.full(layer.count, _PRIOR)
    at, sign, shift = _shift(layer, inside, outside, prior)
    belief = np.clip(prior + shift, -1, 1)
    own = np.full(layer.count, _OWN)
    belief[at], own[at] = sign, _FIXED
    return np.clip(layer.smooth(belief, own), -1, 1)


def amend(
    layer: Layer, inside: NDArray[np.int64], outside: NDArray[np.int64], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far clicks move an earlier belief, which is `HELD` where a mask is and -`HELD` where it is not.

    A superpixel of the mask leaves it where the sum falls below 0, one outside joins where it rises above 0. The
    clicked superpixels end at 1 or -1; what is far from them and unlike them hardly moves.

    Args:
        layer: the window.
        inside: superpixels clicked as target.
        outside: superpixels clicked as not; they win over `inside`.
        share: (n,) part of every superpixel that the earlier mask holds, 0..1.

    Returns:
        (n,) float64, -1 - HELD..1 + HELD.
    """
    prior = np.where(share > 0.5, HELD, -HELD)
    at, sign, shift = _shift(layer, inside, outside, prior)
    own = np.full(layer.count, _OWN)
    shift = np.clip(prior + shift, -1, 1) - prior
    shift[at], own[at] = sign * (1 + HELD), _FIXED
    return np.clip(layer.smooth(shift, own), -1 - HELD, 1 + HELD)


class _Shift(NamedTuple):
    """Clicked superpixels, their sign, and how far all superpixels move from their prior mean."""

    at: NDArray[np.int64]
    sign: NDArray[np.float64]
    by: NDArray[np.float64]


def _shift(layer: Layer, inside: NDArray[np.int64], outside: NDArray[np.int64], prior: NDArray[np.float64]) -> _Shift:
    inside = np.setdiff1d(inside, outside)
    at = np.r_[inside, outside]
    sign = np.r_[np.ones(len(inside)), -np.ones(len(outside))]
    cost = np.sqrt(layer.distances) + 0.05
    i, j = layer.graph.i, layer.graph.j
    graph = csr_array((cost, (i, j)), shape=(layer.count, layer.count))
    path = dijkstra(graph, directed=False, indices=at)
    near = np.exp(-((path / _REACH) ** 2) / 2)
    delta = ((layer.vectors[at][:, None] - layer.vectors[None]) ** 2).sum(axis=-1)
    kernel = np.exp(-delta / (2 * _ALIKE**2)) * (_FLOOR + (1 - _FLOOR) * near)
    among = kernel[:, at]
    # Geodesic distances make no exact kernel; the symmetric part with a little more noise is one in practice.
    among = (among + among.T) / 2 + _NOISE * np.eye(len(at))
    solution = np.linalg.lstsq(among, sign - prior[at], rcond=None)[0]
    return _Shift(at, sign, kernel.T @ solution)
