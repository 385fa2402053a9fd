"""Files that are damaged, hostile or no images at all: refused with an `ImageError`, from the header, cheaply."""

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import rasterio
from PIL import Image as Pillow

from geoseg_agent.errors import ImageError
from geoseg_agent.imagery import Image, read_image

ROOT = Path(__file__).parents[1]


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, data, *, depth=8, colour=0):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def saved(kind, size=(40, 30), **options):
    buffer = io.BytesIO()
    Pillow.effect_noise(size, 50).convert("RGB").save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(*entries, tail=b""):
    """A classic little-endian TIFF with one directory of LONG entries (tag, value), and `tail` behind it."""
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + b"\0\0\0\0" + tail


def large_jpeg():
    body = bytearray(saved("JPEG"))
    place = body.index(b"\xff\xc0") + 5
    body[place : place + 4] = struct.pack(">HH", 20_000, 10_000)
    return bytes(body)


def large_webp():
    body = bytearray(saved("WebP", lossless=True))
    body[21:25] = struct.pack("<I", 16_382 | 12_206 << 14)
    return bytes(body)


def refused(path, *words, **options):
    with pytest.raises(ImageError) as caught:
        read_image(path, **options)
    assert caught.value.hint
    assert caught.value.code == "bad_image"
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        png(20_000, 10_000, b"not deflate at all"),
        png(20_000, 10_000, b"", depth=16, colour=2),
        large_jpeg(),
        large_webp(),
    ],
    ids=["PNG", "16-bit PNG", "JPEG", "WebP"],
)
def test_too_many_pixels_are_refused_from_the_header(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    refused(tmp_path / "a", "pixels, at most 64,000,000 are allowed", "downscale", "tiled GeoTIFF")


def test_a_tiff_with_as_many_pixels_is_opened_and_one_with_too_many_is_not(tmp_path):
    tags = (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 20_000)
    (tmp_path / "a").write_bytes(tiff((256, 20_000), (257, 10_000), *tags))
    assert read_image(tmp_path / "a").opened
    (tmp_path / "b").write_bytes(tiff((256, 2_000_000), (257, 2_000_000), *tags))
    refused(tmp_path / "b", "4,000,000,000,000 pixels, at most 1,099,511,627,776 are allowed")


def test_the_limit_is_the_callers(tmp_path):
    (tmp_path / "a.png").write_bytes(saved("PNG"))
    assert read_image(tmp_path / "a.png", max_pixels=1200).size == (30, 40)
    refused(tmp_path / "a.png", "40 x 30", "1,199", max_pixels=1199)


def test_a_bomb_of_200_megapixels_costs_nothing(tmp_path):
    squeeze = zlib.compressobj(9)
    rows = bytes(20_001 * 100)
    data = b"".join(squeeze.compress(rows) for _ in range(100)) + squeeze.flush()
    (tmp_path / "bomb.png").write_bytes(png(20_000, 10_000, data))
    assert (tmp_path / "bomb.png").stat().st_size < 300_000
    code = """
import resource, sys
from geoseg_agent.imagery import ImageError, read_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_image(sys.argv[1])
except ImageError as error:
    print(error.code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "bomb.png")]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    answer, grown = child.stdout.split()
    assert answer == "bad_image"
    assert int(grown) < 20_000  # KiB
    assert child.stderr == ""


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WebP", "TIFF"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
def test_truncated_files(tmp_path, kind, share):
    content = saved(kind)
    (tmp_path / "a").write_bytes(content[: int(len(content) * share)])
    refused(tmp_path / "a", "a ")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"GIF89a" + bytes(40), "GIF"),
        (b"BM" + bytes(60), "BMP"),
        (b"<VRTDataset rasterXSize='1'/>", "virtual raster"),
        (b"\0\0\0\x20ftypheic" + bytes(40), "HEIF"),
        (b"hello", "68 65 6c 6c 6f"),
        (b"\x89PNG\r\n\x1a\n", "decoded"),
        (b"\xff\xd8\xff\xe0", "decoded"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "damaged"),
        (b"II*\0", "decoded"),
        (png(0, 5, b""), "decoded"),
    ],
)
def test_what_is_not_an_image_is_named(tmp_path, content, word):
    (tmp_path / "a").write_bytes(content)
    refused(tmp_path / "a", word)


def test_a_virtual_raster_cannot_reach_other_files(tmp_path):
    geotiff(tmp_path / "secret.tif", (1, 8, 8))
    xml = '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
    xml += '<SourceFilename relativeToVRT="1">secret.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
    for name in ("a.vrt", "a.tif"):
        (tmp_path / name).write_text(xml)
        refused(tmp_path / name, "virtual raster")


@pytest.mark.parametrize(
    "path",
    [
        "missing.tif",
        "https://example.org/a.tif",
        "/vsicurl/https://example.org/a.tif",
        "/vsimem/a.tif",
        "zip://a.zip!b.tif",
    ],
)
def test_only_local_files_are_read(path):
    refused(path, "does not exist")


def test_addresses_get_the_right_advice():
    refused("s3://bucket/a.tif", "download")
    refused(Path("https://example.org/a.tif"), "download")  # as the command line has it, with one slash
    refused("/vsicurl/https://example.org/a.tif", "download")


def test_what_is_no_regular_file(tmp_path):
    refused(tmp_path, "a folder")
    refused("", "not a path")
    refused("a\0b", "not a path")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "not a regular file")
    refused("/dev/zero", "not a regular file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(tmp_path / "loop")
    refused("a" * 5000)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_files_that_may_not_be_read(tmp_path):
    (tmp_path / "a.png").write_bytes(saved("PNG"))
    (tmp_path / "a.png").chmod(0)
    refused(tmp_path / "a.png", "permissions")


def test_several_frames_are_refused(tmp_path):
    frames = [Pillow.new("RGB", (20, 20), colour) for colour in ("red", "blue", "green")]
    for name in ("a.webp", "a.png", "a.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        refused(tmp_path / name, "3 pages" if name == "a.tif" else "3 frames")
    with pytest.raises(ImageError, match="frames"), Pillow.open(tmp_path / "a.webp") as opened:
        Image.from_pillow(opened)


def test_pictures_behind_the_first_of_a_jpeg_are_left_alone(tmp_path):
    frames = [Pillow.new("RGB", (32, 16), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "drone.jpg", "MPO", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "drone.jpg").pixels[8, 8, 0] > 200


def geotiff(path, shape, dtype="uint8", **options):
    count, height, width = shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": dtype}
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(1, 0, 5e5, 0, -1, 5e6)}
    with rasterio.open(path, "w", **(profile | place | options)):
        pass
    return path


def test_ten_thousand_bands(tmp_path):
    refused(geotiff(tmp_path / "a.tif", (10_000, 4, 4), sparse_ok=True), "10000 bands", "1000")


def test_blocks_too_large_to_decode(tmp_path):
    path = geotiff(
        tmp_path / "a.tif",
        (3, 6000, 6000),
        "uint32",
        sparse_ok=True,
        blockysize=6000,
        compress="lzw",
        interleave="pixel",
    )
    refused(path, "blocks of 6000 x 6000", "432,000,000 bytes", "TILED=YES")


def test_complex_numbers(tmp_path):
    refused(geotiff(tmp_path / "a.tif", (1, 8, 8), "complex64"), "complex64", "amplitudes")


def test_nothing_valid(tmp_path):
    refused(geotiff(tmp_path / "a.tif", (3, 8, 8), nodata=0), "no valid pixel")
    Pillow.new("RGBA", (8, 8), (9, 9, 9, 0)).save(tmp_path / "a.png")
    refused(tmp_path / "a.png", "no valid pixel")


def test_a_truncated_picture_opened_by_the_caller(tmp_path):
    (tmp_path / "a.png").write_bytes(saved("PNG")[:900])
    with Pillow.open(tmp_path / "a.png") as opened, pytest.raises(ImageError, match="cannot be decoded"):
        Image.from_pillow(opened, name="a.png")


def test_bad_exif_does_not_spoil_a_good_picture(tmp_path):
    (tmp_path / "a.jpg").write_bytes(saved("JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f\x01"))
    assert read_image(tmp_path / "a.jpg").size == (30, 40)


def test_the_last_bytes_decide_nothing_for_a_huge_attachment(tmp_path):
    with (tmp_path / "a.png").open("wb") as stream:
        stream.write(saved("PNG"))
        stream.truncate(1 << 31)
    refused(tmp_path / "a.png", "2,147,483,648 bytes")


def test_mutated_files_in_short():
    command = [sys.executable, ROOT / "benchmarks" / "mutated_images.py", "--count", "330", "--seed", "5"]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads(child.stdout)
    assert report["wrong"] == []
    assert child.returncode == 0
    assert child.stderr == ""
    assert report["files"] == 330
    assert report["outcomes"]["read"] > 30
    assert report["peak_rss_mib"] < 1024
