"""Targets of overlapping windows as the things they are: each once, and whole where a window's border cut it. Pure.

Two targets of different windows are one thing where they agree on the part that both windows show. That covers a
thing seen twice and a thing of which each window shows an end; a thing over four windows is put together in pairs.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geoseg_agent.types import Target
    from geoseg_tools.arrays import Mask, Size

SAME: Final = 0.5
"""Intersection over union, in the part that both windows show, from which two targets are one."""

INSIDE: Final = 0.8
"""Share of the smaller that lies in the larger from which a target that a border cuts is a piece of the other."""

_BORDER: Final = 0.02
"""Share of a window's side by which the box of a cut thing may miss the border."""


class Seen(NamedTuple):
    """A target, and the window it was seen in; both absolute pixels."""

    target: Target
    window: Box


def merged(seen: Sequence[Seen], size: Size) -> tuple[Target, ...]:
    """The targets with those that are one thing as one, in the order in which they were first seen.

    Of a thing that some window shows whole, the target farthest from its window's borders is kept as it is. The
    pieces of one that no window shows whole become their common box, with the union of their masks where all have
    one, and the phrase and confidence of the largest.

    Args:
        seen: what the windows gave, window by window.
        size: (h, w) of the image, whose own border cuts nothing that could be put together.
    """
    groups = _groups(seen, size)
    return tuple(_one([seen[index] for index in group], size) for group in groups)


def _groups(seen: Sequence[Seen], size: Size) -> list[list[int]]:
    parent = list(range(len(seen)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for a, b in _neighbours(seen):
        if root(a) != root(b) and _is_one(seen[a], seen[b], size):
            first, second = sorted((root(a), root(b)))
            parent[second] = first

    def gathered() -> list[list[int]]:
        groups: dict[int, list[int]] = {}
        for index in range(len(seen)):
            groups.setdefault(root(index), []).append(index)
        return list(groups.values())

    for group in gathered():
        if all(_is_cut(seen[index], size) for index in group):
            other = _continued(seen, group)
            if other is not None:
                parent[root(group[0])] = root(other)
    return sorted(gathered())


def _neighbours(seen: Sequence[Seen]) -> Iterator[tuple[int, int]]:
    """Pairs of different windows whose boxes touch, found along x."""
    order = sorted(range(len(seen)), key=lambda index: seen[index].target.box.x1)
    for place, a in enumerate(order):
        for b in order[place + 1 :]:
            if seen[b].target.box.x1 >= seen[a].target.box.x2:
                break
            if seen[a].window != seen[b].window:
                yield a, b


def _is_one(a: Seen, b: Seen, size: Size) -> bool:
    common = a.window.intersection(b.window)
    if common is None:
        return False
    mine, theirs = a.target.box.intersection(common), b.target.box.intersection(common)
    if mine is None or theirs is None or mine.intersection(theirs) is None:
        return False
    shared, areas = _overlap(a.target, b.target, mine, theirs)
    if not shared:
        return False
    if shared >= SAME * (sum(areas) - shared):
        return True
    # Boxes of a model miss by some pixels, which is much of a narrow piece: it then lies in the other.
    piece = a if areas[0] <= areas[1] else b
    inside = shared >= INSIDE * min(areas)
    return inside and _is_cut(piece, size) and _alike(a.target.phrase, b.target.phrase)


def _reach(window: Box) -> int:
    return math.ceil(_BORDER * max(window.size))


def _continued(seen: Sequence[Seen], group: Sequence[int]) -> int | None:
    """The target of another window that pieces, which match no other closely, belong to; or None.

    In a narrow strip that both windows show, boxes of a model may miss each other: how far is allowed for here, and
    of those near enough the one that covers most counts.
    """
    best: tuple[int, int | None] = (0, None)
    for piece in (seen[index] for index in group):
        reach = _reach(piece.window)
        for index, other in enumerate(seen):
            if index in group or other.window == piece.window or not _alike(piece.target.phrase, other.target.phrase):
                continue
            x1, y1, x2, y2 = other.target.box
            grown = Box(max(0, x1 - reach), max(0, y1 - reach), x2 + reach, y2 + reach)
            part = piece.target.box.intersection(other.window)
            common = None if part is None else part.intersection(grown)
            if part is not None and common is not None and max(INSIDE * part.area, best[0] + 1) <= common.area:
                best = (common.area, index)
    return best[1]


def _overlap(a: Target, b: Target, mine: Box, theirs: Box) -> tuple[int, tuple[int, int]]:
    """Common pixels and pixels of each in the part both windows show: of masks where both have one, else of boxes."""
    both = mine.intersection(theirs)
    if both is None:
        return 0, (mine.area, theirs.area)
    if a.within is None or b.within is None:
        return both.area, (mine.area, theirs.area)
    ours, others = _cut_out(a, both), _cut_out(b, both)
    return int((ours & others).sum()), (int(_cut_out(a, mine).sum()), int(_cut_out(b, theirs).sum()))


def _cut_out(target: Target, part: Box) -> Mask:
    if target.within is None:
        raise ValueError("a target without a mask has nothing to cut out")
    return target.within[part.relative_to(target.box).slices]


def _is_cut(seen: Seen, size: Size) -> bool:
    """Whether the box reaches a border of its window inside the image, as far as a model can tell."""
    box, window = seen.target.box, seen.window
    across, down = _BORDER * window.width, _BORDER * window.height
    return (
        (window.x1 > 0 and box.x1 - window.x1 <= across)
        or (window.x2 < size[1] and window.x2 - box.x2 <= across)
        or (window.y1 > 0 and box.y1 - window.y1 <= down)
        or (window.y2 < size[0] and window.y2 - box.y2 <= down)
    )


def _alike(a: str, b: str) -> bool:
    """Whether two phrases share a word: one thing is called with more or fewer adjectives."""
    return bool(set(re.findall(r"\w+", a.casefold())) & set(re.findall(r"\w+", b.casefold())))


def _one(group: Sequence[Seen], size: Size) -> Target:
    if len(group) == 1:
        return group[0].target
    whole = [seen for seen in group if not _is_cut(seen, size)]
    largest = max(group, key=lambda seen: seen.target.box.area).target
    if whole:
        best = max(whole, key=_away).target
        # A window may show a part of it whole, as it seems: what the others saw of it goes beyond.
        if best.box.area >= SAME * largest.box.area:
            return best
    boxes = [seen.target.box for seen in group]
    lows, highs = [(box.x1, box.y1) for box in boxes], [(box.x2, box.y2) for box in boxes]
    box = Box(*map(min, zip(*lows, strict=True)), *map(max, zip(*highs, strict=True)))
    return replace(largest, box=box, within=_united(group, box))


def _away(seen: Seen) -> int:
    """Pixels between the box and the nearest border of its window."""
    box, window = seen.target.box, seen.window
    return min(box.x1 - window.x1, window.x2 - box.x2, box.y1 - window.y1, window.y2 - box.y2)


def _united(group: Sequence[Seen], box: Box) -> Mask | None:
    mask = np.zeros(box.size, dtype=np.bool_)
    for target, _ in group:
        if target.within is None:
            return None
        mask[target.box.relative_to(box).slices] |= target.within
    return mask
