"""A raster that is opened shows, window by window, what reading it shows."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
import rasters
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasters import KINDS, LAYOUTS

import geoseg_tools
from geoseg_agent import ImageError
from geoseg_agent.imagery import as_image, read_image
from geoseg_agent.opened import Limits, OpenedScene
from geoseg_agent.raster_bands import plan_of
from geoseg_agent.raster_blocks import parts, spans_of
from geoseg_tools import Box, whole

DATA = Path(__file__).parents[2] / "shared" / "data"
SIZE = (150, 190)
ANY = Limits(10**6, direct=0)


def opened(path, limits=ANY, **options):
    """The file as an opened image whose windows may all be read, and be coarse however small they are."""
    image = read_image(path, max_pixels=1000, **options)
    assert image.opened
    scene = OpenedScene(image.sha256, image.scene._source, limits)
    image.scene._finalizer.detach()
    object.__setattr__(image, "scene", scene)
    return image


def seen(scene, window):
    found = scene.seen(window)
    return np.ones(window.size, bool) if found is None else found


def windows(size=SIZE):
    def box(edges):
        (x1, x2), (y1, y2) = edges
        return Box(x1, y1, x2, y2)

    def side(most):
        return st.tuples(st.integers(0, most - 1), st.integers(1, most)).map(lambda ab: (ab[0], ab[0] + ab[1]))

    return st.tuples(side(size[1]), side(size[0])).map(box).map(lambda one: one.clamp(size))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Every kind of raster in every layout, with and without overviews."""
    folder, rng = tmp_path_factory.mktemp("rasters"), np.random.default_rng(5)
    return [
        make(folder / f"{make.__name__}-{name}-{len(levels)}.tif", rng, SIZE, overviews=levels, **layout)
        for make in KINDS
        for name, layout in LAYOUTS.items()
        if not (make in {rasters.floats, rasters.four_bits} and "predictor" in layout)
        for levels in ((), (2, 4))
    ]


def test_every_window_of_every_kind_of_file_is_what_reading_it_gives(files):
    rng = np.random.default_rng(9)
    for path in files:
        whole_image, image = read_image(path), opened(path)
        assert (image.size, image.bands, image.stretch) == (SIZE, whole_image.bands, whole_image.stretch)
        assert image.georeference == whole_image.georeference
        assert image.file_sha256 is None
        xs, ys = np.sort(rng.integers(0, SIZE[1], (5, 2))), np.sort(rng.integers(0, SIZE[0], (5, 2)))
        inner = [Box(int(x[0]), int(y[0]), int(x[1]) + 1, int(y[1]) + 1) for x, y in zip(xs, ys, strict=True)]
        for window in (whole(SIZE), *inner):
            expected, found = whole_image.scene.view(window), image.scene.view(window)
            assert np.array_equal(found.pixels, expected.pixels), path.name
            assert np.array_equal(seen(image.scene, window), seen(whole_image.scene, window)), path.name
        image.close()


def test_a_coarse_view_is_the_average_of_what_is_valid(files):
    for path in files:
        whole_image, image = read_image(path), opened(path)
        for window in (whole(SIZE), Box(11, 23, 171, 140)):
            size = (window.height // 4 + 1, window.width // 5)
            pixels, valid = image.scene.view(window, size)
            there = seen(whole_image.scene, window)
            full = whole_image.scene.view(window).pixels.astype(np.float32)
            area = {"dsize": size[::-1], "interpolation": cv2.INTER_AREA}
            share = cv2.resize(there.astype(np.float32), **area)
            means = cv2.resize(full * there[..., None], **area) / np.maximum(share, 1e-9)[..., None]
            good = np.ones(size, bool) if valid is None else valid
            levels = len(image.scene._source.levels)
            if levels == 1:
                assert np.array_equal(good[abs(share - 0.5) > 1e-3], share[abs(share - 0.5) > 1e-3] > 0.5)
                assert np.abs(pixels[good] - means[good]).max() < 1, path.name
            else:  # an overview is as good as whoever made it, and rounds on its own
                clear = share > 0.999
                assert clear.any()
                assert good[clear].mean() > 0.98
                off = np.abs(pixels[clear & good] - means[clear & good])
                assert off.mean() < 4, path.name
        image.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(window=windows(), data=st.data())
def test_any_resolution_that_is_enough_is_what_comes(files, window, data):
    enough = data.draw(st.tuples(st.integers(1, 2 * window.height), st.integers(1, 2 * window.width)))
    path = data.draw(st.sampled_from(files[:16]))
    image = opened(path)
    pixels, valid = image.scene.view(window, enough)
    assert pixels.shape == (min(window.height, enough[0]), min(window.width, enough[1]), 3)
    assert pixels.dtype == np.uint8
    assert valid is None or valid.shape == pixels.shape[:2]
    image.close()


@settings(deadline=None)
@given(windows((300, 400)), st.integers(1, 500), st.integers(1, 500), st.integers(500, 50_000))
def test_parts_cover_a_window_once_and_cut_no_block(window, rows, columns, most):
    count = np.zeros((300, 400), int)
    for part in parts(window, (rows, columns), most):
        count[part.slices] += 1
        for value, start, stop, step in (
            (part.x1, window.x1, window.x2, columns),
            (part.x2, window.x1, window.x2, columns),
            (part.y1, window.y1, window.y2, rows),
            (part.y2, window.y1, window.y2, rows),
        ):
            assert value % step == 0 or value in {start, stop}
    assert (count[window.slices] == 1).all()
    assert count.sum() == window.area


def test_what_is_small_is_read_at_its_finest(tmp_path):
    image = opened(rasters.rgb(tmp_path / "a.tif", np.random.default_rng(1), SIZE), Limits(10**6, direct=20_000))
    window = Box(10, 10, 150, 150)
    assert image.scene.view(window, (9, 9)).pixels.shape == (140, 140, 3)
    assert image.scene.view(whole(SIZE), (9, 9)).pixels.shape == (9, 9, 3)


def test_a_window_that_is_too_large_says_so(tmp_path):
    image = opened(rasters.nodata(tmp_path / "a.tif", np.random.default_rng(1), SIZE), Limits(20_000))
    with pytest.raises(ImageError, match=r"190 x 150 = 28,500 pixels of a\.tif .* 20,000") as caught:
        image.scene.view(whole(SIZE))
    assert "smaller part" in caught.value.hint
    with pytest.raises(ImageError, match="190 x 110"):
        image.scene.view(whole(SIZE), (110, 999))
    with pytest.raises(geoseg_tools.GeometryError, match="reaches over"):
        image.scene.view(Box(0, 0, 191, 10))
    eager = read_image(tmp_path / "a.tif")
    assert np.array_equal(image.scene.seen(whole(SIZE)), eager.valid)


def test_all_pixels_at_once_are_not_to_be_had(tmp_path):
    image = read_image(rasters.rgb(tmp_path / "a.tif", np.random.default_rng(1), SIZE), max_pixels=1000)
    for ask in (lambda: image.pixels, lambda: image.valid):
        with pytest.raises(geoseg_tools.WindowsOnlyError, match=r"a\.tif has 190 x 150") as caught:
            ask()
        assert "scene.view" in caught.value.hint
    assert image.scene.has_pixels
    assert as_image(image, max_pixels=1000) is image


def test_one_window_is_decoded_once_and_its_parts_with_it(tmp_path):
    image = opened(rasters.nodata(tmp_path / "a.tif", np.random.default_rng(1), SIZE))
    crop = image.crop(Box(5, 5, 90, 80))
    first = crop.pixels
    assert crop.pixels is first
    assert np.shares_memory(image.crop(Box(10, 10, 20, 20)).pixels, first)
    assert crop.valid is image.scene.view(crop.roi).valid
    for array in (first, crop.valid):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 0


def test_many_threads_read_one_file(tmp_path):
    path = rasters.alpha(tmp_path / "a.tif", np.random.default_rng(1), SIZE, **LAYOUTS["tiles"])
    image, eager = opened(path), read_image(path)
    boxes = [Box(x, y, x + 40, y + 30) for x in range(0, 150, 7) for y in range(0, 120, 11)]
    start = threading.Barrier(4)

    def look(turn):
        start.wait()
        return [np.array_equal(image.scene.view(box).pixels, eager.pixels[box.slices]) for box in boxes[turn::2]]

    with ThreadPoolExecutor(4) as threads:
        assert all(all(found) for found in threads.map(look, [0, 1, 0, 1]))


@pytest.mark.parametrize("bands", [(2,), (3, 1, 2)])
def test_bands_are_chosen_and_belong_to_the_digest(tmp_path, bands):
    path = rasters.sixteen_bits(tmp_path / "a.tif", np.random.default_rng(1), SIZE)
    image, eager = opened(path, bands=bands), read_image(path, bands=bands)
    assert np.array_equal(image.scene.view(whole(SIZE)).pixels, eager.pixels)
    assert (image.bands, image.stretch) == (bands, eager.stretch)
    assert image.sha256 != opened(path).sha256


GRIDS = {
    "turned": {"transform": rasterio.Affine(1.7, 1.0, 400_000, 1.0, -1.7, 5_000_000)},
    "south up": {"transform": rasterio.Affine(0.5, 0, 500_000, 0, 0.5, 5_600_000)},
    "antimeridian": {"crs": "EPSG:4326", "transform": rasterio.Affine(0.01, 0, 179.2, 0, -0.01, 10)},
    "own CRS": {"crs": "+proj=laea +lat_0=47 +lon_0=11 +ellps=GRS80 +units=m"},
    "nowhere": {"crs": None},
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_its_place_on_the_ground_is_that_of_the_file(tmp_path, grid):
    path = rasters.rgb(tmp_path / "a.tif", np.random.default_rng(1), SIZE, **grid)
    assert opened(path).georeference == read_image(path).georeference


def test_control_points_alone_give_no_place(tmp_path):
    points = [
        rasterio.control.GroundControlPoint(r, c, 10 + c / 1e3, 50 - r / 1e3) for r, c in [(0, 0), (9, 0), (0, 9)]
    ]
    grid = {"crs": "EPSG:4326", "transform": None, "gcps": points}
    path = rasters.rgb(tmp_path / "a.tif", np.random.default_rng(1), SIZE, **grid)
    image = opened(path)
    assert image.georeference is None
    assert np.array_equal(image.scene.view(whole(SIZE)).pixels, read_image(path).pixels)


class Counting:
    """A source that counts the pixels it reads."""

    def __init__(self, source):
        self._source = source
        self.pixels = 0
        self.levels = tuple(level._replace(read=self._counted(level)) for level in source.levels)

    def __getattr__(self, name):
        return getattr(self._source, name)

    def _counted(self, level):
        def read(box):
            self.pixels += box.area
            return level.read(box)

        return read


def counted(path, limits):
    image = read_image(path, max_pixels=1000)
    image.scene._finalizer.detach()
    source = Counting(image.scene._source)
    return OpenedScene(image.sha256, source, limits), source


def test_without_overviews_the_whole_is_read_once_and_said(tmp_path, caplog):
    path = rasters.nodata(tmp_path / "a.tif", np.random.default_rng(1), SIZE, **LAYOUTS["strips"])
    scene, source = counted(path, Limits(10**6, direct=0, slow=20_000, side=95))
    with caplog.at_level("WARNING", "geoseg_agent"):
        first = scene.view(whole(SIZE), (75, 95))
        for size in ((70, 80), (30, 40), (5, 5)):
            scene.view(whole(SIZE), size)
            scene.view(Box(0, 0, 180, 140), size)
    assert source.pixels == whole(SIZE).area
    assert len(caplog.records) == 1
    assert "gdaladdo" in caplog.text
    assert "a.tif" in caplog.text
    direct = opened(path).scene.view(whole(SIZE), (75, 95))
    assert np.array_equal(first.pixels, direct.pixels)
    assert np.array_equal(first.valid, direct.valid)
    small, exact = scene.view(whole(SIZE), (30, 40)), opened(path).scene.view(whole(SIZE), (30, 40))
    both = small.valid & exact.valid
    assert (small.valid == exact.valid).mean() > 0.98
    assert np.abs(small.pixels[both].astype(int) - exact.pixels[both]).mean() < 1
    scene.view(whole(SIZE), (100, 100))
    assert source.pixels == 2 * whole(SIZE).area


def test_with_overviews_only_as_much_is_read_as_is_needed(tmp_path, caplog):
    path = rasters.rgb(tmp_path / "a.tif", np.random.default_rng(1), SIZE, overviews=(2, 4), **LAYOUTS["tiles"])
    scene, source = counted(path, Limits(10**6, direct=0, slow=5000))
    with caplog.at_level("WARNING", "geoseg_agent"):
        scene.view(whole(SIZE), (30, 30))
    assert source.pixels == 38 * 48
    scene.view(Box(40, 40, 140, 100), (30, 50))
    assert source.pixels == 38 * 48 + 50 * 30
    assert not caplog.records


def test_a_stretch_from_blocks_is_close_to_that_of_all_pixels(tmp_path):
    rng = np.random.default_rng(3)
    path = rasters.sixteen_bits(tmp_path / "a.tif", rng, (600, 800), tiled=True, blockxsize=64, blockysize=64)
    with rasterio.open(path) as dataset:
        plan = plan_of(dataset, None, "a.tif")
        everything = spans_of(dataset, plan, (64, 64), "a.tif")
        some = spans_of(dataset, plan, (64, 64), "a.tif", most=100_000)
    assert some != everything
    for (low, high), (least, most) in zip(some, everything, strict=True):
        assert abs(low - least) < 0.05 * (most - least)
        assert abs(high - most) < 0.05 * (most - least)


def test_where_a_sample_meets_nodata_only_all_is_looked_at(tmp_path):
    band = np.full((1, 400, 400), np.nan, np.float32)
    band[0, 390:, 390:] = np.arange(100).reshape(10, 10)
    path = rasters.write(tmp_path / "a.tif", band, tiled=True, blockxsize=16, blockysize=16)
    with rasterio.open(path) as dataset:
        (span,) = spans_of(dataset, plan_of(dataset, None, "a.tif"), (16, 16), "a.tif", most=2000)
    assert span == tuple(np.percentile(np.arange(100), (2, 98), method="nearest"))


@pytest.mark.data
@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
def test_real_files_are_the_same_opened_and_read():
    files = sorted(DATA.glob("*/*.tif"))
    assert len(files) >= 11
    for file in files:
        eager, image = read_image(file), read_image(file, max_pixels=1000)
        assert image.opened
        window = whole(eager.size)
        assert np.array_equal(image.scene.view(window).pixels, eager.pixels), file.name
        assert np.array_equal(seen(image.scene, window), seen(eager.scene, window)), file.name
        assert (image.georeference, image.stretch, image.bands) == (eager.georeference, eager.stretch, eager.bands)


def test_what_would_take_for_ever_is_refused_with_the_remedy(tmp_path):
    path = rasters.rgb(tmp_path / "a.tif", np.random.default_rng(1), SIZE, overviews=(2,))
    image = opened(path, Limits(10**6, direct=0, most=10_000))
    assert image.scene.view(whole(SIZE), (75, 95)).pixels.shape == (75, 95, 3)
    with pytest.raises(ImageError, match="28,500 pixels would have to be read") as caught:
        image.scene.view(whole(SIZE), (76, 96))
    assert "gdaladdo" in caught.value.hint


def test_a_large_raster_of_nodata_only_is_refused_as_a_small_one_is(tmp_path):
    path = rasters.write(tmp_path / "a.tif", np.full((1, *SIZE), np.nan, np.float32))
    for limit in (1000, 10**6):
        with pytest.raises(ImageError, match=r"a\.tif has no valid pixel"):
            read_image(path, max_pixels=limit)
