"""The colour guided filter: a map made to follow the edges of an image.

He, Sun, Tang: Guided Image Filtering, IEEE TPAMI 35 (2013), section 3.5 for a guide in colour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.classical.ops import Map


class Guide:
    """An image that maps are made to follow; what depends on it alone is computed once.

    Args:
        image: (h, w, 3) float32, Lab.
        radius: of the window, in pixels.
        eps: variance of the image, squared Lab units, below which it counts as flat.
    """

    def __init__(self, image: NDArray[np.float32], radius: int = 3, eps: float = 9.0) -> None:
        self._side = 2 * radius + 1
        middle = image.mean(axis=(0, 1), dtype=np.float32)
        g = [image[..., c] - middle[c] for c in range(3)]
        mean = [self._box(c) for c in g]
        ll, la, lb, aa, ab, bb = (
            self._box(g[i] * g[j]) - mean[i] * mean[j] + (eps if i == j else 0)
            for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
        )
        # The inverse of the symmetric 3x3 covariance of every window, by cofactors.
        c00, c01, c02 = aa * bb - ab * ab, lb * ab - la * bb, la * ab - lb * aa
        c11, c12, c22 = ll * bb - lb * lb, la * lb - ll * ab, ll * aa - la * la
        self._det = ll * c00 + la * c01 + lb * c02
        self._cofactors = ((c00, c01, c02), (c01, c11, c12), (c02, c12, c22))
        self._channels, self._mean = g, mean

    def filter(self, values: Map) -> Map:
        """(h, w) float32, cut to 0..1: `values` (h, w) float32 as a local linear function of the image's colours."""
        mean = self._box(values)
        a, b, c = (self._box(g * values) - m * mean for g, m in zip(self._channels, self._mean, strict=True))
        slope = [(row[0] * a + row[1] * b + row[2] * c) / self._det for row in self._cofactors]
        offset = mean - slope[0] * self._mean[0] - slope[1] * self._mean[1] - slope[2] * self._mean[2]
        out = self._box(offset)
        for part, g in zip(slope, self._channels, strict=True):
            out = out + self._box(part) * g
        bounded: Map = np.clip(out, 0, 1).astype(np.float32)
        return bounded

    def _box(self, image: NDArray[Any]) -> NDArray[Any]:
        return cast("NDArray[Any]", cv2.blur(image, (self._side, self._side), borderType=cv2.BORDER_REFLECT))


def guided(guide: NDArray[np.float32], values: Map, radius: int = 3, eps: float = 9.0) -> Map:
    """Smooth `values` (h, w) float32 once along the edges of `guide`; the arguments are those of `Guide`."""
    return Guide(guide, radius, eps).filter(values)
