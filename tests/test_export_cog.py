"""mask.tif: a cloud-optimised GeoTIFF, written and checked block by block."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rio_cogeo import cog_validate
from saved_answers import GRIDS, UTM, answer, load, picture, wordy

from geoseg_agent.cog import write_mask
from geoseg_agent.decode import quiet
from geoseg_agent.drawing import sampled_means
from geoseg_agent.export import left_out, save
from geoseg_agent.georeference import Georeference
from geoseg_agent.imagery import Image
from geoseg_tools import Box, NoPixelsError, Scene
from geoseg_tools.crop import View

FULL_DISK = Path(__file__).parent / "support" / "full_disk.py"


def assert_optimised(path, *, strict=True):
    with quiet():
        valid, errors, warnings = cog_validate(path, strict=strict)
    assert (valid, errors) == (True, [])
    assert not (strict and warnings)


def values(path, **how):
    """The pixels of a file, which may have no place on the ground."""
    with quiet():
        dataset = rasterio.open(path, **how)
    with dataset:
        return dataset.read(1)


def spread(size):
    """A mask and validity with whole blocks of nothing, of everything and of nodata."""
    mask = np.zeros(size, bool)
    mask[600:1300, 100:500] = True
    mask[620:640, 120:140] = False
    valid = np.ones(size, bool)
    valid[:, :80] = False
    valid[1100:, 480:] = False
    return mask, valid


class Windowed(Scene):
    """Pixels that come by windows only, as from an opened file; it notes how much was looked at at once."""

    def __init__(self, image):
        super().__init__(image.size, image.sha256)
        self.image, self.looks = image, []

    @property
    def pixels(self):
        raise NoPixelsError("this scene is opened, not read")

    @property
    def valid(self):
        raise AssertionError("nobody may ask for the whole validity of an opened scene")

    @property
    def has_pixels(self):
        return True

    def seen(self, window):
        self.looks.append(window.area)
        return self.image.scene.seen(window)

    def view(self, window, at_least=None):
        self.looks.append(window.area if at_least is None else at_least[0] * at_least[1])
        pixels, valid = self.image.scene.view(window)
        if at_least is not None and window.size != at_least:
            rows, columns = (np.arange(few) * many // few for few, many in zip(at_least, window.size, strict=True))
            pixels, valid = pixels[np.ix_(rows, columns)], valid[np.ix_(rows, columns)]
        return View(pixels, valid)


@pytest.mark.parametrize(
    ("grid", "in_memory"),
    [*((grid, True) for grid in GRIDS.values()), (None, True), (GRIDS["rotated"], False), (None, False)],
    ids=[*GRIDS, "none", "rotated on disk", "none on disk"],
)
def test_it_passes_the_validator_on_every_grid(tmp_path, grid, in_memory):
    mask, valid = spread((1400, 700))
    given = answer(picture(mask.shape, georeference=grid, valid=valid), mask)
    write_mask(given, tmp_path / "mask.tif", in_memory=in_memory)
    assert_optimised(tmp_path / "mask.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["mask.tif"]
    assert np.array_equal(values(tmp_path / "mask.tif"), np.where(valid, given.mask, 255))
    with quiet(), rasterio.open(tmp_path / "mask.tif") as dataset:
        assert dataset.nodata == 255
        assert tuple(dataset.transform)[:6] == (grid or Georeference("", (1, 0, 0, 0, 1, 0))).transform
        assert dataset.overviews(1) == [2, 4]


@pytest.mark.parametrize("size", [(1, 1), (1, 1100), (1100, 1), (512, 512), (513, 40)])
def test_it_passes_the_validator_at_every_size(tmp_path, size):
    given = answer(picture(size), np.ones(size, bool))
    write_mask(given, tmp_path / "mask.tif", in_memory=False)
    # A thread of pixels has no overviews, which the validator would like.
    assert_optimised(tmp_path / "mask.tif", strict=min(size) > 1)
    assert (values(tmp_path / "mask.tif") == 1).all()


def test_overviews_hold_the_values_of_the_mask(tmp_path):
    mask, valid = spread((2200, 700))
    save(answer(picture(mask.shape, valid=valid), mask), tmp_path)
    small = values(tmp_path / "mask.tif", overview_level=1)
    expected = np.where(valid, mask, 255)[::4, ::4]
    assert small.shape == expected.shape
    assert set(np.unique(small)) == {0, 1, 255}
    assert (small != expected).mean() < 0.02


def test_an_image_is_looked_at_in_windows_only(tmp_path):
    mask, valid = spread((1400, 700))
    plain = picture(mask.shape, valid=valid)
    opened = Image(Windowed(plain), "opened.tif", georeference=UTM)
    box = Box(0, 0, 690, 1390)
    targets = answer(plain, mask, [box]).targets
    expected = save(answer(plain, mask, [box]), tmp_path / "plain")
    given = answer(opened, boxes=[], status="found")
    object.__setattr__(given, "targets", targets)
    files = save(given, tmp_path / "opened")
    for key in ("mask_png", "targets_geojson"):
        assert files[key].read_bytes() == expected[key].read_bytes()
    assert np.array_equal(values(files["mask_tif"]), values(expected["mask_tif"]))
    assert opened.scene.looks
    # The overlay asks for the whole at the size of the picture; this one is not reduced.
    assert sorted(opened.scene.looks)[:-1] == sorted(700 * min(512, 1400 - top) for top in (0, 512, 1024))
    assert "mask" not in vars(given)


def test_a_large_image_has_a_grid_instead_of_a_picture(tmp_path):
    given = answer(picture(georeference=None))
    save(given, tmp_path)
    files = save(given, tmp_path, large=60 * 80 - 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.tif", "overlay.png"]
    assert_optimised(files["mask_tif"])
    assert np.array_equal(values(files["mask_tif"]) == 1, given.mask)
    (said,) = left_out(given, files)
    assert "mask.png is left out for an image of 80 x 60 pixels" in said
    assert left_out(given, save(given, tmp_path, large=60 * 80)) == ()
    assert load(tmp_path / "mask.png").shape == (60, 80)


@pytest.mark.parametrize("victim", ["mask.tif", "targets.fgb", "targets.parquet"])
def test_a_full_disk_leaves_the_earlier_answer_whole_where_the_mask_is_put_together_on_disk(tmp_path, victim):
    every = ["geojson", "gpkg", "fgb", "geoparquet"]
    files = save(wordy(), tmp_path / "sizes", formats=every, large=0)
    limit = (tmp_path / "sizes" / victim).stat().st_size - 100
    folder = tmp_path / "results"
    save(answer(), folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    command = [sys.executable, "-W", "error", FULL_DISK, folder, str(limit), "0"]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    assert files["mask_tif"].exists()
    assert "cannot be written" in child.stdout
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("side", [1, 2, 3, 7])
def test_the_overlay_reduces_a_mask_in_slabs_as_in_one_piece(side):
    rng = np.random.default_rng(5)
    mask = rng.random((90, 41)) < 0.5
    mask[40:70] = False
    rows, columns = np.arange(0, 90, side), np.arange(side // 2, 41, side)
    once = sampled_means(mask, rows, columns, side)
    for pixels in (1, 41 * 5, 41 * 40):
        assert np.array_equal(sampled_means(mask, rows, columns, side, pixels), once)
    inside = mask[30:37, 14:21].mean()
    assert sampled_means(mask, np.array([33]), np.array([17]), 7)[0, 0] == pytest.approx(inside)


def test_slabs_without_a_mask_are_looked_at_and_not_blurred():
    mask = np.zeros((3000, 3000), bool)
    mask[2900:2910, 10:20] = True
    rows = columns = np.arange(5, 3000, 10)
    tracemalloc.start()
    try:
        means = sampled_means(mask, rows, columns, 10, 3000 * 100)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        empty = sampled_means(mask[:2800], rows[:280], columns, 10, 3000 * 2800)
        least = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (means[290, 1], np.count_nonzero(means)) == (1, 1)
    assert not empty.any()
    assert max(peak, least) < mask.size
