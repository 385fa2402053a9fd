"""Targets and instances as vector files: GeoJSON by RFC 7946 and GeoPackage."""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import shapely

from geoseg_agent.geodesy import Footprint, Ground, footprints

if TYPE_CHECKING:
    from pathlib import Path

    from geoseg_agent.segmentation import Segmentation

DECIMALS = 9
"""Of a degree, in GeoJSON: a tenth of a millimetre, so that rounding does not show in the area of small pixels."""

_SOURCE: dict[str, type] = {
    "engine": str,
    "status": str,
    "confidence": float,
    "query": str,
    "trace_id": str,
}
TARGET_FIELDS: dict[str, type] = {
    "target": int,
    "phrase": str,
    "score": float,
    "rule": str,
    "instances": int,
    "area_m2": float,
    "area_px": int,
    "target_confidence": float,
    **_SOURCE,
}
INSTANCE_FIELDS: dict[str, type] = {
    "target": int,
    "instance": int,
    "phrase": str,
    "score": float,
    "area_m2": float,
    "area_px": int,
    **_SOURCE,
}


class Layer(NamedTuple):
    """Features of one kind: `fields` names and types the columns of `rows`, one footprint each."""

    fields: dict[str, type]
    footprints: list[Footprint]
    rows: list[dict[str, Any]]


def layers(answer: Segmentation, ground: Ground) -> dict[str, Layer]:
    """`targets`, one feature per target, and `instances`, one per object of a target.

    `confidence` is that of the answer, `target_confidence` the grounder's for the one target.

    Raises:
        pyproj.exceptions.ProjError: a mask reaches outside the domain of the image's CRS.
    """
    targets, instances = Layer(TARGET_FIELDS, [], []), Layer(INSTANCE_FIELDS, [], [])
    source = {name: getattr(answer, name) for name in _SOURCE}
    for number, target in enumerate(answer.targets, 1):
        (place,) = footprints([(target.mask, target.roi)], ground)
        targets.footprints.append(place)
        common = {"target": number, "phrase": target.phrase} | source
        targets.rows.append(
            common
            | {
                "score": target.score,
                "rule": target.rule,
                "instances": len(target.instances),
                "area_m2": place.area_m2,
                "area_px": int(np.count_nonzero(target.mask)),
                "target_confidence": target.target.confidence,
            }
        )
        places = footprints([(instance.pixels, instance.box) for instance in target.instances], ground)
        instances.footprints.extend(places)
        instances.rows.extend(
            common
            | {
                "instance": instance.id,
                "score": instance.score,
                "area_m2": place.area_m2,
                "area_px": int(np.count_nonzero(instance.pixels)),
            }
            for instance, place in zip(target.instances, places, strict=True)
        )
    return {"targets": targets, "instances": instances}


def write_geojson(path: Path, layer: Layer) -> None:
    """Write RFC 7946: WGS 84, longitude first, outer rings counter-clockwise, no crs member; null for empty masks."""
    features = [
        {
            "type": "Feature",
            "id": number,
            "properties": {name: row[name] for name in layer.fields},
            "geometry": _geometry(place.lonlat),
        }
        for number, (row, place) in enumerate(zip(layer.rows, layer.footprints, strict=True), 1)
    ]
    body = {"type": "FeatureCollection", "features": features}
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    path.write_text(text + "\n", encoding="utf-8")


def write_geopackage(path: Path, crs: str, layers: dict[str, Layer]) -> None:
    """Write each layer's MultiPolygons in `crs`, the image's own.

    Raises:
        OSError: the file is not complete, because the disk is full.
    """
    from pyogrio import read_info  # noqa: PLC0415 - brings a GDAL of its own; GeoJSON needs none
    from pyogrio.raw import write  # noqa: PLC0415 - as above

    for name, (fields, places, rows) in layers.items():
        blobs = [None if place.native is None else shapely.to_wkb(place.native) for place in places]
        write(
            path,
            geometry=np.array(blobs, dtype=object),
            field_data=[_column([row[field] for row in rows], kind) for field, kind in fields.items()],
            fields=list(fields),
            layer=name,
            driver="GPKG",
            geometry_type="MultiPolygon",
            crs=crs,
        )
    # The spatial index is written last, when the file is closed, and GDAL keeps its failure to itself.
    for name, layer in layers.items():
        written = read_info(path, layer=name, force_feature_count=True)
        if written["features"] != len(layer.rows) or not written["capabilities"]["fast_spatial_filter"]:
            raise OSError(errno.EIO, f"layer {name} of {path.name} could not be written completely")


def _column(values: list[Any], kind: type) -> np.ndarray[Any, Any]:
    if kind is float:
        # NaN is written as null.
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return np.array(values, dtype=np.int64 if kind is int else object)


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
