"""Which files the vectors of an answer are written to, and how closely their outlines follow the pixels."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from geoseg_agent.errors import InputError, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMATS: Final = {
    "geojson": {"targets_geojson": "targets.geojson"},
    "gpkg": {"targets_gpkg": "targets.gpkg"},
    "fgb": {"targets_fgb": "targets.fgb", "instances_fgb": "instances.fgb"},
    "geoparquet": {"targets_parquet": "targets.parquet", "instances_parquet": "instances.parquet"},
}
"""Name of a format to its files: GeoJSON holds the targets only, GeoPackage both layers in one file."""

DEFAULT: Final = ("geojson", "gpkg")


def chosen(formats: Iterable[str] | None) -> tuple[str, ...]:
    """The formats, each once, in the order of `FORMATS`; the default ones of None.

    Raises:
        InputError: one of them is unknown.
        MissingExtra: one of them needs a package that is not installed.
    """
    if formats is None:
        return DEFAULT
    asked = {formats} if isinstance(formats, str) else set(formats)
    unknown = sorted(asked - set(FORMATS))
    if unknown:
        raise InputError(f"there is no vector format {unknown[0]!r}", hint=f"choose from {', '.join(FORMATS)}")
    if "geoparquet" in asked and find_spec("pyarrow") is None:
        raise MissingExtra(
            "geoparquet needs pyarrow, not installed here", hint="pip install 'geoseg-agent[geoparquet]'"
        )
    return tuple(name for name in FORMATS if name in asked)


def tolerance(simplify: float | None) -> float:
    """How far a simplified outline may stray, in units of the image's CRS; 0 of None: along the pixels' edges.

    Raises:
        InputError: it is negative, infinite or no number.
    """
    if simplify is None:
        return 0.0
    if not math.isfinite(simplify) or simplify < 0:
        raise InputError(
            f"outlines cannot be simplified by {simplify}",
            hint="give a length >= 0 in units of the image's CRS, such as metres or degrees",
        )
    return float(simplify)
