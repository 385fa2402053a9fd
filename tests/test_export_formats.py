"""FlatGeobuf and GeoParquet beside GeoJSON and GeoPackage, and outlines that are simplified."""

import json
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pyproj
import pytest
import shapely
from saved_answers import GRIDS, answer, picture

from geoseg_agent.errors import InputError
from geoseg_agent.export import left_out, save
from geoseg_agent.formats import FORMATS
from geoseg_tools import Box

GIVEN = {"phrase": "pond", "score": 0.75, "confidence": 0.625, "engine": "offline-baseline", "trace_id": "01HZX"}


def rows(path, layer=None):
    """(crs, shapes, one dict per feature), by the number of its target and instance."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        meta = json.loads(table.schema.metadata[b"geo"])["columns"]["geometry"]
        crs = pyproj.CRS.from_json_dict(meta["crs"])
        found = [(shapely.from_wkb(row.pop("geometry")), row) for row in table.to_pylist()]
    else:
        meta, _, shapes, columns = pyogrio.raw.read(path, layer=layer)
        crs = pyproj.CRS(meta["crs"])
        records = (dict(zip(meta["fields"], values, strict=True)) for values in zip(*columns, strict=True))
        found = list(zip(shapely.from_wkb(shapes), records, strict=True))
    found.sort(key=lambda pair: (pair[1]["target"], pair[1].get("instance", 0)))
    return crs, [shape for shape, _ in found], [row for _, row in found]


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_every_format_says_the_same_in_the_crs_of_the_image(tmp_path, grid):
    given = answer(picture(georeference=grid), boxes=[Box(2, 2, 60, 58), Box(55, 2, 80, 58)])
    files = save(given, tmp_path, formats=FORMATS)
    assert sorted(files) == sorted(["mask_png", "overlay_png", "mask_tif", *(k for f in FORMATS.values() for k in f)])
    a, b, c, d, e, f = grid.transform
    for layer in ("targets", "instances"):
        crs, shapes, records = rows(files["targets_gpkg"], layer)
        for other in (files[f"{layer}_fgb"], files[f"{layer}_parquet"]):
            same, found, told = rows(other)
            assert same.equals(pyproj.CRS(grid.crs), ignore_axis_order=True)
            assert crs.equals(same, ignore_axis_order=True)
            assert all(shapely.equals(shapes, found))
            for one, two in zip(records, told, strict=True):
                assert {key: two[key] for key in one} == one
                assert GIVEN.items() <= two.items()
                assert two["area_m2"] > 0
        # By hand: where the centres of set pixels lie, X or longitude first.
        for shape, record in zip(shapes, records, strict=True):
            target = given.targets[record["target"] - 1]
            y, x = np.nonzero(target.mask)
            x, y = x + target.roi.x1 + 0.5, y + target.roi.y1 + 0.5
            inside = shapely.contains_xy(shape, a * x + b * y + c, d * x + e * y + f)
            assert inside.sum() == record["area_px"]


def test_geoparquet_follows_its_specification(tmp_path):
    files = save(answer(), tmp_path, formats=["geoparquet"])
    table = pq.read_table(files["instances_parquet"])
    told = json.loads(table.schema.metadata[b"geo"])
    geometry = told["columns"]["geometry"]
    assert (told["version"], told["primary_column"]) == ("1.1.0", "geometry")
    assert (geometry["encoding"], geometry["geometry_types"]) == ("WKB", ["MultiPolygon"])
    assert (geometry["orientation"], geometry["edges"]) == ("counterclockwise", "planar")
    assert geometry["crs"]["id"] == {"authority": "EPSG", "code": 32632}
    shapes = shapely.from_wkb(table["geometry"].to_pylist())
    assert geometry["bbox"] == shapely.total_bounds(shapes).tolist()
    assert all(polygon.exterior.is_ccw for shape in shapes for polygon in shape.geoms)
    for shape, box in zip(shapes, table["bbox"].to_pylist(), strict=True):
        assert tuple(box[side] for side in ("xmin", "ymin", "xmax", "ymax")) == shape.bounds
    assert geometry["covering"]["bbox"]["xmax"] == ["bbox", "xmax"]


@pytest.mark.parametrize("boxes", [[], [Box(0, 0, 10, 4), Box(0, 0, 80, 60)]])
def test_nothing_found_and_empty_masks(tmp_path, boxes):
    given = answer(boxes=boxes, confidence=None)
    files = save(given, tmp_path, formats=["fgb", "geoparquet"])
    for key in ("targets_fgb", "targets_parquet"):
        _, shapes, told = rows(files[key])
        assert [shape is None or shape.is_empty for shape in shapes] == [not t.mask.any() for t in given.targets]
        assert [row["area_m2"] > 0 for row in told] == [t.mask.any() for t in given.targets]
        assert all(row["confidence"] is None or np.isnan(row["confidence"]) for row in told)


def test_only_what_is_asked_for_is_written(tmp_path):
    given = answer()
    save(given, tmp_path, formats=FORMATS)
    assert sorted(save(given, tmp_path, formats=["fgb"])) == [
        "instances_fgb", "mask_png", "mask_tif", "overlay_png", "targets_fgb",
    ]  # fmt: skip
    assert len(list(tmp_path.iterdir())) == 5
    assert "targets_gpkg" not in save(given, tmp_path, formats=[])


def test_what_cannot_be_written_is_refused_before_anything_is(tmp_path):
    with pytest.raises(InputError, match="no vector format 'shp'") as caught:
        answer().save(tmp_path, formats=["gpkg", "shp"])
    assert "fgb" in caught.value.hint
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="simplified by"):
            answer().save(tmp_path, simplify=wrong)
    assert list(tmp_path.iterdir()) == []


WITHOUT = """
import sys
sys.modules["pyarrow"] = None
from geoseg_agent.errors import MissingExtra
from geoseg_agent.formats import chosen
print(chosen(["gpkg", "fgb"]))
try:
    chosen(["geoparquet"])
except MissingExtra as error:
    print(error)
"""


def test_without_the_extra_it_says_what_to_install():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert "('gpkg', 'fgb')" in done.stdout
    assert "pip install 'geoseg-agent[geoparquet]'" in done.stdout


def test_what_is_left_out_is_said(tmp_path):
    plain = answer(picture(georeference=None))
    assert left_out(plain, save(plain, tmp_path)) == ()
    (said,) = left_out(plain, save(plain, tmp_path, formats=["fgb"]), ["fgb"])
    assert said == "There is no fgb: scene.tif has no place on the ground."


@pytest.mark.parametrize("name", ["UTM", "rotated", "south up", "degrees", "own"])
def test_simplified_outlines_stay_near_valid_and_areas_stay_exact(tmp_path, name):
    grid = GRIDS[name]
    y, x = np.mgrid[:200, :300]
    radius = np.hypot(y - 100, x - 150)
    mask = (radius < 90) & (radius > 30)
    given = answer(picture(mask.shape, georeference=grid), mask)
    a, _, _, d, _, _ = grid.transform
    stray = 1.5 * float(np.hypot(a, d))
    exact = save(given, tmp_path / "exact", formats=FORMATS)
    loose = save(given, tmp_path / "loose", formats=FORMATS, simplify=stray)
    _, (full,), (row,) = rows(exact["targets_gpkg"], "targets")
    _, (few,), (same,) = rows(loose["targets_gpkg"], "targets")
    assert same == row
    assert few.is_valid
    assert [len(polygon.interiors) for polygon in few.geoms] == [1]
    assert shapely.get_num_coordinates(few) < shapely.get_num_coordinates(full) / 4
    assert shapely.hausdorff_distance(few, full) <= stray
    assert full.symmetric_difference(few).area < 0.03 * full.area
    # GeoJSON is the same outline, in degrees.
    feature = json.loads(loose["targets_geojson"].read_text())["features"][0]
    back = pyproj.Transformer.from_crs("OGC:CRS84", grid.crs, always_xy=True)
    drawn = shapely.transform(
        shapely.geometry.shape(feature["geometry"]), lambda c: np.stack(back.transform(*c.T), 1)
    )
    assert drawn.symmetric_difference(few).area < 1e-3 * few.area
    assert feature["properties"]["area_m2"] == row["area_m2"]
