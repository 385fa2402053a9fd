"""Answers as files: exact masks, the image's own grid, polygons with true areas, pictures for people."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from saved_answers import GEOD, GRIDS, UTM, answer, blobs, load, picture, pixel_areas, wordy

from geoseg_agent.errors import InputError
from geoseg_agent.export import overlay_png, save
from geoseg_agent.geodesy import Ground, footprints
from geoseg_agent.georeference import Georeference
from geoseg_agent.imagery import Image
from geoseg_agent.outlines import outlines
from geoseg_tools import Box

FULL_DISK = Path(__file__).parent / "support" / "full_disk.py"


def test_files_of_a_plain_image(tmp_path):
    given_ = answer(picture(georeference=None))
    files = save(given_, tmp_path / "new" / "folder")
    assert files == {name + "_png": tmp_path / "new" / "folder" / f"{name}.png" for name in ("mask", "overlay")}
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == ["mask.png", "overlay.png"]
    mask = load(files["mask_png"])
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, given_.mask * np.uint8(255))


def test_files_of_a_georeferenced_image(tmp_path):
    files = answer().save(tmp_path)
    assert {key: path.name for key, path in files.items()} == {
        "mask_png": "mask.png",
        "overlay_png": "overlay.png",
        "mask_tif": "mask.tif",
        "targets_geojson": "targets.geojson",
        "targets_gpkg": "targets.gpkg",
    }
    assert all(path.stat().st_size > 0 for path in files.values())


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_the_geotiff_has_the_grid_of_the_image(tmp_path, grid):
    valid = np.ones((60, 80), bool)
    valid[:, :30] = False
    given_ = answer(picture(georeference=grid, valid=valid))
    with rasterio.open(save(given_, tmp_path)["mask_tif"]) as dataset:
        assert dataset.crs == rasterio.crs.CRS.from_user_input(grid.crs)
        assert tuple(dataset.transform)[:6] == grid.transform
        assert (dataset.shape, dataset.count, dataset.dtypes, dataset.nodata) == ((60, 80), 1, ("uint8",), 255)
        assert dataset.profile["compress"] == "deflate"
        assert dataset.profile["tiled"]
        values = dataset.read(1)
        tags = dataset.tags()
    assert np.array_equal(values == 255, ~valid)
    assert np.array_equal(values == 1, given_.mask)
    assert given_.mask.any()
    assert {"engine": "offline-baseline", "status": "found", "query": "Where is the pond?"}.items() <= tags.items()
    assert (tags["confidence"], tags["trace_id"]) == ("0.625", "01HZX")


def test_large_masks_are_written_in_strips_without_seams(tmp_path):
    image = picture((5000, 300))
    mask = np.kron(np.random.default_rng(1).random((500, 30)) < 0.3, np.ones((10, 10))) > 0
    given_ = answer(image, mask, [Box(0, 0, 200, 4500), Box(120, 3000, 300, 5000)])
    with rasterio.open(save(given_, tmp_path)["mask_tif"]) as dataset:
        assert np.array_equal(dataset.read(1), given_.mask)


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.integers(0, 9), st.integers(0, 9))
def test_outlines_are_valid_and_cover_the_pixels_exactly(mask, left, top):
    place = Box(left, top, left + mask.shape[1], top + mask.shape[0])
    (shape,) = outlines([(mask, place)])
    assert shape.is_valid
    assert shape.area == mask.sum()
    rows, cols = np.nonzero(mask)
    centres = shapely.points(cols + left + 0.5, rows + top + 0.5)
    assert shapely.contains(shape, centres).all()


def test_many_outlines_at_once_are_those_of_each_alone():
    rng = np.random.default_rng(2)
    parts = []
    for _ in range(300):
        (left, top), (width, height) = rng.integers(0, 40, 2).tolist(), rng.integers(1, 12, 2).tolist()
        parts.append((rng.random((height, width)) < 0.6, Box(left, top, left + width, top + height)))
    together = outlines(parts)
    assert all(shapely.equals(shape, outlines([part])[0]) for shape, part in zip(together, parts, strict=True))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_areas_are_those_of_the_pixels_on_the_ellipsoid(grid):
    mask = blobs()[5:55, 5:75]
    pixels = pixel_areas(grid, (60, 80))[5:55, 5:75]
    (place,) = footprints([(mask, Box(5, 5, 75, 55))], Ground(grid, (60, 80)))
    assert place.area_m2 == pytest.approx(pixels[mask].sum(), rel=1e-3)
    drawn, _ = GEOD.geometry_area_perimeter(place.lonlat)
    assert drawn == pytest.approx(place.area_m2, rel=1e-9)


def test_the_planar_area_would_be_far_off():
    grid = GRIDS["mercator at 48 degrees"]
    mask = np.ones((20, 20), bool)
    (place,) = footprints([(mask, Box(0, 0, 20, 20))], Ground(grid, (20, 20)))
    assert place.native.area / place.area_m2 == pytest.approx(2.27, abs=0.02)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_geojson_follows_the_rfc(tmp_path, grid):
    given_ = answer(picture(georeference=grid), boxes=[Box(2, 2, 60, 58), Box(55, 2, 80, 58)])
    body = json.loads(save(given_, tmp_path)["targets_geojson"].read_text("utf-8"))
    assert sorted(body) == ["features", "type"]
    assert body["type"] == "FeatureCollection"
    assert len(body["features"]) == 2
    for feature, target in zip(body["features"], given_.targets, strict=True):
        shape = shapely.geometry.shape(feature["geometry"])
        assert shape.geom_type == "MultiPolygon"
        assert shape.is_valid
        west, south, east, north = shape.bounds
        assert -180 <= west <= east <= 180
        assert -90 <= south <= north <= 90
        for polygon in shape.geoms:
            assert polygon.exterior.is_ccw
            assert not any(ring.is_ccw for ring in polygon.interiors)
        properties = feature["properties"]
        drawn, _ = GEOD.geometry_area_perimeter(shape)
        assert abs(drawn) == pytest.approx(properties["area_m2"], rel=2e-3)
        assert properties["area_px"] == target.mask.sum()
        assert properties["instances"] == len(target.instances)
        wanted = {"phrase": "pond", "score": 0.75, "confidence": 0.625, "rule": "both", "status": "found"}
        wanted |= {"engine": "offline-baseline", "query": "Where is the pond?", "trace_id": "01HZX"}
        assert wanted.items() <= properties.items()


def test_geojson_lies_where_the_image_lies(tmp_path):
    given_ = answer()
    shape = shapely.geometry.shape(
        json.loads(save(given_, tmp_path)["targets_geojson"].read_text())["features"][0]["geometry"]
    )
    rows, cols = np.nonzero(given_.mask)
    to_degrees = pyproj.Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(500_000 + (cols + 0.5) / 2, 5_600_000 - (rows + 0.5) / 2)
    assert shapely.contains_xy(shape, lon, lat).all()
    assert len(shape.geoms) == 4
    assert sum(len(polygon.interiors) for polygon in shape.geoms) == 1


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_geopackage_in_the_crs_of_the_image(tmp_path, grid):
    given_ = answer(picture(georeference=grid))
    path = save(given_, tmp_path)["targets_gpkg"]
    assert [tuple(row) for row in pyogrio.list_layers(path)] == [
        (n, "MultiPolygon") for n in ("targets", "instances")
    ]
    meta, _, blobs_, columns = pyogrio.raw.read(path, layer="targets")
    assert pyproj.CRS(meta["crs"]).equals(pyproj.CRS(grid.crs), ignore_axis_order=True)
    (shape,) = shapely.from_wkb(blobs_)
    assert shape.is_valid
    a, b, _, d, e, _ = grid.transform
    assert shape.area == pytest.approx(given_.mask.sum() * abs(a * e - b * d), rel=1e-6)
    row = dict(zip(meta["fields"], (column[0] for column in columns), strict=True))
    assert (row["phrase"], row["score"], row["rule"], row["engine"]) == ("pond", 0.75, "both", "offline-baseline")
    (place,) = footprints([(given_.targets[0].mask, given_.targets[0].roi)], Ground(grid, (60, 80)))
    assert row["area_m2"] == place.area_m2
    meta, _, blobs_, columns = pyogrio.raw.read(path, layer="instances")
    instances = dict(zip(meta["fields"], columns, strict=True))
    assert instances["instance"].tolist() == [1, 2, 3]
    assert instances["area_px"].sum() == given_.mask.sum()
    assert instances["area_m2"].sum() == pytest.approx(row["area_m2"])
    assert all(shapely.from_wkb(blobs_) != None)  # noqa: E711 - element-wise


def test_polygons_over_the_antimeridian_are_cut(tmp_path):
    grid = Georeference("EPSG:32601", (500.0, 0.0, 285_000.0, 0.0, -500.0, 6_000_000.0))
    mask = np.zeros((60, 80), bool)
    mask[10:40, 5:75] = True
    files = save(answer(picture(georeference=grid), mask), tmp_path)
    feature = json.loads(files["targets_geojson"].read_text())["features"][0]
    shape = shapely.geometry.shape(feature["geometry"])
    assert shape.is_valid
    assert len(shape.geoms) == 2
    west, _, east, _ = shape.bounds
    assert (round(west), round(east)) == (-180, 180)
    assert sum(polygon.bounds[2] - polygon.bounds[0] for polygon in shape.geoms) < 2
    pixels = pixel_areas(grid, (60, 80))
    assert feature["properties"]["area_m2"] == pytest.approx(pixels[mask].sum(), rel=1e-3)
    assert GEOD.geometry_area_perimeter(shape)[0] == pytest.approx(pixels[mask].sum(), rel=1e-3)


def test_nothing_found_and_empty_masks(tmp_path):
    files = save(answer(boxes=[], confidence=None), tmp_path / "none")
    assert not load(files["mask_png"]).any()
    assert json.loads(files["targets_geojson"].read_text())["features"] == []
    assert pyogrio.read_info(files["targets_gpkg"], layer="instances")["features"] == 0
    with rasterio.open(files["mask_tif"]) as dataset:
        assert dataset.tags()["status"] == "not_found"
        assert "confidence" not in dataset.tags()
    files = save(answer(mask=np.zeros((60, 80), bool)), tmp_path / "empty")
    (feature,) = json.loads(files["targets_geojson"].read_text())["features"]
    assert feature["geometry"] is None
    assert feature["properties"]["area_m2"] == 0
    assert pyogrio.read_info(files["targets_gpkg"], layer="targets")["features"] == 1


def test_a_crs_of_another_planet_has_a_grid_but_no_vectors(tmp_path):
    moon = "+proj=eqc +lat_0=0 +lon_0=0 +R=1737400 +units=m +type=crs"
    files = save(answer(picture(georeference=Georeference(moon, UTM.transform))), tmp_path)
    assert sorted(files) == ["mask_png", "mask_tif", "overlay_png"]


def test_an_earlier_answer_leaves_nothing_behind(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    save(answer(), tmp_path)
    save(answer(picture(georeference=None, seed=9)), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.png", "notes.txt", "overlay.png"]


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "taken").write_text("mine")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "below"):
        with pytest.raises(InputError, match="cannot be written") as caught:
            save(answer(), folder)
        assert caught.value.hint
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize("victim", ["mask.png", "mask.tif", "targets.geojson", "targets.gpkg"])
def test_a_full_disk_leaves_the_earlier_answer_whole(tmp_path, victim):
    """Stands for a full disk: no file may grow to the size that the victim needs."""
    sizes = {key: path.stat().st_size for key, path in save(wordy(), tmp_path / "sizes").items()}
    assert sizes["mask_png"] < sizes["mask_tif"] < sizes["targets_geojson"] < sizes["targets_gpkg"]
    limit = sizes[victim.replace(".", "_")] - 100
    folder = tmp_path / "results"
    save(answer(), folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    command = [sys.executable, "-W", "error", FULL_DISK, folder, str(limit)]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "cannot be written" in child.stdout
    assert child.stderr == ""
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_overlay_shows_the_image_the_mask_and_a_caption(tmp_path):
    image = Image.from_array(np.full((800, 900, 3), 90, np.uint8))
    mask = np.zeros(image.size, bool)
    mask[200:400, 300:600] = True
    shown = load(save(answer(image, mask, [Box(300, 200, 600, 400)]), tmp_path)["overlay_png"]).astype(int)
    assert shown.shape[1] == 900
    assert 840 < shown.shape[0] < 960
    assert (shown[700, 100] == 90).all()
    assert shown[300, 450, 0] > shown[300, 450, 2] + 40
    caption = shown[800:]
    assert caption.max() > 200
    assert (caption == caption[-1, -1]).all(axis=-1).mean() > 0.7


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (900, 8), (40, 50), (2500, 1600)])
def test_overlays_of_any_size(size):
    image = picture(size, georeference=None)
    box = Box(0, 0, max(1, size[1] // 2), max(1, size[0] // 2))
    mask = np.ones(size, bool)
    long = answer(image, mask, [box] * 9, query="where " * 300)
    for given_ in (answer(image, mask, [box]), answer(image, mask, []), long):
        shown = load(io.BytesIO(overlay_png(given_)))
        assert 200 < max(shown.shape) < 1400


def test_an_answer_from_a_trace_is_drawn_without_its_image():
    image = Image.replayed((200, 300), "0" * 64)
    mask = np.zeros(image.size, bool)
    mask[50:100, 60:200] = True
    assert answer(image, mask, [Box(60, 50, 200, 100)])._repr_png_().startswith(b"\x89PNG")
