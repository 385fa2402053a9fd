"""Masks on the ground: polygons in the image's own CRS and in WGS 84, and their geodesic areas.

A planar area is wrong wherever the projection stretches (by 2.3 at 48 degrees in EPSG:3395), so none is ever taken.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pyproj
import shapely
from rasterio.features import shapes
from shapely.geometry import MultiPolygon, box, shape
from shapely.geometry.polygon import orient

from geoseg_agent.decode import quiet
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geoseg_agent.georeference import Georeference
    from geoseg_tools.arrays import Mask, Size

    Part: TypeAlias = tuple[Mask, Box]

SAGITTA_PIXELS = 0.05
"""How far, in pixels, an edge may stray from the mask's when it is drawn straight in another projection."""

_EARTH_RADIUS = 6_371_000.0
_GEOD = pyproj.Geod(ellps="WGS84")


class Ground:
    """The way from pixels of one image to its CRS and to longitude and latitude on WGS 84.

    Args:
        georeference: of the image.
        size: (H, W) of the image.

    Attributes:
        crs: authority string or WKT, as in the georeference.
        longest_edge: in pixels; longer straight edges need points in between before they are projected.

    Raises:
        pyproj.exceptions.ProjError: the CRS does not lead to WGS 84 (another planet, a building site).
    """

    def __init__(self, georeference: Georeference, size: Size) -> None:
        self.crs = georeference.crs
        self._affine = georeference.transform
        self._to_lonlat = pyproj.Transformer.from_crs(georeference.crs, "OGC:CRS84", always_xy=True)
        self._meridian = 0.0
        centre = np.array([size[1] / 2, size[0] / 2])
        lon, lat = self.lonlat(np.add(centre, [(0, 0), (1, 0), (0, 1)])).T
        self._meridian = float(lon[0])
        _, _, sides = _GEOD.inv(lon[[0, 0]], lat[[0, 0]], lon[1:], lat[1:])
        # Parallels, and straight lines of most projections, leave geodesics with the tangent of the latitude.
        bend = max(1.0, math.tan(math.radians(min(abs(float(lat[0])), 89.9))))
        self.longest_edge = max(1.0, math.sqrt(8 * SAGITTA_PIXELS * _EARTH_RADIUS / (float(max(sides)) * bend)))

    def native(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) pixel corners x, y to (n, 2) X, Y in the image's CRS."""
        a, b, c, d, e, f = self._affine
        x, y = pixels.T
        return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)

    def lonlat(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) pixel corners x, y to (n, 2) degrees, longitudes within half a turn of the image's centre.

        Raises:
            pyproj.exceptions.ProjError: a point is outside the domain of the CRS.
        """
        x, y = self.native(pixels).T
        lon, lat = self._to_lonlat.transform(x, y, errcheck=True)
        return np.stack([lon - 360 * np.round((lon - self._meridian) / 360), lat], axis=1)


class Footprint(NamedTuple):
    """One mask on the ground.

    Attributes:
        native: shapely MultiPolygon in the image's CRS, or None for an empty mask.
        lonlat: the same in degrees, split at the antimeridian.
        area_m2: geodesic area on the WGS 84 ellipsoid.
    """

    native: Any
    lonlat: Any
    area_m2: float


def footprints(parts: Sequence[Part], ground: Ground) -> list[Footprint]:
    """Where each of `parts`, a mask (h, w) bool and the box it is the frame of, lies on the ground.

    Raises:
        pyproj.exceptions.ProjError: a part of them is outside the domain of the CRS.
    """
    pixels = outlines(parts)
    native = shapely.transform(pixels, ground.native)
    degrees = shapely.transform(shapely.segmentize(pixels, ground.longest_edge), ground.lonlat)
    return [_footprint(*pair) for pair in zip(native, degrees, strict=True)]


def _footprint(native: Any, degrees: Any) -> Footprint:
    if native.is_empty:
        return Footprint(None, None, 0.0)
    lonlat = _oriented(_polygons(degrees))
    area, _ = _GEOD.geometry_area_perimeter(lonlat)
    return Footprint(_oriented(_polygons(native)), _split(lonlat), abs(float(area)))


def outlines(parts: Sequence[Part]) -> NDArray[np.object_]:
    """The set pixels of each part as a valid shapely MultiPolygon with holes, (n,).

    Image frame; edges run along pixel edges, so an area is a number of pixels. Parts that do not overlap are traced
    together, so thousands of small ones cost little.
    """
    found: list[list[Any]] = [[] for _ in parts]
    waiting = list(enumerate(parts))
    while waiting:
        frame = _around([place for _, (_, place) in waiting])
        labels = np.zeros(frame.size, dtype=np.uint8 if len(parts) < 256 else np.int32)
        overlapping = []
        for number, (mask, place) in waiting:
            spot = labels[place.relative_to(frame).slices]
            if spot[mask].any():
                overlapping.append((number, (mask, place)))
            else:
                spot[mask] = number + 1
        with quiet():  # rasterio hushes its own warning of a grid without a place, which threads undo for each other
            rings = list(shapes(labels, mask=labels > 0, connectivity=4))
        traced = [(shape(ring), int(label)) for ring, label in rings]
        placed = shapely.transform(
            [polygon for polygon, _ in traced], lambda xy, at=frame: np.add(xy, (at.x1, at.y1))
        )
        # A hole that meets the outside in a corner comes out as a ring that touches itself.
        for polygon, (_, label) in zip(shapely.make_valid(placed), traced, strict=True):
            found[label - 1] += _polygons(polygon)
        waiting = overlapping
    return np.array([MultiPolygon(polygons) for polygons in found], dtype=object)


def _around(places: list[Box]) -> Box:
    lows, highs = [(place.x1, place.y1) for place in places], [(place.x2, place.y2) for place in places]
    return Box(*map(min, zip(*lows, strict=True)), *map(max, zip(*highs, strict=True)))


def _polygons(geometry: Any) -> list[Any]:
    if geometry.geom_type == "Polygon":
        return [geometry] if geometry.area > 0 else []
    return [polygon for part in getattr(geometry, "geoms", ()) for polygon in _polygons(part)]


def _oriented(polygons: list[Any]) -> Any:
    return MultiPolygon([orient(polygon) for polygon in polygons])


def _split(degrees: Any) -> Any:
    """Cut at the antimeridian, each part moved into -180..180 (RFC 7946, section 3.1.9)."""
    west, _, east, _ = degrees.bounds
    if west >= -180 and east <= 180:
        return degrees
    parts = []
    for turn in (-360.0, 0.0, 360.0):
        cut = shapely.intersection(degrees, box(turn - 180, -90, turn + 180, 90))
        parts += _polygons(shapely.transform(cut, lambda corners, turn=turn: np.subtract(corners, (turn, 0))))
    return _oriented(parts)
