"""Masks on the ground: polygons in the image's own CRS and in WGS 84, and their geodesic areas.

A planar area is wrong wherever the projection stretches (by 2.3 at 48 degrees in EPSG:3395), so none is ever taken.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pyproj
import shapely
from shapely.geometry import MultiPolygon, box
from shapely.geometry.polygon import orient

from geoseg_agent.outlines import outlines, polygons_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from geoseg_agent.georeference import Georeference
    from geoseg_tools.arrays import Mask, Size
    from geoseg_tools.geometry import Box

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

    def pixels(self, native: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse of `native`: (n, 2) X, Y to (n, 2) pixel corners x, y."""
        a, b, c, d, e, f = self._affine
        x, y = (native - (c, f)).T
        return np.stack([e * x - b * y, a * y - d * x], axis=1) / (a * e - b * d)

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


def footprints(parts: Sequence[Part], ground: Ground, stray: float = 0.0) -> list[Footprint]:
    """Where each of `parts`, a mask (h, w) bool and the box it is the frame of, lies on the ground.

    Args:
        parts: masks and their boxes, absolute pixels.
        ground: of their image.
        stray: how far the polygons may stray from the edges of the pixels, in units of the CRS, >= 0. Each stays
            valid, and keeps its holes; areas are those of the pixels all the same.

    Raises:
        pyproj.exceptions.ProjError: a part of them is outside the domain of the CRS, or goes around a pole.
    """
    pixels = outlines(parts)
    native = shapely.transform(pixels, ground.native)
    exact = [_oriented(polygons_of(degrees)) for degrees in _degrees(pixels, ground)]
    areas = [abs(float(_GEOD.geometry_area_perimeter(lonlat)[0])) for lonlat in exact]
    if stray > 0:
        native = shapely.make_valid(shapely.simplify(native, stray, preserve_topology=True))
        exact = [_oriented(polygons_of(d)) for d in _degrees(shapely.transform(native, ground.pixels), ground)]
    return [
        Footprint(None, None, 0.0)
        if shape.is_empty
        else Footprint(_oriented(polygons_of(shape)), _split(lonlat), area)
        for shape, lonlat, area in zip(native, exact, areas, strict=True)
    ]


def _degrees(pixels: NDArray[np.object_], ground: Ground) -> NDArray[np.object_]:
    found: NDArray[np.object_] = shapely.transform(shapely.segmentize(pixels, ground.longest_edge), ground.lonlat)
    corners, ring = shapely.get_coordinates(shapely.get_rings(found), return_index=True)
    if ((np.abs(np.diff(corners[:, 0])) > 180) & (np.diff(ring) == 0)).any():
        raise pyproj.exceptions.ProjError("an outline goes around a pole, which no ring in degrees does")
    return found


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
        parts += polygons_of(shapely.transform(cut, lambda corners, turn=turn: np.subtract(corners, (turn, 0))))
    return _oriented(parts)
