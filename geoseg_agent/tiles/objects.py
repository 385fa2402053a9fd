"""The objects that the tiles of a region report, as objects of the region: one that lies on several tiles is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geoseg_tools.geometry import Box, resize_nearest
from geoseg_tools.masks import Masks, Part, tight

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from geoseg_agent.tiles.grid import Tile

SAME_IOU = 0.5
SAME_PART = 0.75
"""Two tiles mean one object where their masks have this IoU in what both see well, or this share of the smaller."""


class Found(NamedTuple):
    """An object as one tile reports it.

    Attributes:
        tile: number of the tile.
        box: where `pixels` lie, absolute.
        pixels: (box.height, box.width) bool, at least one of them True.
        score: 0..1, or None.
    """

    tile: int
    box: Box
    pixels: NDArray[np.bool_]
    score: float | None

    def within(self, window: Box) -> NDArray[np.bool_]:
        """(h, w) bool: the mask in a window, absolute."""
        canvas = np.zeros(window.size, dtype=np.bool_)
        common = self.box.intersection(window)
        if common is not None:
            canvas[common.relative_to(window).slices] = self.pixels[common.relative_to(self.box).slices]
        return canvas


def found_in(number: int, tile: Tile, masks: Masks) -> list[Found]:
    """The objects of one tile that have a pixel, in absolute pixels at the scene's resolution."""
    scores = [None] * len(masks) if masks.scores is None else [float(score) for score in masks.scores]
    return [
        Found(number, part.box.offset(tile.box), part.pixels, score)
        for part, score in zip(_parts(tile, masks), scores, strict=True)
        if part.pixels.any()
    ]


def merged_objects(roi: Box, tiles: Sequence[Tile], found: Sequence[Found], margin: int) -> Masks:
    """The objects of all tiles, in the frame of the region.

    - Objects of two tiles are one where they agree in what both tiles see more than half the margin away from a cut.
    - A pixel is that of the tile where it lies deepest, of the tiles that report the object.
    - An object that no tile reports in what it owns is the cut end of something that its neighbour sees better and
      does not report: it is left out.

    Args:
        roi: the region.
        tiles: of the region.
        found: what the tiles report.
        margin: of the tiles, pixels.

    Returns:
        By descending score where all have one, the mean of the tiles' by area, else by the first pixel.
    """
    groups = [_Object(tiles, [found[i] for i in members]) for members in _groups(tiles, found, margin)]
    made = [(part, one.score) for one in groups if one.owned for part in [one.part(roi)] if part.pixels.any()]
    scored = all(one.score is not None for one in found)
    made.sort(key=lambda one: (-one[1] if scored else 0.0, *_first_pixel(one[0])))
    return Masks(
        roi.size, tuple(part for part, _ in made), np.array([score for _, score in made]) if scored else None
    )


class _Object:
    """One object of the region: what the tiles that report it say of it."""

    def __init__(self, tiles: Sequence[Tile], members: Sequence[Found]) -> None:
        self._tiles = tiles
        self._members = members

    @property
    def owned(self) -> bool:
        return any(one.within(self._tiles[one.tile].own).any() for one in self._members)

    def part(self, roi: Box) -> Part:
        """The pixels, tight, in the frame of the region."""
        boxes = [one.box for one in self._members]
        around = Box(
            min(box.x1 for box in boxes),
            min(box.y1 for box in boxes),
            max(box.x2 for box in boxes),
            max(box.y2 for box in boxes),
        )
        seen = dict.fromkeys(one.tile for one in self._members)
        if len(seen) == len(self._members) == 1:
            return Part(around.relative_to(roi), self._members[0].pixels)
        pixels = np.zeros(around.size, dtype=np.bool_)
        deepest = np.zeros(around.size, dtype=np.int64)
        for number in seen:
            window = self._tiles[number].box.intersection(around)
            if window is None:
                continue
            place = window.relative_to(around).slices
            said = np.zeros(window.size, dtype=np.bool_)
            for one in self._members:
                if one.tile == number:
                    said |= one.within(window)
            depth = self._tiles[number].depth(window)
            deeper = depth > deepest[place]
            pixels[place][deeper] = said[deeper]
            deepest[place][deeper] = depth[deeper]
        part = tight(pixels)
        return Part(part.box.offset(around).relative_to(roi), part.pixels)

    @property
    def score(self) -> float:
        """The mean by area of the tiles' scores; 0 where there are none."""
        scored = [(one.score, int(np.count_nonzero(one.pixels))) for one in self._members if one.score is not None]
        area = sum(pixels for _, pixels in scored)
        return sum(score * pixels for score, pixels in scored) / area if area else 0.0


def _groups(tiles: Sequence[Tile], found: Sequence[Found], margin: int) -> Iterator[list[int]]:
    """Numbers of what is one object, each group and the groups in ascending order."""
    parent = list(range(len(found)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in _meeting(found):
        one, other = root(i), root(j)
        if one != other and _same(tiles, found[i], found[j], margin):
            parent[max(one, other)] = min(one, other)
    groups: dict[int, list[int]] = {}
    for i in range(len(found)):
        groups.setdefault(root(i), []).append(i)
    yield from groups.values()


def _meeting(found: Sequence[Found]) -> Iterator[tuple[int, int]]:
    """Pairs of different tiles whose boxes have a pixel in common; a sweep from left to right."""
    order = sorted(range(len(found)), key=lambda i: found[i].box.x1)
    running: list[int] = []
    for j in order:
        running = [i for i in running if found[i].box.x2 > found[j].box.x1]
        for i in running:
            if found[i].tile != found[j].tile and found[i].box.intersection(found[j].box) is not None:
                yield i, j
        running.append(j)


def _same(tiles: Sequence[Tile], one: Found, other: Found, margin: int) -> bool:
    well = tiles[one.tile].inner(margin // 2).intersection(tiles[other.tile].inner(margin // 2))
    common = None if well is None else one.box.intersection(other.box)
    if well is None or common is None or well.intersection(common) is None:
        return False
    a, b = one.within(well), other.within(well)
    shared = int(np.count_nonzero(a & b))
    smaller, larger = sorted((int(np.count_nonzero(a)), int(np.count_nonzero(b))))
    return shared > 0 and (shared >= SAME_IOU * (smaller + larger - shared) or shared >= SAME_PART * smaller)


def _parts(tile: Tile, masks: Masks) -> tuple[Part, ...]:
    if masks.size == tile.box.size:
        return masks.parts
    return tuple(tight(resize_nearest(mask, tile.box.size)) for mask in masks.masks)


def _first_pixel(part: Part) -> tuple[int, int]:
    return part.box.y1, part.box.x1 + int(np.argmax(part.pixels[0]))
