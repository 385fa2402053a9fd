"""Evidence of buildings: filled rectangles with strong borders, over many thresholds of lightness and colour.

In the spirit of maximally stable regions: every threshold is cut into components, every component is scored by
how rectangular, sharply bounded and different from its surroundings it is; a pixel keeps its best score.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import cv2
import numpy as np

from geoseg_tools.classical import ops
from geoseg_tools.classical.ops import sig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask
    from geoseg_tools.classical.features import Features
    from geoseg_tools.classical.ops import Map

_RING = 3
_LEAST = 20
_FLAT = 0.05
_WORKERS = 2


def building(f: Features, water: Map, veg: Map, road: Map) -> Map:
    """(h, w) float32 evidence of buildings, 0..1."""
    best = np.zeros(f.size, np.float32)
    free = f.valid & (water <= 0.4) & (veg <= 0.6)
    if free.sum() < 30 or min(f.size) < 3:
        return best
    # Levels know nothing of each other, and the greatest of their scores is the same in any order.
    with ThreadPoolExecutor(_WORKERS) as pool:
        for scores in pool.map(lambda level: _score_level(f, *level), _levels(f, free)):
            np.maximum(best, scores, out=best)
    weak = best < 0.8
    best[weak] *= (1 - 0.8 * road)[weak]
    return best * f.valid


def _levels(f: Features, free: Mask) -> Iterator[tuple[Mask, bool]]:
    lightness, a, b = f.lightness, f.green_red, f.blue_yellow
    light = lightness[free]
    # Percentiles of a flat image fall on its few tones, so one level between them is added, and a little on top.
    for level in (*ops.percentile(light, *np.linspace(30, 96, 8)), ops.otsu(light, 50.0)):
        yield (lightness > level + _FLAT) & free, False
    if not f.grey:
        for channel in (a, b):
            for level in ops.percentile(channel[free], *np.linspace(30, 96, 3)):
                yield (channel > level) & free, False
        for level in ops.percentile(b[free], *np.linspace(15, 60, 3)):
            yield (b < level) & free, False
    # Deep shadow is darker than any roof.
    floor = float(np.clip(0.4 * ops.percentile(light, 50)[0], 10.0, 28.0))
    for level in ops.percentile(light, *np.linspace(15, 60, 4)):
        yield (lightness < level) & (lightness > floor) & free, True


def _score_level(f: Features, mask: Mask, dark: bool) -> Map:
    parts = ops.components(ops.opened3(mask), 4)
    wanted = (parts.area >= _LEAST) & (parts.area <= 0.1 * f.count)
    wanted[0] = False
    score = np.zeros(len(parts.area), np.float32)
    if wanted.any():
        # Only components that can score are measured, renumbered 1..m.
        index = np.zeros(len(parts.area), np.float32)
        index[wanted] = np.arange(1, wanted.sum() + 1)
        score[wanted] = _scores(f, index[parts.labels], parts.area[wanted], parts.centre[wanted], dark=dark)
    level: Map = score[parts.labels]
    return level


def _scores(
    f: Features, label: Map, area: NDArray[np.int64], centre: NDArray[np.float64], *, dark: bool
) -> NDArray[np.float32]:
    """(m,) scores of the components 1..m of a label image."""
    flat, valid = label.ravel(), f.valid.ravel()
    where = np.flatnonzero(flat)
    inside = _Means(where, flat[where], len(area))
    dy = (where // label.shape[1]).astype(np.float32) - centre[inside.of - 1, 1].astype(np.float32)
    dx = (where % label.shape[1]).astype(np.float32) - centre[inside.of - 1, 0].astype(np.float32)
    xx, yy, xy = inside.mean(dx * dx) + 1 / 12, inside.mean(dy * dy) + 1 / 12, inside.mean(dx * dy)
    half, root = (xx + yy) / 2, np.sqrt(((xx - yy) / 2) ** 2 + xy * xy)
    minor = np.maximum(half - root, 1e-3)
    elongation = np.sqrt((half + root) / minor)
    fill = area / (12 * np.sqrt((half + root) * minor))

    border = where[cv2.erode(label, np.ones((3, 3), np.uint8)).ravel()[where] != flat[where]]
    sharp = _Means(border, flat[border], len(area)).at(f.gmax)
    around = np.asarray(cv2.dilate(label, np.ones((2 * _RING + 1, 2 * _RING + 1), np.uint8)), np.float32).ravel()
    outside = np.flatnonzero((around > 0) & (flat == 0) & valid)
    ring = _Means(outside, around[outside], len(area))
    light, a, b = (inside.at(c) - ring.at(c) for c in (f.lightness, f.green_red, f.blue_yellow))
    lighter = light * (-0.5 if dark else 1.0)
    score: NDArray[np.float32] = (
        sig(4 * (np.maximum(lighter / 10, np.hypot(a, b) / 7) - 1))
        * sig((fill - 0.68) / 0.05)
        * sig((sharp - 8) / 1.5)
        * sig(7 - elongation)
        * sig((area - 40) / 10)
    )
    return score


class _Means:
    """Means over groups of pixels: flat indices `where`, the group 1..m of each."""

    def __init__(self, where: NDArray[np.intp], groups: NDArray[np.float32], m: int) -> None:
        self.where = where
        self.of = groups.astype(np.intp)
        self._count = np.maximum(np.bincount(self.of, minlength=m + 1)[1:], 1)

    def mean(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """(m,) means of values given for each pixel of the groups."""
        out: NDArray[np.float64] = np.bincount(self.of, values, len(self._count) + 1)[1:] / self._count
        return out

    def at(self, values: Map) -> NDArray[np.float64]:
        """(m,) means of a whole map."""
        return self.mean(values.ravel()[self.where])
