"""A layer of vectors as GeoParquet 1.1 (https://geoparquet.org), with pyarrow: not every GDAL can write it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import shapely

from geoseg_agent.vector_files import column, wkb

if TYPE_CHECKING:
    from pathlib import Path

    from geoseg_agent.vectors import Layer

VERSION = "1.1.0"
ROWS = 10_000
"""Of a row group, which readers skip by the boxes of its features."""

_TYPES = {int: pa.int64(), float: pa.float64(), str: pa.string()}
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def write_geoparquet(path: Path, crs: str, layer: Layer) -> None:
    """Write MultiPolygons as WKB in `crs`, the image's own, X or longitude first, with the box of each.

    Raises:
        OSError: the file is not complete, because the disk is full.
    """
    columns = {
        field: pa.array(column([row[field] for row in layer.rows], kind), _TYPES[kind], from_pandas=True)
        for field, kind in layer.fields.items()
    }
    shapes = [place.native for place in layer.footprints]
    boxes = [None if shape is None else dict(zip(_SIDES, shape.bounds, strict=True)) for shape in shapes]
    columns["geometry"] = pa.array(wkb(layer), pa.binary())
    columns["bbox"] = pa.array(boxes, pa.struct([(side, pa.float64()) for side in _SIDES]))
    table = pa.table(columns).replace_schema_metadata({"geo": json.dumps(_geo(crs, shapes))})
    pq.write_table(table, path, compression="zstd", row_group_size=ROWS)


def _geo(crs: str, shapes: list[Any]) -> dict[str, Any]:
    geometry: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": ["MultiPolygon"],
        "crs": pyproj.CRS.from_user_input(crs).to_json_dict(),
        "orientation": "counterclockwise",
        "edges": "planar",
        "covering": {"bbox": {side: ["bbox", side] for side in _SIDES}},
    }
    there = [shape for shape in shapes if shape is not None]
    if there:
        geometry["bbox"] = list(map(float, shapely.total_bounds(there)))
    return {"version": VERSION, "primary_column": "geometry", "columns": {"geometry": geometry}}
