"""The colour guided filter (He, Sun, Tang 2013): a map made to follow the edges of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.classical.ops import Map


def guided(guide: NDArray[np.float32], values: Map, radius: int = 3, eps: float = 9.0) -> Map:
    """Smooth `values` as a local linear function of the colours of `guide`.

    Args:
        guide: (h, w, 3) float32, Lab.
        values: (h, w) float32.
        radius: of the window, in pixels.
        eps: variance of the guide, squared Lab units, below which it counts as flat.
    """
    side = 2 * radius + 1

    def box(image: NDArray[Any]) -> NDArray[Any]:
        return cast("NDArray[Any]", cv2.blur(image, (side, side), borderType=cv2.BORDER_REFLECT))

    centred = guide - guide.mean(axis=(0, 1), keepdims=True, dtype=np.float32)
    g = [np.ascontiguousarray(centred[..., c]) for c in range(3)]
    mean_g, mean_v = [box(c) for c in g], box(values)
    cov = [box(c * values) - m * mean_v for c, m in zip(g, mean_g, strict=True)]
    ll, la, lb, aa, ab, bb = (
        box(g[i] * g[j]) - mean_g[i] * mean_g[j] + (eps if i == j else 0)
        for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    )
    # The inverse of the symmetric 3x3 covariance of every window, by cofactors.
    c00, c01, c02 = aa * bb - ab * ab, lb * ab - la * bb, la * ab - lb * aa
    c11, c12, c22 = ll * bb - lb * lb, la * lb - ll * ab, ll * aa - la * la
    det = ll * c00 + la * c01 + lb * c02
    slope = [
        (c00 * cov[0] + c01 * cov[1] + c02 * cov[2]) / det,
        (c01 * cov[0] + c11 * cov[1] + c12 * cov[2]) / det,
        (c02 * cov[0] + c12 * cov[1] + c22 * cov[2]) / det,
    ]
    offset = mean_v - slope[0] * mean_g[0] - slope[1] * mean_g[1] - slope[2] * mean_g[2]
    out = box(offset) + box(slope[0]) * g[0] + box(slope[1]) * g[1] + box(slope[2]) * g[2]
    bounded: Map = np.clip(out, 0, 1).astype(np.float32)
    return bounded
