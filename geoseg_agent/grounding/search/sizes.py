"""How large the things are that a query names, and how large a pixel is. Pure.

A small lexicon of sizes in metres, as seen from above; a word that is not in it has no size, and then nothing is
concluded from size.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geoseg_agent.georeference import Georeference
    from geoseg_tools.arrays import Size

METRES: Final = {
    "person": 1.0,
    "people": 1.0,
    "animal": 2.0,
    "cow": 2.5,
    "grave": 2.0,
    "manhole": 1.0,
    "umbrella": 2.5,
    "tent": 4.0,
    "car": 5.0,
    "vehicle": 5.0,
    "van": 6.0,
    "taxi": 5.0,
    "truck": 10.0,
    "lorry": 10.0,
    "bus": 12.0,
    "tractor": 5.0,
    "excavator": 8.0,
    "container": 6.0,
    "boat": 8.0,
    "yacht": 15.0,
    "ship": 20.0,
    "vessel": 20.0,
    "barge": 40.0,
    "plane": 30.0,
    "airplane": 30.0,
    "aeroplane": 30.0,
    "aircraft": 30.0,
    "helicopter": 12.0,
    "helipad": 15.0,
    "locomotive": 20.0,
    "wagon": 15.0,
    "train": 20.0,
    "tree": 6.0,
    "palm": 6.0,
    "bush": 2.0,
    "pool": 10.0,
    "pond": 15.0,
    "house": 12.0,
    "building": 15.0,
    "roof": 15.0,
    "garage": 6.0,
    "shed": 5.0,
    "barn": 20.0,
    "greenhouse": 30.0,
    "warehouse": 60.0,
    "hangar": 60.0,
    "silo": 8.0,
    "tank": 20.0,
    "chimney": 6.0,
    "mast": 4.0,
    "pylon": 10.0,
    "turbine": 15.0,
    "crane": 10.0,
    "solar panel": 2.0,
    "tennis court": 24.0,
    "court": 24.0,
    "playground": 20.0,
    "roundabout": 40.0,
    "bridge": 30.0,
    "crosswalk": 4.0,
    "crossing": 5.0,
    "road": 8.0,
    "street": 8.0,
    "path": 2.0,
    "parking lot": 50.0,
    "school": 60.0,
    "hospital": 80.0,
    "church": 30.0,
    "stadium": 200.0,
    "field": 150.0,
    "lake": 200.0,
    "river": 50.0,
    "harbour": 300.0,
    "harbor": 300.0,
    "runway": 45.0,
    "airport": 2000.0,
    "forest": 300.0,
}
"""Shorter side, or the side by which it is recognised, of things seen from above: usual sizes, not the smallest."""

_WORD: Final = re.compile(r"[a-z]+")
_COMPARES: Final = re.compile(
    r"\b(?:(?:larg|bigg|small|long|short|tall|high|wid|narrow|dark|bright|near|clos|old|new|great)est"
    r"|(?:north|south|east|west)ernmost|(?:left|right|top|bottom)most|most|least|farthest|furthest)\b"
)


class Named(NamedTuple):
    """A thing that a query names.

    Attributes:
        word: as in the lexicon.
        metres: its size.
    """

    word: str
    metres: float


def named_in(query: str) -> Named | None:
    """The smallest thing of the lexicon that a query names, in the singular or plural; None where it names none.

    The smallest, because a search that is fine enough for it is fine enough for the others.
    """
    words = _WORD.findall(query.casefold())
    text = " " + " ".join(_singular(word) for word in words) + " "
    found = [Named(word, metres) for word, metres in METRES.items() if f" {word} " in text]
    return min(found, key=lambda named: (named.metres, -len(named.word)), default=None)


def too_coarse_for(phrases: Iterable[str], metres: float | None) -> Named | None:
    """The first thing that phrases name and that is usually smaller than a pixel of `metres`; None for none."""
    found = (named_in(phrase) for phrase in phrases)
    return next((named for named in found if named and metres is not None and named.metres < metres), None)


def compares(query: str) -> str | None:
    """The word by which a query asks for one among all, "largest" for example, or None.

    Windows that are looked at one by one cannot say which of their answers it is.
    """
    found = _COMPARES.search(query.casefold())
    return None if found is None else found.group()


def metres_per_pixel(georeference: Georeference | None, size: Size) -> float | None:
    """The longer side of the pixel in the middle of an image of `size` (h, w) on the ground, in metres; geodesic.

    None where the image has no place on the ground, or its reference system does not lead there.
    """
    if georeference is None:
        return None
    import pyproj  # noqa: PLC0415 - only where there is a georeference

    a, b, c, d, e, f = georeference.transform
    x, y = size[1] / 2, size[0] / 2
    corners = [(a * u + b * v + c, d * u + e * v + f) for u, v in ((x, y), (x + 1, y), (x, y + 1))]
    try:
        to_lonlat = pyproj.Transformer.from_crs(georeference.crs, "OGC:CRS84", always_xy=True)
        (lon, lat), *others = [to_lonlat.transform(*corner, errcheck=True) for corner in corners]
        geod = pyproj.Geod(ellps="WGS84")
        sides = [geod.inv(lon, lat, *other)[2] for other in others]
    except pyproj.exceptions.ProjError:
        return None
    longer = float(max(sides))
    return longer if longer > 0 else None


def _singular(word: str) -> str:
    for ending, instead in (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("buses", "bus"), ("people", "person")):
        if word.endswith(ending):
            return word.removesuffix(ending) + instead
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us")) else word
