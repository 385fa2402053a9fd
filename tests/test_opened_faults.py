"""What can happen to an opened file while it is open; and its digest, which says which file it was."""

import gc
import os
import pickle
import shutil
import weakref

import numpy as np
import pytest
import rasterio
import rasters
from PIL import Image as Pillow
from rasters import LAYOUTS

from geoseg_agent import ImageError
from geoseg_agent.imagery import Image, read_image, read_whole
from geoseg_agent.opened_digest import opened_digest
from geoseg_agent.view_cache import Views
from geoseg_tools import Box, whole
from geoseg_tools.crop import View

SIZE = (150, 190)
NEAR, FAR = Box(0, 0, 30, 30), Box(130, 110, 190, 150)


@pytest.fixture
def path(tmp_path):
    return rasters.rgb(tmp_path / "a.tif", np.random.default_rng(1), SIZE, **LAYOUTS["tiles"])


def opened(path):
    return read_image(path, max_pixels=5000)


def digest(path):
    return opened(path).sha256


def test_a_file_that_is_deleted_is_no_picture_any_more(path):
    image = opened(path)
    kept = image.crop(NEAR).pixels
    path.unlink()
    with pytest.raises(ImageError, match=r"a\.tif is not there any more since it was opened") as caught:
        _ = image.crop(FAR).pixels
    assert "open it again" in caught.value.hint
    assert image.crop(NEAR).pixels is kept


def test_a_file_that_is_replaced_or_written_to_is_found_out(path, tmp_path):
    other = rasters.rgb(tmp_path / "b.tif", np.random.default_rng(2), SIZE, **LAYOUTS["tiles"])
    replaced = opened(path)
    shutil.copy(path, tmp_path / "old.tif")
    other.rename(path)
    with pytest.raises(ImageError, match="was changed since it was opened"):
        _ = replaced.crop(FAR).pixels
    (tmp_path / "old.tif").rename(path)
    written = opened(path)
    with path.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\0")
    os.utime(path, ns=(1, 1))
    with pytest.raises(ImageError, match="was changed since it was opened"):
        _ = written.crop(FAR).pixels


def test_a_damaged_tile_is_an_error_and_its_neighbours_are_not(path):
    with rasterio.open(path) as dataset:
        expected = np.moveaxis(dataset.read(window=((0, 30), (0, 30))), 0, -1)
        place, length = (
            int(dataset.get_tag_item(f"BLOCK_{what}_2_4", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE")
        )
    with path.open("r+b") as stream:
        stream.seek(place)
        stream.write(bytes(length))
    image = opened(path)
    assert np.array_equal(image.crop(NEAR).pixels, expected)
    with pytest.raises(ImageError, match=r"a\.tif cannot be decoded") as caught:
        _ = image.crop(FAR).pixels
    assert "damaged" in caught.value.hint


def test_a_file_that_is_cut_short_is_an_error(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    image = opened(path)
    with pytest.raises(ImageError, match=r"a\.tif cannot be decoded"):
        image.scene.view(whole(SIZE), (60, 60))


def test_what_was_closed_stays_closed(path):
    image = opened(path)
    _ = image.crop(NEAR).pixels
    image.close()
    image.close()
    with pytest.raises(ImageError, match=r"a\.tif was closed") as caught:
        _ = image.crop(NEAR).pixels
    assert "read_image" in caught.value.hint
    Image.from_array(np.zeros((2, 2, 3), np.uint8)).close()


def test_the_file_is_let_go_with_the_image(path):
    image = opened(path)
    dataset = image.scene._source._datasets[0]
    gone = weakref.ref(image.scene)
    assert not dataset.closed
    del image
    gc.collect()
    assert gone() is None
    assert dataset.closed


def test_a_copy_in_another_process_opens_the_file_again(path):
    image = opened(path)
    again = pickle.loads(pickle.dumps(image))  # noqa: S301 - our own bytes
    assert (again.sha256, again.size, again.path, again.opened) == (image.sha256, SIZE, image.path, True)
    assert np.array_equal(again.crop(FAR).pixels, image.crop(FAR).pixels)
    kept = pickle.dumps(image)
    rasters.rgb(path, np.random.default_rng(3), SIZE)
    with pytest.raises(ImageError, match="is not the file"):
        pickle.loads(kept)  # noqa: S301 - our own bytes


def test_those_who_need_all_pixels_refuse_it(path):
    with pytest.raises(ImageError, match="190 x 150 = 28,500 pixels, at most 5,000"):
        read_whole(path, max_pixels=5000)
    assert not read_whole(path).opened


def test_a_picture_that_must_be_turned_is_not_opened(tmp_path):
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / "a.tif", exif=exif)
    with pytest.raises(ImageError, match="orientation 6") as caught:
        opened(tmp_path / "a.tif")
    assert "upright" in caught.value.hint


# the digest


def test_a_copy_elsewhere_is_the_same_picture(path, tmp_path):
    (tmp_path / "deep").mkdir()
    shutil.copyfile(path, tmp_path / "deep" / "z.tif")
    os.utime(tmp_path / "deep" / "z.tif", (7, 7))
    assert digest(tmp_path / "deep" / "z.tif") == digest(path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_another_tile_is_another_picture(tmp_path, layout):
    rng = np.random.default_rng(4)
    path = rasters.rgb(tmp_path / "a.tif", rng, (900, 1100), **LAYOUTS[layout])
    before = digest(path)
    with rasterio.open(path, "r+") as dataset:
        dataset.write(rng.integers(0, 256, (3, 40, 40)).astype(np.uint8), window=((500, 540), (700, 740)))
    assert digest(path) != before


def test_what_says_how_pixels_are_shown_is_in_the_digest(tmp_path):
    rng = np.random.default_rng(4)
    made = [
        rasters.rgb(tmp_path / "a.tif", rng, SIZE),
        rasters.rgb(tmp_path / "b.tif", np.random.default_rng(4), SIZE, crs="EPSG:32633"),
        rasters.rgb(tmp_path / "c.tif", np.random.default_rng(4), SIZE, nodata=0),
        rasters.rgb(tmp_path / "d.tif", np.random.default_rng(4), SIZE, bigtiff="YES"),
        rasters.rgb(tmp_path / "e.tif", np.random.default_rng(4), SIZE, endianness="BIG"),
        rasters.rgb(tmp_path / "f.tif", np.random.default_rng(4), SIZE, overviews=(2,)),
        rasters.masked(tmp_path / "g.tif", np.random.default_rng(4), SIZE),
    ]
    digests = {digest(one) for one in made}
    assert len(digests) == len(made)
    assert all(len(one) == 64 for one in digests)


def test_directories_that_go_round_in_circles_end(path):
    image = opened(path)
    content = bytearray(path.read_bytes())
    place = int.from_bytes(content[4:8], "little")
    count = int.from_bytes(content[place : place + 2], "little")
    content[place + 2 + 12 * count : place + 6 + 12 * count] = place.to_bytes(4, "little")
    path.write_bytes(content)
    plan = image.scene._source._plan
    assert opened_digest(str(path), SIZE, plan, None) != image.sha256


# what is kept


def test_windows_used_last_are_kept_within_the_bytes():
    views = Views(keep=4000)
    boxes = [Box(0, y, 40, y + 10) for y in range(0, 60, 20)]
    made = [View(np.zeros((10, 40, 3), np.uint8), np.ones((10, 40), bool)) for _ in boxes]
    for box, view in zip(boxes, made, strict=True):
        assert views.find(box, box.size) is None
        views.keep(box, view)
        assert views.find(boxes[0], boxes[0].size) is made[0]
    assert views.find(boxes[1], boxes[1].size) is None
    assert views.find(boxes[2], boxes[2].size) is made[2]
    assert views.find(boxes[2], (5, 20)) is None
    big = View(np.zeros((100, 400, 3), np.uint8), None)
    views.keep(Box(0, 0, 400, 100), big)
    assert views.find(Box(0, 0, 400, 100), (100, 400)) is big
    assert np.shares_memory(views.find(Box(5, 5, 9, 9), (4, 4)).pixels, big.pixels)
    views.clear()
    assert views.find(Box(0, 0, 400, 100), (100, 400)) is None
