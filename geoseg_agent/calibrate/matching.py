"""Which box said answers which true box, where there are several.

The assignment of the largest sum of intersection over union (Kuhn 1955; `scipy.optimize.linear_sum_assignment`). A
wrong frame moves boxes away from what they mean, so the assignment is made in each reading, and the reading with the
largest sum over all replies is the one that counts; it only decides who belongs to whom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from geoseg_agent.calibrate.pairs import reading_name
from geoseg_agent.calibrate.readings import READINGS, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from geoseg_agent.calibrate.pairs import BoxPair, Said


class Matched(NamedTuple):
    """What belongs together, and what is left over.

    Attributes:
        pairs: in the order of the replies.
        extra: boxes said that answer no true box, of replies that were worked with.
        missed: true boxes that no box answers, of the same replies.
        refused: replies that the recorded reading made no boxes of; their pairs have no predicted box.
        reading: the reading that the assignment was made in.
    """

    pairs: tuple[BoxPair, ...]
    extra: int
    missed: int
    refused: int
    reading: str


def match(said: Sequence[Said]) -> Matched:
    """Pair the boxes of every reply.

    One box said where one was asked for is a pair however far apart they are: it may be in another frame, or on
    another thing. Of several, those without any overlap stay alone.
    """
    recorded = dict.fromkeys(reading_name(one.read) for one in said)
    names = list(dict.fromkeys([*recorded, *READINGS]))
    alone = all(len(one.numbers) <= 1 and len(one.true) <= 1 for one in said)
    choices = {name: [_assigned(one, name) for one in said] for name in (names[:1] if alone else names)}
    sums = {name: sum(total for _, total in found) for name, found in choices.items()}
    best = max(sums, key=lambda name: sums[name])
    pairs, extra, missed = [], 0, 0
    for one, (places, _) in zip(said, choices[best], strict=True):
        pairs += [one.pair(first, second) for first, second in places]
        if not one.refused:
            extra += len(one.numbers) - len(places)
            missed += len(one.true) - len(places)
    return Matched(tuple(pairs), extra, missed, sum(one.refused for one in said), best)


def _assigned(one: Said, reading: str) -> tuple[list[tuple[int, int]], float]:
    """Places of the boxes said and true that belong together, and the sum of their IoU."""
    if not one.numbers or not one.true:
        return [], 0.0
    iou = iou_matrix([read(numbers, reading, one.size, one.sent) for numbers in one.numbers], one.true)
    rows, columns = linear_sum_assignment(iou, maximize=True)
    single = iou.shape == (1, 1)
    places = [
        (int(row), int(column)) for row, column in zip(rows, columns, strict=True) if single or iou[row, column] > 0
    ]
    return places, float(iou[rows, columns].sum())


def iou_matrix(said: Iterable[Iterable[float]], true: Iterable[Iterable[float]]) -> NDArray[np.float64]:
    """(n, m) intersection over union, 0..1, of n and m boxes x1, y1, x2, y2; an inverted box has no area."""
    first = np.array([tuple(box) for box in said], dtype=np.float64)[:, None]
    second = np.array([tuple(box) for box in true], dtype=np.float64)[None]
    low, high = np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])
    common = np.clip(high - low, 0, None).prod(axis=-1)
    areas = [np.clip(box[..., 2:] - box[..., :2], 0, None).prod(axis=-1) for box in (first, second)]
    union = areas[0] + areas[1] - common
    iou: NDArray[np.float64] = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return iou
