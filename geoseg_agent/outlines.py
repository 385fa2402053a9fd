"""Masks as polygons along the edges of pixels, traced in blocks so that no canvas is larger than one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import shapely
from rasterio.features import shapes
from shapely.geometry import MultiPolygon, Polygon, shape

from geoseg_agent.blocks import blocks
from geoseg_agent.decode import quiet
from geoseg_tools.geometry import Box
from geoseg_tools.masks import extent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask

    Part: TypeAlias = tuple[Mask, Box]

BLOCK = 4096
"""Sides of what is traced at once, in pixels."""


def outlines(parts: Sequence[Part], block: int = BLOCK) -> NDArray[np.object_]:
    """The set pixels of each part as a valid shapely MultiPolygon with holes, (n,).

    Image frame; edges run along pixel edges, so an area is a number of pixels. Parts that do not overlap are traced
    together, so thousands of small ones cost little. What a block cuts is joined again, without a trace of the cut.

    Args:
        parts: masks (h, w) bool and the boxes they are the frames of, absolute pixels.
        block: the largest side of what is traced at once.
    """
    found: list[list[Any]] = [[] for _ in parts]
    if not parts:
        return np.array([], dtype=object)
    frame = around([place for _, place in parts])
    squares = list(blocks(frame, block, block))
    for square in squares:
        inside = list(_inside(parts, square))
        if inside:
            _trace(inside, found)
    if len(squares) > 1:
        found = [_joined(polygons, frame, block) for polygons in found]
    return np.array([MultiPolygon(polygons) for polygons in found], dtype=object)


def around(places: Iterable[Box]) -> Box:
    """The smallest box with all of `places`, of which there is at least one."""
    x1, y1, x2, y2 = zip(*places, strict=True)
    return Box(min(x1), min(y1), max(x2), max(y2))


def polygons_of(geometry: Any) -> list[Any]:
    """The polygons with an area in a shapely geometry of any kind."""
    if geometry.geom_type == "Polygon":
        return [geometry] if geometry.area > 0 else []
    return [polygon for part in getattr(geometry, "geoms", ()) for polygon in polygons_of(part)]


def _inside(parts: Sequence[Part], square: Box) -> Iterator[tuple[int, Part]]:
    """What of each part lies in the square, without the emptiness around it, which would be traced all the same."""
    for number, (mask, place) in enumerate(parts):
        common = place.intersection(square)
        if common is None:
            continue
        here = mask[common.relative_to(place).slices]
        reach = extent(here)
        if reach is not None:
            yield number, (here[reach.slices], reach.offset(common))


def _trace(parts: list[tuple[int, Part]], found: list[list[Any]]) -> None:
    """Add the polygons of each part to those of its number; parts that overlap are traced one after another."""
    waiting = parts
    while waiting:
        frame = around([place for _, (_, place) in waiting])
        labels = np.zeros(frame.size, dtype=np.uint8 if len(waiting) < 256 else np.int32)
        numbers = []
        overlapping = []
        for number, (mask, place) in waiting:
            spot = labels[place.relative_to(frame).slices]
            if spot[mask].any():
                overlapping.append((number, (mask, place)))
            else:
                numbers.append(number)
                spot[mask] = len(numbers)
        with quiet():  # rasterio hushes its own warning of a grid without a place, which threads undo for each other
            rings = list(shapes(labels, mask=labels > 0, connectivity=4))
        traced = [(shape(ring), int(label)) for ring, label in rings]
        placed = shapely.transform(
            [polygon for polygon, _ in traced], lambda xy, at=frame: np.add(xy, (at.x1, at.y1))
        )
        # A hole that meets the outside in a corner comes out as a ring that touches itself.
        for polygon, (_, label) in zip(shapely.make_valid(placed), traced, strict=True):
            found[numbers[label - 1]] += polygons_of(polygon)
        waiting = overlapping


def _joined(polygons: list[Any], frame: Box, block: int) -> list[Any]:
    """The polygons of one mask, those that a block has cut in one piece again."""
    if not polygons:
        return []
    x1, y1, x2, y2 = (shapely.bounds(polygons) - (frame.x1, frame.y1) * 2).T
    # Only where a polygon ends at a line between blocks, it may go on behind it.
    cut = np.logical_or.reduce([values % block == 0 for values in (x1, y1, x2, y2)])
    whole = [polygon for polygon, touches in zip(polygons, cut, strict=True) if not touches]
    pieces = [polygon for polygon, touches in zip(polygons, cut, strict=True) if touches]
    return whole + [_straightened(polygon) for polygon in polygons_of(shapely.union_all(pieces))]


def _straightened(polygon: Any) -> Any:
    """Without the corners in the middle of straight edges that the lines between blocks have left."""
    rings = []
    for ring in (polygon.exterior, *polygon.interiors):
        corners = np.asarray(ring.coords)[:-1]
        steps = np.sign(np.roll(corners, -1, axis=0) - corners)
        rings.append(corners[(steps != np.roll(steps, 1, axis=0)).any(axis=1)])
    return Polygon(rings[0], rings[1:])
