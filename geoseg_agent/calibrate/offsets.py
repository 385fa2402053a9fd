"""How far each side of the true box lies outside of the box said, in shares of the box said: what margins must cover.

    left = (x1 - t1) / w    top = (y1 - s1) / h    right = (t2 - x2) / w    bottom = (s2 - y2) / h

with x1 y1 x2 y2 the box said, w x h its size, t1 s1 t2 s2 the true box. Positive is outward: the truth reaches over
the box said, and Eq. 2 of GeoSeg (arXiv 2603.03983) holds it when alpha >= left, top and beta >= right, bottom.
Negative: the box said reaches over the truth. A drift to the right and down is left, top > 0 > right, bottom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geoseg_agent.calibrate.pairs import BoxPair
    from geoseg_tools.arrays import Size
    from geoseg_tools.geometry import Box

SizeClass = Literal["small", "medium", "large"]
SIDES: Final = ("left", "top", "right", "bottom")
QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)

SMALL, LARGE = 0.01, 0.1
"""Share of the image under which a true box is small, and from which it is large."""

LEAST_IOU: Final = 0.1
"""Overlap from which a box said means the true box: one on another thing is no drift, and no margin repairs it."""


class SideSummary(NamedTuple):
    """One side's offsets: robust figures only, a few wild boxes do not move them.

    Attributes:
        side: left, top, right or bottom.
        median: half of the offsets are larger.
        spread: 1.4826 times the median distance from it, the standard deviation where they are normal.
        quantiles: at `QUANTILES`.
        outward: share of the boxes over which the truth reaches on this side.
    """

    side: str
    median: float
    spread: float
    quantiles: tuple[float, ...]
    outward: float


class Summary(NamedTuple):
    """The offsets of a group: "all", "small", "medium" or "large"."""

    group: str
    pairs: int
    sides: tuple[SideSummary, ...]


def size_class(box: Box, size: Size) -> SizeClass:
    """Which class a true box is in: its share of the image of `size` (H, W) under 1 %, under 10 %, or more."""
    share = box.area / (size[0] * size[1])
    if share < SMALL:
        return "small"
    return "medium" if share < LARGE else "large"


def overlapping(pairs: Sequence[BoxPair], least_iou: float = LEAST_IOU) -> list[BoxPair]:
    """The pairs whose box, as it was read, overlaps the true one by `least_iou` or more."""
    return [pair for pair in pairs if pair.predicted is not None and pair.predicted.iou(pair.true) >= least_iou]


def offsets(pairs: Sequence[BoxPair]) -> NDArray[np.float64]:
    """(n, 4) outward offsets left, top, right, bottom of pairs that have a predicted box, in shares of its side."""
    found = np.empty((len(pairs), 4))
    for row, pair in zip(found, pairs, strict=True):
        said, true = pair.predicted, pair.true
        if said is None:
            raise ValueError("a pair without a predicted box has no offsets; see `overlapping`")
        row[:] = (
            (said.x1 - true.x1) / said.width,
            (said.y1 - true.y1) / said.height,
            (true.x2 - said.x2) / said.width,
            (true.y2 - said.y2) / said.height,
        )
    return found


def by_size(pairs: Sequence[BoxPair]) -> dict[str, list[BoxPair]]:
    """The group "all", and each size class that occurs, with its pairs."""
    found: dict[str, list[BoxPair]] = {"all": list(pairs), "small": [], "medium": [], "large": []}
    for pair in pairs:
        found[size_class(pair.true, pair.size)].append(pair)
    return {name: group for name, group in found.items() if group}


def summarise(pairs: Sequence[BoxPair]) -> tuple[Summary, ...]:
    """The offsets of all pairs, and of each size class."""
    return tuple(
        Summary(name, len(group), tuple(map(_side, SIDES, offsets(group).T)))
        for name, group in by_size(pairs).items()
    )


def _side(name: str, values: NDArray[np.float64]) -> SideSummary:
    middle = float(np.median(values))
    return SideSummary(
        side=name,
        median=middle,
        spread=float(1.4826 * np.median(np.abs(values - middle))),
        quantiles=tuple(float(value) for value in np.quantile(values, QUANTILES)),
        outward=float((values > 0).mean()),
    )
