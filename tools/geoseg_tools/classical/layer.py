"""A window of a scene as superpixels with features and a neighbour graph: what boxes and clicks work on.

Smoothing: Grady: Multilabel Random Walker Image Segmentation Using Prior Models, CVPR 2005, and Random Walks for
Image Segmentation, IEEE TPAMI 28 (2006).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import cv2
import numpy as np
from scipy.sparse import coo_array, csc_array, diags_array
from scipy.sparse.linalg import splu

from geoseg_tools.classical import ops, texture
from geoseg_tools.classical.both import both
from geoseg_tools.classical.guided import guided
from geoseg_tools.classical.lazy import lazy
from geoseg_tools.classical.learner import basis
from geoseg_tools.classical.superpixels import Neighbours, neighbours, superpixels
from geoseg_tools.geometry import whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask
    from geoseg_tools.classical.features import Features
    from geoseg_tools.classical.ops import Labels, Map
    from geoseg_tools.crop import Scene
    from geoseg_tools.geometry import Box

SIDE = 320
_ENLARGE = 3.0
_MAD = 1.48


@dataclass(frozen=True, eq=False)
class Layer:
    """Superpixels of a window.

    Attributes:
        window: the part of the scene, absolute pixels.
        lab: (h, w, 3) float32 smoothed Lab at layer resolution.
        valid: (h, w) bool.
        labels: (h, w) int32, superpixels 0..n-1.
        area: (n,) pixels of each.
        vectors: (n, d) float32 standardised features.
        graph: touching pairs.
    """

    window: Box
    lab: NDArray[np.float32]
    valid: Mask
    labels: Labels
    area: NDArray[np.float64]
    vectors: NDArray[np.float32]
    graph: Neighbours

    @property
    def count(self) -> int:
        """Number of superpixels."""
        return len(self.area)

    def mean(self, values: Map) -> NDArray[np.float64]:
        """(n,) mean of a map at layer resolution over every superpixel."""
        out: NDArray[np.float64] = np.bincount(self.labels.ravel(), values.ravel(), self.count) / self.area
        return out

    def where(self, chosen: NDArray[np.int64]) -> Mask:
        """(h, w) bool: the pixels of the chosen superpixels."""
        among = np.zeros(self.count, np.bool_)
        among[chosen] = True
        found: Mask = among[self.labels]
        return found

    @lazy
    def design(self) -> NDArray[np.float32]:
        """(n, p) what the learner sees of every superpixel."""
        return basis(self.vectors)

    @lazy
    def distances(self) -> NDArray[np.float64]:
        """(m,) squared feature distance of every touching pair, on average 1."""
        delta = (self.vectors[self.graph.i] - self.vectors[self.graph.j]).astype(np.float64) ** 2
        squared = delta[:, :3].sum(axis=1) + 0.3 * delta[:, 3:].sum(axis=1)
        return cast("NDArray[np.float64]", squared / max(float(squared.mean()) if len(squared) else 1.0, 1e-9))

    def smooth(self, values: NDArray[np.float64], own: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """A random walker with priors: keep to `values` with weight `own`, and to alike neighbours.

        Solves the minimum of own (x - values)^2 + w (x_i - x_j)^2 over all pairs.
        """
        if not len(self.graph.i):
            return values
        out: NDArray[np.float64] = splu(self.system(own)).solve(np.asarray(own, np.float64) * values)
        return out

    def system(self, own: float | NDArray[np.float64]) -> csc_array:
        """(n, n) what `smooth` solves: the graph's Laplacian with `own` added to its diagonal."""
        weight = np.exp(-2 * self.distances) * self.graph.length / 10
        n = self.count
        i, j = self.graph.i, self.graph.j
        pull = coo_array((np.r_[weight, weight], (np.r_[i, j], np.r_[j, i])), shape=(n, n))
        anchor = np.broadcast_to(np.asarray(own, np.float64), (n,))
        return csc_array(diags_array(anchor + pull.sum(axis=1)) - pull)

    def pixels(self, values: NDArray[np.float64]) -> Map:
        """(h, w) float32: values of superpixels brought to pixels along the edges of the image."""
        return guided(self.lab, values[self.labels].astype(np.float32))


def layer_of(scene: Scene, window: Box, *, side: int = SIDE, cell: int = 7) -> Layer:
    """Cut a window of a scene into superpixels, at most `side` pixels long, enlarged at most three times."""
    scale = min(_ENLARGE, side / max(window.size))
    size = (max(1, round(window.height * scale)), max(1, round(window.width * scale)))
    pixels, seen = scene.view(window, size)
    valid = np.ones(size, np.bool_)
    if seen is not None:
        valid = ops.shrink(seen.view(np.uint8) * np.uint8(255), size) > 127
    # Whole numbers first: a copy of the window in floats would be four times its size.
    small = cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    lab = ops.lab(small.astype(np.float32) / np.float32(255))
    if not valid.all() and valid.any():
        lab[~valid] = np.median(lab[valid], axis=0)
    smooth = texture.smoothed(lab)
    cut, channels = both(partial(_cut, smooth, cell), partial(texture.channels, lab, smooth))
    return Layer(window, smooth, valid, cut.labels, cut.area, _vectors(lab, channels, cut), cut.graph)


def scene_layer(f: Features, cell: int = 9) -> Layer:
    """A whole scene at working size as superpixels, from the features that its evidence was read from."""
    cut = _cut(f.lab, cell)
    table = np.stack([cut.mean(values) for values in _channels(f)], axis=1)
    weights = np.array([1, 1.2, 1.2, 0.6, 0.6, 0.6, 0.7, 0.7, 0.5, 0.5])
    floors = np.array([5, 2, 2, 5, 2, 2, 0.1, 0.1, 0.1, 0.05])
    return Layer(whole(f.full), f.lab, f.valid, cut.labels, cut.area, standardised(table, weights, floors), cut.graph)


class _Cut(NamedTuple):
    """Superpixels as in `Layer`."""

    labels: Labels
    area: NDArray[np.float64]
    graph: Neighbours

    def mean(self, values: Map) -> NDArray[np.float64]:
        """(n,) mean of a map over every superpixel."""
        out: NDArray[np.float64] = np.bincount(self.labels.ravel(), values.ravel(), len(self.area)) / self.area
        return out


def _cut(smooth: NDArray[np.float32], cell: int) -> _Cut:
    labels = superpixels(smooth, cell)
    return _Cut(labels, np.bincount(labels.ravel()).astype(np.float64), neighbours(labels))


def _channels(f: Features) -> Iterator[Map]:
    yield from (f.lightness, f.green_red, f.blue_yellow)
    wide = ops.blur(f.lab, 4)
    yield from (np.ascontiguousarray(wide[..., c]) for c in range(3))
    yield from (np.log1p(rough) for rough in (f.std, f.std6, f.gmax))
    yield f.edges


def _vectors(lab: NDArray[np.float32], channels: Sequence[Map], cut: _Cut) -> NDArray[np.float32]:
    columns = np.stack([cut.mean(values) for values in channels], axis=1)
    parts = [np.ascontiguousarray(lab[..., c]) for c in range(3)]
    spread = [np.log1p(np.sqrt(np.maximum(cut.mean(p * p) - cut.mean(p) ** 2, 0))) for p in parts]
    table = np.column_stack([columns, *spread])
    weights = np.r_[texture.WEIGHTS, 0.12, 0.08, 0.08]
    floors = np.r_[texture.FLOORS, 0.1, 0.1, 0.1]
    return standardised(table, weights, floors)


def standardised(table: NDArray[np.float64], weights: NDArray[Any], floors: NDArray[Any]) -> NDArray[np.float32]:
    """(n, d) columns centred on their median, divided by a robust spread of at least the floor, weighted."""
    middle = np.median(table, axis=0)
    scale = np.maximum.reduce([_MAD * np.median(np.abs(table - middle), axis=0), 0.6 * table.std(axis=0), floors])
    out: NDArray[np.float32] = np.clip((table - middle) / scale * weights, -5, 5).astype(np.float32)
    return out
