"""Evidence of buildings: filled rectangles with strong borders, over many thresholds of lightness and colour.

In the spirit of maximally stable regions: every threshold is cut into components, every component is scored by
how rectangular, sharply bounded and different from its surroundings it is; a pixel keeps its best score.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from geoseg_tools.classical import ops
from geoseg_tools.classical.both import both
from geoseg_tools.classical.ops import sig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask, Size
    from geoseg_tools.classical.features import Features
    from geoseg_tools.classical.ops import Map

_RING = 3
_LEAST = 20
_FLAT = 0.05


def building(f: Features, water: Map, veg: Map, road: Callable[[], Map], *, threads: int = 2) -> Map:
    """(h, w) float32 evidence of buildings, 0..1, by one or two threads; that of roads may be made meanwhile."""
    free = f.valid & (water <= 0.4) & (veg <= 0.6)
    if free.sum() < 30 or min(f.size) < 3:
        return np.zeros(f.size, np.float32)
    # Levels know nothing of each other, and the greatest of their scores is the same in any order.
    levels = deque(_levels(f, free))
    (roads, some), others = both(lambda: (road(), _best(f, levels)), partial(_best, f, levels), threads)
    best = np.maximum(some, others)
    weak = best < 0.8
    best[weak] *= (1 - 0.8 * roads)[weak]
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


def _best(f: Features, levels: deque[tuple[Mask, bool]]) -> Map:
    """The best score of every pixel in what is left of the levels, each of which one thread takes."""
    best = np.zeros(f.size, np.float32)
    flat = best.ravel()
    while True:
        try:
            mask, dark = levels.popleft()
        except IndexError:
            return best
        where, scores = _score_level(f, mask, dark=dark)
        flat[where] = np.maximum(flat[where], scores)


class _Scored(NamedTuple):
    """Flat indices of pixels, and the score of the component that each lies in."""

    where: NDArray[np.intp]
    scores: NDArray[np.float32]


def _score_level(f: Features, mask: Mask, *, dark: bool) -> _Scored:
    spots = ops.opened3(mask)
    where = np.flatnonzero(spots)
    of = ops.numbered(spots, 4).ravel()[where].astype(np.intp)
    area = np.bincount(of)
    wanted = (area >= _LEAST) & (area <= 0.1 * f.count)
    # Only components that can score are measured, renumbered 1..m.
    number = np.zeros(len(area), np.intp)
    number[wanted] = np.arange(1, wanted.sum() + 1)
    of = number[of]
    kept = of > 0
    where, of = where[kept], of[kept]
    if not len(where):
        return _Scored(where, np.zeros(0, np.float32))
    return _Scored(where, _scores(f, _Means(where, of, area[wanted]), dark=dark)[of - 1])


def _scores(f: Features, inside: _Means, *, dark: bool) -> NDArray[np.float32]:
    """(m,) scores of components."""
    where, of, area = inside.where, inside.of, inside.area
    dy, dx = (inside.offsets(axis) for axis in _axes(f.size))
    xx, yy, xy = inside.mean(dx * dx) + 1 / 12, inside.mean(dy * dy) + 1 / 12, inside.mean(dx * dy)
    half, root = (xx + yy) / 2, np.sqrt(((xx - yy) / 2) ** 2 + xy * xy)
    minor = np.maximum(half - root, 1e-3)
    elongation = np.sqrt((half + root) / minor)
    fill = area / (12 * np.sqrt((half + root) * minor))

    # There are fewer components than 1/_LEAST of a working size, which 16 bits can count.
    label = np.zeros(f.size, np.uint16)
    flat = label.ravel()
    flat[where] = of
    rim = cv2.erode(label, np.ones((3, 3), np.uint8)).ravel()[where] != of
    sharp = _Means.among(where[rim], of[rim], len(area)).at(f.gmax)
    around = cv2.dilate(label, np.ones((2 * _RING + 1, 2 * _RING + 1), np.uint8))
    outside = np.flatnonzero((around > 0) & (label == 0) & f.valid)
    ring = _Means.among(outside, around.ravel()[outside].astype(np.intp), len(area))
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


@lru_cache(maxsize=2)
def _axes(size: Size) -> tuple[Map, Map]:
    """(h, w) float32 row and column of every pixel."""
    y, x = np.indices(size, np.float32)
    return y, x


class _Means:
    """Means over groups of pixels: flat indices `where`, the group 1..m of each, the pixels (m,) of each group."""

    def __init__(self, where: NDArray[np.intp], of: NDArray[np.intp], area: NDArray[np.intp]) -> None:
        self.where = where
        self.of = of
        self.area = area

    @classmethod
    def among(cls, where: NDArray[np.intp], of: NDArray[np.intp], m: int) -> Self:
        """The same of groups that are yet to be counted; those without a pixel have a mean of 0."""
        return cls(where, of, np.maximum(np.bincount(of, minlength=m + 1)[1:], 1))

    def mean(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """(m,) means of values given for each pixel of the groups."""
        out: NDArray[np.float64] = np.bincount(self.of, values, len(self.area) + 1)[1:] / self.area
        return out

    def at(self, values: Map) -> NDArray[np.float64]:
        """(m,) means of a whole map."""
        return self.mean(values.ravel()[self.where])

    def offsets(self, values: Map) -> NDArray[np.float32]:
        """(k,) how far each pixel of the groups is from the mean of its group, on a whole map."""
        own = values.ravel()[self.where]
        middle = self.mean(own).astype(np.float32)
        off: NDArray[np.float32] = own - middle[self.of - 1]
        return off
