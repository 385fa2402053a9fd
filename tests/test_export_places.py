"""Where results lie, from the file asked about to every file saved, against pyproj and sums by hand."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pyproj
import pytest
import rasterio
import shapely
from rasterio.control import GroundControlPoint
from rio_cogeo import cog_validate
from saved_answers import answer, pixel_areas

from geoseg_agent.decode import quiet
from geoseg_agent.export import left_out, save
from geoseg_agent.formats import FORMATS
from geoseg_agent.georeference import Georeference
from geoseg_agent.imagery import read_image

DATA = Path(__file__).parents[2] / "shared" / "data"
SIZE = (60, 80)
PLACES = {
    "antimeridian in degrees": ("EPSG:4326", (0.005, 0.0, 179.8, 0.0, -0.005, -16.0)),
    "antimeridian from the east": ("EPSG:4326", (0.005, 0.0, -180.2, 0.0, -0.005, -16.0)),
    "antimeridian in UTM": ("EPSG:32601", (500.0, 0.0, 285_000.0, 0.0, -500.0, 6_000_000.0)),
    "antimeridian in Fiji's grid": ("EPSG:3460", (500.0, 0.0, 2_110_000.0, 0.0, -500.0, 4_000_000.0)),
    "rotated": ("EPSG:2056", (1.7, 1.0, 2_600_000.0, 1.0, -1.7, 1_200_000.0)),
    "sheared": ("EPSG:25832", (2.0, 0.5, 500_000.0, 0.3, -1.0, 5_500_000.0)),
    "south up": ("EPSG:32733", (2.0, 0.0, 500_000.0, 0.0, 2.0, 7_000_000.0)),
    "degrees": ("EPSG:4326", (6e-6, 0.0, 6.8, 0.0, -6e-6, 50.9)),
    "degrees on another ellipsoid": ("EPSG:4267", (1e-4, 0.0, -100.0, 0.0, -1e-4, 40.0)),
    "north first in the authority's order": ("EPSG:31467", (0.5, 0.0, 3_500_000.0, 0.0, -0.5, 5_600_000.0)),
    "no EPSG code": ("ESRI:54009", (30.0, 0.0, 900_000.0, 0.0, -30.0, 5_000_000.0)),
    "of one's own": ("+proj=laea +lat_0=47 +lon_0=11 +ellps=GRS80", (9.0, 0.0, 5000.0, 0.0, -9.0, 5000.0)),
    "feet": ("EPSG:2263", (1.0, 0.0, 980_000.0, 0.0, -1.0, 200_000.0)),
}


def tif(path, **place):
    values = np.random.default_rng(1).integers(1, 255, (3, *SIZE)).astype(np.uint8)
    with quiet():
        dataset = rasterio.open(path, "w", driver="GTiff", height=60, width=80, count=3, dtype="uint8", **place)
    with dataset:
        dataset.write(values)
    return path


def ring(size):
    y, x = np.indices(size, sparse=True)
    radius = np.hypot(y - size[0] / 2, x - size[1] / 2) / min(size)
    return (radius < 0.45) & (radius > 0.15)


def assert_lies(files, source, mask):
    """Pixels of `mask`, and only they, are inside what was saved; `source` is what rasterio says of the image."""
    with quiet(), rasterio.open(files["mask_tif"]) as dataset:
        assert dataset.crs == source["crs"]
        assert dataset.transform == source["transform"]
        assert np.array_equal(dataset.read(1) == 1, mask)
    with quiet():
        assert cog_validate(files["mask_tif"], strict=True) == (True, [], [])
    rng = np.random.default_rng(6)
    rows, cols = (rng.integers(0, side, 3000) for side in mask.shape)
    a, b, c, d, e, f = tuple(source["transform"])[:6]
    x, y = a * (cols + 0.5) + b * (rows + 0.5) + c, d * (cols + 0.5) + e * (rows + 0.5) + f
    inside = mask[rows, cols]
    assert 0.05 < inside.mean() < 0.95
    for shape, crs in outlines(files):
        assert crs.equals(pyproj.CRS(source["crs"].to_wkt()), ignore_axis_order=True)
        assert np.array_equal(shapely.contains_xy(shape, x, y), inside)
    wgs84 = pyproj.Transformer.from_crs(pyproj.CRS(source["crs"].to_wkt()), "EPSG:4326", always_xy=True)
    lon, lat = wgs84.transform(x, y)
    (feature,) = json.loads(files["targets_geojson"].read_text("utf-8"))["features"]
    shape = shapely.geometry.shape(feature["geometry"])
    assert shape.is_valid
    west, _, east, _ = shape.bounds
    assert -180 <= west <= east <= 180
    assert np.array_equal(shapely.contains_xy(shape, (lon + 180) % 360 - 180, lat), inside)
    return shape


def outlines(files):
    """The one target's outline and CRS, as each native format has it."""
    for key in ("targets_gpkg", "targets_fgb"):
        meta, _, (shape,), _ = pyogrio.raw.read(files[key], **({"layer": "targets"} if "gpkg" in key else {}))
        yield shapely.from_wkb(shape), pyproj.CRS(meta["crs"])
    table = pq.read_table(files["targets_parquet"])
    told = json.loads(table.schema.metadata[b"geo"])["columns"]["geometry"]["crs"]
    yield shapely.from_wkb(table["geometry"][0].as_py()), pyproj.CRS.from_json_dict(told)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_from_the_file_asked_about_to_the_files_saved(tmp_path, place):
    crs, transform = place
    path = tif(tmp_path / "scene.tif", crs=crs, transform=rasterio.Affine(*transform))
    with quiet(), rasterio.open(path) as dataset:
        source = dict(dataset.profile)
    files = save(answer(read_image(path), ring(SIZE)), tmp_path / "out", formats=FORMATS)
    assert_lies(files, source, ring(SIZE))


@pytest.mark.parametrize("name", [name for name in PLACES if name.startswith("antimeridian")])
def test_only_degrees_are_cut_at_the_antimeridian(tmp_path, name):
    crs, transform = PLACES[name]
    path = tif(tmp_path / "scene.tif", crs=crs, transform=rasterio.Affine(*transform))
    files = save(answer(read_image(path), ring(SIZE)), tmp_path / "out", formats=FORMATS)
    for shape, _ in outlines(files):
        assert [len(polygon.interiors) for polygon in shape.geoms] == [1]
    (feature,) = json.loads(files["targets_geojson"].read_text("utf-8"))["features"]
    parts = shapely.geometry.shape(feature["geometry"])
    west, _, east, _ = parts.bounds
    assert (round(west), round(east)) == (-180, 180)
    assert all(part.bounds[2] - part.bounds[0] < 1 for part in parts.geoms)
    wanted = feature["properties"]["area_m2"]
    assert pyproj.Geod(ellps="WGS84").geometry_area_perimeter(parts)[0] == pytest.approx(wanted, rel=1e-3)


def test_control_points_alone_give_pictures_and_a_word_about_it(tmp_path):
    corners = [(0, 0), (0, 80), (60, 0), (60, 80)]
    points = [GroundControlPoint(row, col, 10 + col / 1e4, 50 - row / 1e4) for row, col in corners]
    path = tif(tmp_path / "scene.tif", crs="EPSG:4326", transform=None, gcps=points)
    given = answer(read_image(path), ring(SIZE))
    files = given.save(tmp_path / "out")
    assert sorted(files) == ["mask_png", "overlay_png"]
    (said,) = left_out(given, files)
    assert "ground control points" in said
    assert "gdalwarp" in said
    path.unlink()
    assert left_out(given, files) == ()


def test_another_planet_has_a_grid_and_a_word_about_what_it_has_not(tmp_path):
    moon = "+proj=eqc +lat_0=0 +lon_0=0 +R=1737400 +units=m +type=crs"
    path = tif(tmp_path / "scene.tif", crs=moon, transform=rasterio.Affine(10, 0, 5000, 0, -10, 5000))
    given = answer(read_image(path), ring(SIZE))
    files = given.save(tmp_path / "out")
    assert sorted(files) == ["mask_png", "mask_tif", "overlay_png"]
    (said,) = left_out(given, files)
    assert said == (
        "There is no geojson, gpkg: the CRS of scene.tif does not lead to WGS 84, or a mask goes around a pole."
    )


def test_a_mask_around_a_pole_has_no_outline_in_degrees_and_one_beside_it_has(tmp_path):
    scale = 50.0
    half = SIZE[1] / 2 * scale, SIZE[0] / 2 * scale
    grid = rasterio.Affine(scale, 0, -half[0], 0, -scale, half[1])
    image = read_image(tif(tmp_path / "scene.tif", crs="EPSG:3413", transform=grid))
    given = answer(image, np.ones(SIZE, bool))
    files = given.save(tmp_path / "out")
    assert sorted(files) == ["mask_png", "mask_tif", "overlay_png"]
    assert "goes around a pole" in left_out(given, files)[0]
    beside = np.zeros(SIZE, bool)
    beside[SIZE[0] // 2 + 2 :] = True
    files = answer(image, beside).save(tmp_path / "beside")
    feature = json.loads(files["targets_geojson"].read_text("utf-8"))["features"][0]
    # The projection is true to scale at 70 degrees north, and shrinks lengths at the pole by 0.97.
    assert feature["properties"]["area_m2"] == pytest.approx(beside.sum() * scale**2 / 0.97**2, rel=0.005)


@pytest.mark.data
@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
@pytest.mark.parametrize("file", sorted(DATA.glob("*/*.tif")), ids=lambda file: file.stem)
def test_real_georeferenced_files(tmp_path, file):
    image = read_image(file)
    with rasterio.open(file) as dataset:
        source = dict(dataset.profile)
        unseen = dataset.dataset_mask() == 0
    given = answer(image, ring(image.size))
    files = save(given, tmp_path, formats=FORMATS)
    assert_lies(files, source, given.mask)
    assert not (given.mask & unseen).any()
    # Pixel areas vary slowly: one in every block of 50 x 50 stands for it.
    a, b, c, d, e, f = image.georeference.transform
    coarse = Georeference(image.georeference.crs, (50 * a, 50 * b, c, 50 * d, 50 * e, f))
    high, wide = (-(-side // 50) for side in image.size)
    padded = np.zeros((high * 50, wide * 50), bool)
    padded[: image.size[0], : image.size[1]] = given.mask
    share = padded.reshape(high, 50, wide, 50).mean(axis=(1, 3))
    feature = json.loads(files["targets_geojson"].read_text("utf-8"))["features"][0]
    assert feature["properties"]["area_m2"] == pytest.approx(
        (pixel_areas(coarse, (high, wide)) * share).sum(), rel=0.01
    )
