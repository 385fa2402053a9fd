"""Where an image lies on the ground: a coordinate reference system and an affine transform."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Georeference:
    """A grid on the ground.

    Attributes:
        crs: authority string such as "EPSG:25832" where that says exactly the same, WKT otherwise.
        transform: (a, b, c, d, e, f) with X = a x + b y + c and Y = d x + e y + f, from pixel corners (x, y) to
            units of `crs`; the top left corner of the image is (0, 0). X is east or longitude, Y north or latitude,
            whatever the axis order of the authority.
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]
