"""Points prompt the tile where they lie deepest, and then the tiles that its answer reaches over to.

What a tile answers in pixels that another owns becomes a point for that other tile, until no answer reaches further.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geoseg_agent.tiles.objects import found_in, merged_objects
from geoseg_tools.masks import Masks, Part, tight

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from geoseg_agent.tiles.grid import Tile
    from geoseg_tools.arrays import Mask, Points
    from geoseg_tools.geometry import Box

MOST_ASKS = 4
"""Times one tile is asked about one prompt, so that tools that contradict themselves come to an end."""

MOST_NEW = 16
"""Points that one tile gives to another at a time, those of the largest pieces."""


class Prompt(NamedTuple):
    """What a tile is asked: points (n, 2) x, y in the frame of the tile, and (n,) bool, False where to exclude."""

    points: Points
    positive: NDArray[np.bool_]

    def more(self, other: Prompt) -> Prompt:
        """The points of both."""
        return Prompt(np.concatenate([self.points, other.points]), np.concatenate([self.positive, other.positive]))


class Reach:
    """How far the answer to one prompt reaches over the tiles of a region.

    Args:
        roi: the region.
        tiles: of the region.
        margin: of the tiles, pixels.
        earlier: (h, w) bool, frame of the region: a mask that the points correct, or None.
    """

    def __init__(self, roi: Box, tiles: Sequence[Tile], margin: int, earlier: Mask | None) -> None:
        self._roi = roi
        self._tiles = tiles
        self._margin = margin
        self._earlier = earlier
        self._prompts: dict[int, Prompt] = {}
        self._masks: dict[int, Masks] = {}
        self._answers: dict[int, Mask] = {}
        self._pointed: set[int] = set()
        self._handed: dict[tuple[int, bool], Mask] = {}
        self._asks: dict[int, int] = {}

    def first(self, points: Points, positive: NDArray[np.bool_]) -> dict[int, Prompt]:
        """What to ask which tile first: positive points in the tile that owns them, negative ones wherever they lie.

        A tile with negative points only is asked where there is an earlier mask, since there is something to exclude.
        """
        asked = {}
        for number, tile in enumerate(self._tiles):
            box, own = tile.box.relative_to(self._roi), tile.own.relative_to(self._roi)
            mine = _inside(points, own) & positive | _inside(points, box) & ~positive
            prompt = Prompt(points[mine] - (box.x1, box.y1), positive[mine])
            if prompt.positive.any() or (self._earlier is not None and mine.any()):
                asked[number] = prompt
            elif mine.any():
                self._prompts[number] = prompt  # it counts once an answer reaches over to here
        self._pointed.update(asked)
        return self._noted(asked)

    def base(self, number: int) -> Mask | None:
        """(h, w) bool: the earlier mask in the frame of a tile; None where there is none."""
        return None if self._earlier is None else self._earlier[self._tiles[number].box.relative_to(self._roi).slices]

    def further(self, answers: Mapping[int, Masks]) -> dict[int, Prompt]:
        """What to ask which tile next, with all that it was asked before; nothing where no answer reaches further."""
        heard = []
        for number, masks in sorted(answers.items()):
            box = self._tiles[number].box
            canvas = np.zeros(box.size, dtype=np.bool_)
            for one in found_in(number, self._tiles[number], masks):
                canvas |= one.within(box)
            if number in self._pointed or self._agrees(number, canvas):
                self._masks[number], self._answers[number] = masks, canvas
                heard.append(number)
        new: dict[int, Prompt] = {}
        for number in heard:
            for other in range(len(self._tiles)):
                if other != number and self._asks.get(other, 0) < MOST_ASKS:
                    for prompt in self._over(number, other):
                        new[other] = new[other].more(prompt) if other in new else prompt
        return self._noted({n: self._prompts[n].more(new[n]) if n in self._prompts else new[n] for n in sorted(new)})

    def merged(self) -> Masks:
        """One mask, of what every tile says of what it owns; objects, where the tools told them apart."""
        scored = all(masks.scores is not None for masks in self._masks.values())
        notes = tuple(dict.fromkeys(note for n in sorted(self._masks) for note in self._masks[n].notes))
        if self._earlier is None and any(len(masks) > 1 for masks in self._masks.values()):
            found = [one for n in sorted(self._masks) for one in found_in(n, self._tiles[n], self._masks[n])]
            objects = merged_objects(self._roi, self._tiles, found, self._margin)
            return Masks(objects.size, objects.parts, objects.scores, notes)
        canvas = np.zeros(self._roi.size, dtype=np.bool_) if self._earlier is None else self._earlier.copy()
        scores, areas = [], []
        for number, answer in self._answers.items():
            tile = self._tiles[number]
            own = answer[tile.own.relative_to(tile.box).slices]
            canvas[tile.own.relative_to(self._roi).slices] = own
            given = self._masks[number].scores
            if given is not None and len(given):
                scores.append(float(given.mean()))
                areas.append(int(np.count_nonzero(own)))
        parts: tuple[Part, ...] = (tight(canvas),) if canvas.any() else ()
        if not scored or (parts and not scores):
            return Masks(self._roi.size, parts, None, notes)
        weights = areas if sum(areas) else None
        score = [float(np.average(scores, weights=weights))] if parts else []
        return Masks(self._roi.size, parts, np.array(score), notes)

    def _noted(self, asked: dict[int, Prompt]) -> dict[int, Prompt]:
        for number, prompt in asked.items():
            self._prompts[number] = prompt
            self._asks[number] = self._asks.get(number, 0) + 1
        return asked

    def _over(self, number: int, other: int) -> list[Prompt]:
        """Points for the tile `other` in what tile `number` changes of what is the other's, if that does not know."""
        tile, owner = self._tiles[number], self._tiles[other]
        # Close to its cut a tile's word is not worth passing on.
        zone = tile.inner(self._margin // 2).intersection(owner.own)
        if zone is None:
            return []
        mine = self._answers[number][zone.relative_to(tile.box).slices]
        before = self._base_in(zone)
        changed = mine != before
        if not changed.any():
            return []
        answer = self._answers.get(other)
        theirs = before if answer is None else answer[zone.relative_to(owner.box).slices]
        found = []
        for positive in (True, False):
            piece = changed & (mine if positive else ~mine)
            new = piece & (mine != theirs) & ~self._handed_in(other, zone, positive=positive)
            found += self._hand(other, zone, _pieces(new, piece & (mine == theirs)), positive=positive)
        return found

    def _agrees(self, number: int, answer: Mask) -> bool:
        """Whether what a tile was only asked by its neighbours has to do with what they mean: half of it at least."""
        added, removed = (self._handed.get((number, positive)) for positive in (True, False))
        agreed = [] if added is None else [answer[added]]
        agreed += [] if removed is None else [~answer[removed]]
        return bool(2 * sum(part.sum() for part in agreed) >= sum(part.size for part in agreed))

    def _handed_in(self, number: int, zone: Box, *, positive: bool) -> Mask:
        """(h, w) bool, a view: for which pixels of a zone a tile was given a point already."""
        box = self._tiles[number].box
        handed = self._handed.setdefault((number, positive), np.zeros(box.size, dtype=np.bool_))
        return handed[zone.relative_to(box).slices]

    def _hand(self, number: int, zone: Box, pieces: Sequence[Part], *, positive: bool) -> list[Prompt]:
        """A point for a tile in each piece of a zone."""
        handed, place = self._handed_in(number, zone, positive=positive), zone.relative_to(self._tiles[number].box)
        prompts = []
        for part in pieces:
            handed[part.box.slices] |= part.pixels
            x, y = _deepest(part)
            at = [place.x1 + part.box.x1 + x, place.y1 + part.box.y1 + y]
            prompts.append(Prompt(np.array([at], dtype=np.int64), np.array([positive])))
        return prompts

    def _base_in(self, zone: Box) -> Mask:
        if self._earlier is None:
            return np.zeros(zone.size, dtype=np.bool_)
        return self._earlier[zone.relative_to(self._roi).slices]


def _inside(points: Points, box: Box) -> NDArray[np.bool_]:
    x, y = points[:, 0], points[:, 1]
    return np.asarray((box.x1 <= x) & (x < box.x2) & (box.y1 <= y) & (y < box.y2), np.bool_)


def _pieces(mask: Mask, known: Mask) -> list[Part]:
    """The largest 8-connected pieces of `mask`; none that touches what is `known`: it would be one thing with it."""
    from scipy import ndimage  # noqa: PLC0415 - half of a second that not every import of the package should pay

    from geoseg_tools.geometry import Box  # noqa: PLC0415 - as above

    if not mask.any():
        return []
    eight = np.ones((3, 3), dtype=np.bool_)
    labels, count = ndimage.label(mask, structure=eight)
    touching = np.unique(labels[ndimage.binary_dilation(known, structure=eight) & mask])
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    areas[touching] = 0
    order = [int(label) for label in np.argsort(-areas[1:], kind="stable") + 1 if areas[label]][:MOST_NEW]
    boxes = ndimage.find_objects(labels)
    parts = []
    for label in order:
        rows, cols = boxes[label - 1]
        box = Box(int(cols.start), int(rows.start), int(cols.stop), int(rows.stop))
        parts.append(Part(box, labels[rows, cols] == label))
    return parts


def _deepest(part: Part) -> tuple[int, int]:
    """x, y of the first pixel that is farthest from the outside, in the frame of the part."""
    from scipy import ndimage  # noqa: PLC0415 - as above

    far = ndimage.distance_transform_cdt(np.pad(part.pixels, 1), metric="chessboard")[1:-1, 1:-1]
    y, x = np.unravel_index(int(np.argmax(far)), far.shape)
    return int(x), int(y)
