"""Layers of vectors as files: GeoJSON by RFC 7946, GeoPackage and FlatGeobuf."""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from geoseg_agent.vectors import Layer

DECIMALS = 9
"""Of a degree, in GeoJSON: a tenth of a millimetre, so that rounding does not show in the area of small pixels."""


def write_geojson(path: Path, layer: Layer) -> None:
    """Write RFC 7946: WGS 84, longitude first, outer rings counter-clockwise, no crs member; null for empty masks."""
    separator = '{"type":"FeatureCollection","features":['
    with path.open("w", encoding="utf-8") as stream:
        for number, (row, place) in enumerate(zip(layer.rows, layer.footprints, strict=True), 1):
            feature = {
                "type": "Feature",
                "id": number,
                "properties": {name: row[name] for name in layer.fields},
                "geometry": _geometry(place.lonlat),
            }
            text = json.dumps(feature, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            stream.write(separator + text)
            separator = ","
        stream.write(("" if layer.rows else separator) + "]}\n")


def write_geopackage(path: Path, crs: str, layers: dict[str, Layer]) -> None:
    """Write each layer's MultiPolygons in `crs`, the image's own.

    Raises:
        OSError: the file is not complete, because the disk is full.
    """
    from pyogrio import read_info  # noqa: PLC0415 - brings a GDAL of its own; GeoJSON needs none

    for name, layer in layers.items():
        _write(path, crs, name, layer, "GPKG")
    # The spatial index is written last, when the file is closed, and GDAL keeps its failure to itself.
    for name, layer in layers.items():
        written = read_info(path, layer=name, force_feature_count=True)
        if written["features"] != len(layer.rows) or not written["capabilities"]["fast_spatial_filter"]:
            raise OSError(errno.EIO, f"layer {name} of {path.name} could not be written completely")


def write_flatgeobuf(path: Path, crs: str, name: str, layer: Layer) -> None:
    """Write one layer's MultiPolygons in `crs`, the image's own, X or longitude first.

    The file has a spatial index, and features stand in its order, not in that of their numbers. It cannot hold empty
    masks then: a layer with one is written in order, without an index.

    Raises:
        OSError: the file is not complete, because the disk is full.
    """
    from pyogrio.raw import read  # noqa: PLC0415 - as above

    indexed = bool(layer.rows) and all(place.native is not None for place in layer.footprints)
    _write(path, crs, name, layer, "FlatGeobuf", SPATIAL_INDEX="YES" if indexed else "NO")
    # As with a GeoPackage, most of it is written when the file is closed.
    _, _, shapes, _ = read(path)
    if len(shapes) != len(layer.rows):
        raise OSError(errno.EIO, f"{path.name} could not be written completely")


def column(values: list[Any], kind: type) -> NDArray[Any]:
    """(n,) int64, float64 with NaN for None, or objects: the values of one field."""
    if kind is float:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return np.array(values, dtype=np.int64 if kind is int else object)


def wkb(layer: Layer) -> NDArray[np.object_]:
    """(n,) bytes, or None for empty masks: the outlines in the image's CRS."""
    blobs = [None if place.native is None else shapely.to_wkb(place.native) for place in layer.footprints]
    return np.array(blobs, dtype=object)


def _write(path: Path, crs: str, name: str, layer: Layer, driver: str, **options: str) -> None:
    from pyogrio.raw import write  # noqa: PLC0415 - as above

    write(
        path,
        geometry=wkb(layer),
        # NaN is written as null.
        field_data=[column([row[field] for row in layer.rows], kind) for field, kind in layer.fields.items()],
        fields=list(layer.fields),
        layer=name,
        driver=driver,
        geometry_type="MultiPolygon",
        crs=crs,
        layer_options=options,
    )


def _geometry(polygons: Any) -> dict[str, Any] | None:
    if polygons is None:
        return None
    coordinates = [
        [
            [[round(lon, DECIMALS), round(lat, DECIMALS)] for lon, lat in ring.coords]
            for ring in (polygon.exterior, *polygon.interiors)
        ]
        for polygon in polygons.geoms
    ]
    return {"type": "MultiPolygon", "coordinates": coordinates}
