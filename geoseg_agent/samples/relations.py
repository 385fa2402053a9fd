"""Which objects stand in a relation, decided only where the decision is beyond doubt.

A superlative needs a clear winner; a neighbourhood needs a gap between those that belong to it and those that do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from geoseg_agent.samples.values import SampleInstance
    from geoseg_tools.arrays import Mask, Size

End = Literal["westernmost", "northernmost", "easternmost", "southernmost"]

ENDS: Final[dict[End, tuple[int, int]]] = {
    "westernmost": (0, 1),
    "northernmost": (1, 1),
    "easternmost": (2, -1),
    "southernmost": (3, -1),
}
"""Which coordinate of a box decides, and its sign."""

_CLEAR: Final = 0.8
"""The second largest must be smaller than this share of the largest."""
_AHEAD: Final = 3.0
"""Metres by which the closest, or the outermost, must lead the next."""
_NEAR: Final = (12.0, 34.0, 6.0)
"""Metres: "beside" ends between the first two, in the middle of the widest gap, which must be at least the third."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """The objects of a scene. Every method answers a (H, W) bool mask, or None where nothing is beyond doubt.

    Attributes:
        instances: the objects, each with its mask in its own box.
        size: (H, W) of the scene.
        metres: side of a pixel.
    """

    instances: Sequence[SampleInstance]
    size: Size
    metres: float

    def which(self, concept: str, word: str) -> Mask | None:
        """Those of a class of which a word is true."""
        return self._draw(item.id for item in self._of(concept) if word in item.attributes)

    def largest(self, concept: str) -> Mask | None:
        """The one that covers most."""
        areas = sorted(((int(item.mask.sum()), item.id) for item in self._of(concept)), reverse=True)
        if len(areas) < 2 or areas[1][0] > _CLEAR * areas[0][0]:
            return None
        return self._draw([areas[0][1]])

    def outermost(self, concept: str, end: End) -> Mask | None:
        """The one that reaches furthest towards one side of the image; north is up."""
        axis, sign = ENDS[end]
        return self._least({item.id: sign * tuple(item.box)[axis] * self.metres for item in self._of(concept)})

    def closest(self, concept: str, reference: Mask) -> Mask | None:
        """The one nearest to `reference`."""
        return self._least(self._distances(concept, reference))

    def beside(self, concept: str, reference: Mask) -> Mask | None:
        """All that are near `reference`, where a gap parts them from the rest."""
        away = self._distances(concept, reference)
        low, high, least = _NEAR
        steps = [*sorted(metres for metres in away.values() if metres <= high), high]
        gaps = [(after - before, (before + after) / 2) for before, after in pairwise(steps)]
        width, end = max((gap for gap in gaps if gap[1] + gap[0] / 2 > low), default=(0.0, 0.0))
        return self._draw(number for number, metres in away.items() if metres < end) if width >= least else None

    def _of(self, concept: str) -> list[SampleInstance]:
        return [item for item in self.instances if item.concept == concept]

    def _distances(self, concept: str, reference: Mask) -> dict[int, float]:
        """Metres from `reference` to the nearest pixel of each object."""
        away = cv2.distanceTransform((~reference).astype(np.uint8), cv2.DIST_L2, 5) * self.metres
        return {item.id: float(away[item.box.slices][item.mask].min()) for item in self._of(concept)}

    def _least(self, ranked: Mapping[int, float]) -> Mask | None:
        order = sorted((value, number) for number, value in ranked.items())
        if len(order) < 2 or order[1][0] - order[0][0] < _AHEAD:
            return None
        return self._draw([order[0][1]])

    def _draw(self, numbers: Iterable[int]) -> Mask | None:
        wanted = set(numbers)
        canvas = np.zeros(self.size, dtype=np.bool_)
        for item in self.instances:
            if item.id in wanted:
                canvas[item.box.slices] |= item.mask
        return canvas if wanted else None
