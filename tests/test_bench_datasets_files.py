"""What the files of a data set may be: places, characters, sizes and masks."""

import json
import os
import zlib

import bench_layouts as layouts
import cv2
import numpy as np
import pytest
import rasterio
from bench_layouts import SIZE, line, square, write_lines
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco

from geoseg_agent.bench.datasets import (
    MaskFile,
    Polygons,
    RunLengths,
    Runs,
    United,
    open_boxes,
    open_pairs,
    picture_size,
    validate,
)
from geoseg_agent.bench.datasets.segments import MAX_COUNTS
from geoseg_agent.errors import DatasetError, ImageError
from geoseg_agent.imagery import read_image


def test_a_name_may_wander_inside_but_not_out(tmp_path):
    root = tmp_path / "set"
    layouts.manifest(root)
    layouts.picture(tmp_path / "outside.png")
    changes = [
        {"image": "masks/../images/a.png"},
        {"image": str(root / "images/a.png")},
        {"image": "../outside.png"},
        {"image": str(tmp_path / "outside.png")},
        {"image": "images/../../outside.png"},
        {"mask": "../outside.png"},
    ]
    write_lines(root / "manifest.jsonl", [line(0, id=f"n{n}", **change) for n, change in enumerate(changes)])
    broken = validate(open_pairs(root))
    assert [one.id for one in broken] == ["n2", "n3", "n4", "n5"]
    assert all("leads out of the data set's folder" in one.rule for one in broken)


def test_dots_that_leave_through_a_link_are_refused(tmp_path):
    root = tmp_path / "set"
    layouts.manifest(root)
    layouts.picture(tmp_path / "other/deep/a.png")
    layouts.picture(tmp_path / "other/b.png")
    (root / "link").symlink_to(tmp_path / "other/deep")
    changes = [{"image": "link/a.png"}, {"image": "link/../b.png"}]
    write_lines(root / "manifest.jsonl", [line(0, id=f"n{n}", **change) for n, change in enumerate(changes)])
    (broken,) = validate(open_pairs(root))
    assert broken.id == "n1"  # a link that the owner laid is followed; one that is climbed out of is not


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_odd_unicode_byte_order_marks_and_line_ends(tmp_path, start, end):
    layouts.manifest(tmp_path)
    query = "屋根 🏠\u2028 na\u0308chste Straße\u00a0?"
    layouts.picture(tmp_path / "bilder/überflug 北.png")
    records = [line(0, query=query, image="bilder/überflug 北.png"), line(1)]
    text = end.join(json.dumps(record, ensure_ascii=False) for record in records)
    (tmp_path / "manifest.jsonl").write_bytes(start + text.encode())
    dataset = open_pairs(tmp_path)
    assert validate(dataset) == []
    assert next(iter(dataset)).query == "屋根 🏠 na\u0308chste Straße ?"


def test_what_a_mac_leaves_beside_its_files_is_no_record(tmp_path):
    for writer in (layouts.geoseg_bench, layouts.lasers, layouts.dior, layouts.nwpu, layouts.loveda):
        root = tmp_path / writer.__name__
        writer(root)
        for file in [*root.rglob("*.json"), *root.rglob("*.xml"), *root.rglob("*.txt"), *root.rglob("*.png")]:
            (file.parent / f"._{file.name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X\xff")
        boxes = writer not in {layouts.geoseg_bench, layouts.lasers}
        assert validate((open_boxes if boxes else open_pairs)(root)) == []


def test_a_message_about_half_a_character_can_be_shown(tmp_path):
    layouts.manifest(tmp_path)
    write_lines(tmp_path / "manifest.jsonl", [line(0, id="half \ud800"), line(1, image="half \ud800")])
    broken = validate(open_pairs(tmp_path))
    assert [one.id for one in broken] == ["half \\ud800", "q1"]
    assert all(one.rule.encode() for one in broken)


def test_a_pipe_is_no_image(tmp_path):
    layouts.manifest(tmp_path)
    os.mkfifo(tmp_path / "images/pipe.png")
    write_lines(tmp_path / "manifest.jsonl", [line(0, image="images/pipe.png")])
    (broken,) = validate(open_pairs(tmp_path))
    assert "not a regular file" in broken.rule


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
def test_the_size_is_the_one_of_the_picture_as_it_is_read(tmp_path, name, orientation):
    path = layouts.picture(tmp_path / name, exif=exif(orientation))
    assert picture_size(path) == read_image(path).size == (SIZE if orientation < 5 else SIZE[::-1])


def test_sizes_of_deep_and_georeferenced_pictures(tmp_path):
    deep = tmp_path / "deep.png"
    Image.fromarray(np.arange(12 * 20, dtype=np.uint16).reshape(12, 20)).save(deep)
    assert picture_size(deep) == (12, 20)
    tiff = tmp_path / "geo.tif"
    options = {"driver": "GTiff", "count": 4, "dtype": "uint16", "width": 20, "height": 12, "crs": "EPSG:32632"}
    with rasterio.open(tiff, "w", transform=rasterio.Affine(1, 0, 5e5, 0, -1, 5e6), **options) as raster:
        raster.write(np.ones((4, 12, 20), np.uint16))
    assert picture_size(tiff) == (12, 20)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "is empty"),
        (b"GIF89a" + bytes(40), "it is GIF"),
        (b"\xff\xd8\xff" + bytes(40), "cannot be read"),
        (b"II*\0" + bytes(40), "cannot be read"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "measures 0 x 0 pixels"),
    ],
)
def test_a_damaged_header(tmp_path, content, rule):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=rule):
        picture_size(path)


def tiff(path, bands, **options):
    count, height, width = bands.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": bands.dtype.name}
    place = rasterio.Affine(1, 0, 5e5, 0, -1, 5e6)
    with rasterio.open(path, "w", crs="EPSG:32632", transform=place, **profile, **options) as raster:
        raster.write(bands)
    return path


MASK = square(3, 4, 9, 20)


@pytest.mark.parametrize(
    "values",
    [
        MASK,
        MASK.astype(np.uint8),
        MASK.astype(np.uint8) * 3,
        MASK.astype(np.uint16) * 256,
        np.repeat(MASK[..., None].astype(np.uint8) * 255, 3, axis=2),
        np.dstack([MASK * np.uint8(9)] * 3 + [np.full(SIZE, 255, np.uint8)]),
        np.dstack([MASK * np.uint8(9), np.full(SIZE, 255, np.uint8)]),
    ],
)
def test_masks_in_png(tmp_path, values):
    path = tmp_path / "mask.png"
    Image.fromarray(values).save(path)
    assert (MaskFile(path, "here").read() == MASK).all()


def test_a_palette_counts_by_its_indices(tmp_path):
    image = Image.fromarray(MASK.astype(np.uint8)).convert("P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.putdata(MASK.astype(np.uint8).ravel().tolist())
    image.save(tmp_path / "mask.png")
    assert (MaskFile(tmp_path / "mask.png", "here").read() == MASK).all()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
@pytest.mark.parametrize("count", [1, 3])
def test_masks_in_tiff(tmp_path, dtype, count):
    path = tiff(tmp_path / "mask.tif", np.repeat(MASK[None].astype(dtype), count, axis=0), nodata=1)
    assert (MaskFile(path, "here").read() == MASK).all()


@pytest.mark.parametrize(
    ("bands", "rule"),
    [
        (np.full((1, 4, 4), np.nan, np.float32), "is not a number in places"),
        (np.arange(32, dtype=np.uint8).reshape(2, 4, 4), "2 bands that differ"),
        (np.zeros((5, 4, 4), np.uint8), "more than 4 bands"),
        (np.zeros((1, 4, 4), np.complex64), "values of type complex64"),
    ],
)
def test_what_is_no_mask_in_tiff(tmp_path, bands, rule):
    path = tiff(tmp_path / "mask.tif", bands)
    with pytest.raises(DatasetError, match=rf"^here: .*{rule}"):
        MaskFile(path, "here").read()


def test_a_mask_in_one_giant_block_is_refused(tmp_path):
    path = tmp_path / "mask.tif"
    options = {"driver": "GTiff", "count": 1, "height": 16, "width": 16, "dtype": "uint8", "crs": "EPSG:32632"}
    place = rasterio.Affine(1, 0, 5e5, 0, -1, 5e6)
    with rasterio.open(
        path, "w", transform=place, tiled=True, blockxsize=16400, blockysize=16400, sparse_ok=True, **options
    ):
        pass
    with pytest.raises(DatasetError, match="blocks too large"):
        MaskFile(path, "here").read()


@pytest.mark.parametrize("channels", [3, 4])
def test_a_mask_whose_lower_bits_would_be_lost_is_refused(tmp_path, channels):
    # Pillow reads the upper 8 of 16 bits where there is colour, and a mask of 0 and 1 would come out empty.
    cv2.imwrite(str(tmp_path / "mask.png"), np.repeat(MASK[..., None].astype(np.uint16), channels, axis=2))
    with pytest.raises(DatasetError, match="16 bits in several channels"):
        MaskFile(tmp_path / "mask.png", "here").read()


def test_a_mask_that_is_partly_transparent_or_animated(tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(np.dstack([MASK * np.uint8(9), MASK * np.uint8(255)])).save(path)
    with pytest.raises(DatasetError, match="transparent in places"):
        MaskFile(path, "here").read()
    frames = [Image.fromarray(MASK * np.uint8(value)) for value in (1, 2)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(DatasetError, match="several frames"):
        MaskFile(path, "here").read()


def test_a_huge_mask_is_refused_by_its_header(tmp_path):
    path = layouts.mask_png(tmp_path / "mask.png", MASK)
    data = bytearray(path.read_bytes())
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="at most 64,000,000 are allowed"):
        MaskFile(path, "here").read()


@given(st.integers(1, 12), st.integers(1, 12), st.data())
@settings(max_examples=200, deadline=None)
def test_run_lengths_equal_pycocotools(height, width, data):
    count = data.draw(st.integers(1, 3))
    bits = data.draw(st.lists(st.booleans(), min_size=count * height * width, max_size=count * height * width))
    masks = np.array(bits).reshape(count, height, width)
    encoded = coco.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
    runs = tuple(Runs((height, width), one["counts"].decode()) for one in encoded)
    plain = tuple(Runs((height, width), tuple(layouts.plain_rle(mask)["counts"])) for mask in masks)
    for given_runs in (runs, plain):
        read = RunLengths(given_runs, (height, width), "here").read()
        assert read.flags.c_contiguous
        assert (read == masks.any(axis=0)).all()


def test_polygons_and_unions():
    rings = ((1.0, 1.0, 9.0, 1.0, 9.0, 5.0, 1.0, 5.0), (20.0, 10.0, 40.0, 10.0, 40.0, 20.0, 20.0, 20.0))
    read = Polygons(rings, SIZE, "here").read()
    assert (read == (square(1, 1, 9, 5) | square(20, 10, 32, 20))).all()
    first = Polygons(rings[:1], SIZE, "here")
    united = United((first, first, Polygons(rings[1:], SIZE, "here")))
    assert (united.read() == read).all()
    with pytest.raises(DatasetError, match="polygon 1 holds a number that is not finite"):
        Polygons(((float("nan"), 0, 1, 1, 2, 0),), SIZE, "here").read()


def test_a_polygon_too_long_to_draw_is_refused_before_memory_is_taken_for_it():
    # Strokes across an image of ordinary size: gigabytes in pycocotools, from a few kilobytes of JSON.
    ring = tuple(value for stroke in range(2000) for value in (8000.0 * (stroke % 2), float(stroke)))
    with pytest.raises(DatasetError, match="polygon 1 is 16000000 pixels long, over 8000000"):
        Polygons((ring, ring), (8000, 8000), "here").read()


def test_run_lengths_too_long_to_decode_are_refused_before_memory_is_taken_for_them():
    for counts in ("1" * (MAX_COUNTS + 1), (0,) * (MAX_COUNTS + 1)):
        with pytest.raises(DatasetError, match="mask 1 of 1: the run-lengths are 16777217 long"):
            RunLengths((Runs(SIZE, counts),), SIZE, "here").read()
