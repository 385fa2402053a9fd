"""From clicks to a mask, where no box says how large the target is.

One click grows by colour; from the second on, a Gaussian-process-like regression over superpixels does better,
since it can weigh what was clicked against what was excluded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import binary_fill_holes

from geoseg_tools.classical import ops

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask
    from geoseg_tools.classical.canvas import Canvas
    from geoseg_tools.classical.layer import Layer
    from geoseg_tools.classical.ops import Map

_AXES = np.array([0.8, 1.3, 1.3], np.float32)
_NOISE = 0.05

PRIOR = -0.4
"""Belief in what nobody clicked."""

HELD = 0.4
"""Belief in an earlier mask: as firm as that what nobody clicked is not meant."""


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


def regress(canvas: Canvas, inside: NDArray[np.int64], outside: NDArray[np.int64]) -> NDArray[np.float64]:
    """Belief that a superpixel belongs to the clicked target, -1..1; the target is above 0.

    The mean of a Gaussian process over superpixels (Rasmussen, Williams 2006, eq. 2.38) that takes what nobody
    clicked for background.

    Args:
        canvas: the layer.
        inside: superpixels clicked as target, none twice.
        outside: superpixels clicked as not, none twice; they win over `inside`.

    Returns:
        (n,) float64, n superpixels.
    """
    clicks = _clicks(inside, outside)
    belief = np.clip(PRIOR + _shift(canvas, clicks, np.full(len(clicks.at), PRIOR)), -1, 1)
    belief[clicks.at] = clicks.sign
    return np.clip(canvas.settled(belief, clicks.at), -1, 1)


def amend(
    canvas: Canvas, inside: NDArray[np.int64], outside: NDArray[np.int64], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far clicks move an earlier belief, which is `HELD` where a mask is and -`HELD` where it is not.

    The same process with the earlier mask as its prior mean. A superpixel of the mask leaves it where the sum falls
    below 0, one outside joins where it rises above 0. The clicked superpixels end at 1 or -1; what is far from them
    and unlike them hardly moves.

    Args:
        canvas: the layer.
        inside: superpixels clicked as target, none twice.
        outside: superpixels clicked as not, none twice; they win over `inside`.
        share: (n,) part of every superpixel that the earlier mask holds, 0..1.

    Returns:
        (n,) float64, -1 - HELD..1 + HELD.
    """
    clicks = _clicks(inside, outside)
    prior = np.where(share > 0.5, HELD, -HELD)
    shift = np.clip(prior + _shift(canvas, clicks, prior[clicks.at]), -1, 1) - prior
    # The superpixel may hold pixels of both kinds: those against the click have the longer way to go.
    shift[clicks.at] = clicks.sign * (1 + HELD)
    return np.clip(canvas.settled(shift, clicks.at), -1 - HELD, 1 + HELD)


class _Clicks(NamedTuple):
    """(k,) clicked superpixels, and (k,) 1 or -1."""

    at: NDArray[np.int64]
    sign: NDArray[np.float64]


def _clicks(inside: NDArray[np.int64], outside: NDArray[np.int64]) -> _Clicks:
    inside = np.setdiff1d(inside, outside)
    return _Clicks(np.r_[inside, outside], np.r_[np.ones(len(inside)), -np.ones(len(outside))])


def _shift(canvas: Canvas, clicks: _Clicks, prior: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) how far clicks move every superpixel, given the prior mean (k,) of the clicked ones."""
    kernel = canvas.kernel(clicks.at)
    # Ways through the graph make no exact kernel; with a little noise it is one in practice.
    among = kernel[:, clicks.at] + _NOISE * np.eye(len(clicks.at))
    return np.linalg.lstsq((among + among.T) / 2, clicks.sign - prior, rcond=None)[0] @ kernel
