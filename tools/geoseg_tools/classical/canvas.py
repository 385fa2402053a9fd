"""What all clicks on one layer share, so that one more click costs little.

Calls are stateless: the same clicks come again with one more. What is kept per clicked superpixel depends on nothing
but the layer, so no answer depends on what was asked before.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import RLock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.sparse.linalg import splu

from geoseg_tools.classical.both import both
from geoseg_tools.classical.guided import Guide
from geoseg_tools.classical.lazy import lazy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from scipy.sparse.linalg import SuperLU

    from geoseg_tools.classical.layer import Layer
    from geoseg_tools.classical.ops import Map

KEPT = 64
"""Clicked superpixels that are remembered per canvas: two arrays of float64 over all superpixels each."""

_OWN = 0.25
_FIXED = 50.0
_REACH = 6.0
_ALIKE = 1.0
_FLOOR = 0.15


class _Clicked(NamedTuple):
    kernel: NDArray[np.float64]
    response: NDArray[np.float64]


class Canvas:
    """A layer that is clicked on, and what its clicks have in common; safe to use from several threads."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self._clicked: OrderedDict[int, _Clicked] = OrderedDict()
        self._lock = RLock()

    def __len__(self) -> int:
        """How many clicked superpixels are remembered."""
        return len(self._clicked)

    def kernel(self, at: NDArray[np.int64]) -> NDArray[np.float64]:
        """(k, n) how much each of k clicked superpixels says about each of n, 0..1, 1 about itself.

        Alike features, and more so where the way through the graph is short: a wall between two roofs counts.
        """
        return self._rows(at)[0]

    def settled(self, values: NDArray[np.float64], at: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n,) `values` after `Layer.smooth` with those of the k superpixels `at` held fast.

        The system is factored once; clicks change its diagonal in k places (Woodbury's identity).
        """
        pull = np.full(self.layer.count, _OWN)
        pull[at] = _FIXED
        if not len(self.layer.graph.i):
            return values
        with self._lock:
            free: NDArray[np.float64] = self._factor.solve(pull * values)
        response = self._rows(at)[1]
        system = response[:, at] + np.eye(len(at)) / (_FIXED - _OWN)
        return free - np.linalg.solve(system, free[at]) @ response

    def pixels(self, values: NDArray[np.float64]) -> Map:
        """As `Layer.pixels`: (h, w) float32, values of superpixels brought to pixels along the edges of the image."""
        with self._lock:
            guide = self._guide
        return guide.filter(values.astype(np.float32)[self.layer.labels])

    def _rows(self, at: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        with self._lock:
            asked = [int(i) for i in at]
            self._remember([i for i in asked if i not in self._clicked])
            for i in asked:
                self._clicked.move_to_end(i)
            rows = [self._clicked[i] for i in asked]
            while len(self._clicked) > KEPT:
                self._clicked.popitem(last=False)
        empty = np.zeros((0, self.layer.count))
        return np.array([row.kernel for row in rows] or empty), np.array([row.response for row in rows] or empty)

    def _remember(self, fresh: Sequence[int]) -> None:
        if fresh:
            # Ways through the graph and solutions of the system know nothing of each other.
            kernels, responses = both(
                lambda: [self._kernel(i) for i in fresh], lambda: [self._response(i) for i in fresh]
            )
            self._clicked.update(zip(fresh, map(_Clicked, kernels, responses), strict=True))

    def _kernel(self, i: int) -> NDArray[np.float64]:
        vectors = self.layer.vectors
        way = dijkstra(self._ways, directed=False, indices=i)
        unlike = ((vectors - vectors[i]) ** 2).sum(axis=1, dtype=np.float64)
        near = np.exp(-((way / _REACH) ** 2) / 2)
        kernel: NDArray[np.float64] = np.exp(-unlike / (2 * _ALIKE**2)) * (_FLOOR + (1 - _FLOOR) * near)
        return kernel

    def _response(self, i: int) -> NDArray[np.float64]:
        unit = np.zeros(self.layer.count)
        unit[i] = 1
        response: NDArray[np.float64] = self._factor.solve(unit) if len(self.layer.graph.i) else unit
        return response

    @lazy
    def _ways(self) -> csr_array:
        i, j, _ = self.layer.graph
        cost = np.sqrt(self.layer.distances) + 0.05
        return csr_array((cost, (i, j)), shape=(self.layer.count, self.layer.count))

    @lazy
    def _factor(self) -> SuperLU:
        return splu(self.layer.system(_OWN), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})

    @lazy
    def _guide(self) -> Guide:
        return Guide(self.layer.lab)
