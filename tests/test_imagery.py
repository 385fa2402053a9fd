"""Reading images: every kind of file as 8-bit RGB, with validity, digest and place on the ground."""

import hashlib
import io
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from PIL import Image as Pillow
from PIL import ImageOps
from rasterio.control import GroundControlPoint
from rasters import write as geotiff

import geoseg_tools
from geoseg_agent.errors import ImageError
from geoseg_agent.georeference import Georeference
from geoseg_agent.imagery import Image, as_image, read_image

DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def rgb(rng):
    return rng.integers(0, 256, (24, 31, 3)).astype(np.uint8)


def planes(rgb):
    return np.moveaxis(rgb, -1, 0)


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.png", {}), ("a.webp", {"lossless": True}), ("a.tif", {}), ("a.tif", {"compression": "tiff_lzw"})],
)
def test_lossless_files_are_read_as_they_are(tmp_path, rgb, name, options):
    Pillow.fromarray(rgb).save(tmp_path / name, **options)
    image = read_image(tmp_path / name)
    assert np.array_equal(image.pixels, rgb)
    assert (image.size, image.valid, image.stretch, image.bands) == ((24, 31), None, None, (1, 2, 3))
    assert image.name == name
    assert image.path == str((tmp_path / name).resolve())
    assert image.file_sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert image.sha256 == Image.from_array(rgb).sha256


def test_the_kind_is_told_from_the_content(tmp_path, rgb):
    Pillow.fromarray(rgb).save(tmp_path / "really.png")
    renamed = (tmp_path / "really.png").rename(tmp_path / "picture.jpg")
    assert np.array_equal(read_image(renamed).pixels, rgb)


def test_a_jpeg_is_close_to_its_source(tmp_path):
    smooth = np.dstack([np.add.outer(np.arange(64), np.arange(48)) * k for k in (1, 2, 0.5)]).astype(np.uint8)
    Pillow.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "a.jpg").pixels.astype(int) - smooth).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_exif_orientation_is_applied(tmp_path, rgb, orientation, name):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    upright = Pillow.fromarray(rgb)
    upright.save(tmp_path / name, exif=exif, lossless=True)
    expected = np.asarray(ImageOps.exif_transpose(Pillow.open(io.BytesIO((tmp_path / name).read_bytes()))))
    assert np.array_equal(read_image(tmp_path / name).pixels, expected)
    with Pillow.open(tmp_path / name) as opened:
        assert np.array_equal(Image.from_pillow(opened).pixels, expected)


def test_exif_orientation_moves_validity_with_the_pixels(tmp_path, rgb):
    alpha = np.full(rgb.shape[:2], 255, np.uint8)
    alpha[:5, :9] = 0
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.fromarray(np.dstack([rgb, alpha])).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png").valid, np.rot90(alpha, -1) > 0)


def test_alpha_becomes_validity_and_full_alpha_none(tmp_path, rgb, rng):
    alpha = rng.integers(0, 3, rgb.shape[:2]).astype(np.uint8)
    Pillow.fromarray(np.dstack([rgb, alpha])).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert np.array_equal(image.valid, alpha > 0)
    assert np.array_equal(image.pixels, rgb)
    opaque = Pillow.fromarray(np.dstack([rgb, np.full_like(alpha, 9)]))
    assert Image.from_pillow(opaque).valid is None


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"]
)
def test_every_pillow_mode_looks_as_pillow_shows_it(rgb, mode):
    picture = Pillow.fromarray(rgb).convert({"La": "LA", "RGBa": "RGBA", "PA": "P"}.get(mode, mode)).convert(mode)
    image = Image.from_pillow(picture)
    shown = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}.get(mode)
    expected = picture.convert(shown).convert("RGB") if shown else picture.convert("RGB")
    assert np.array_equal(image.pixels, np.asarray(expected))
    assert image.bands == ((1,) if mode in {"1", "L", "LA", "La"} else (1, 2, 3))


def test_a_palette_with_transparency(tmp_path, rgb):
    picture = Pillow.fromarray(rgb).quantize(8)
    picture.save(tmp_path / "a.png", transparency=2)
    image = read_image(tmp_path / "a.png")
    assert np.array_equal(image.valid, np.asarray(picture) != 2)
    assert np.array_equal(image.pixels, np.asarray(picture.convert("RGB")))


def test_large_pictures_are_converted_strip_by_strip(rng):
    tall = rng.integers(0, 256, (2500, 1700, 4)).astype(np.uint8)
    image = Image.from_pillow(Pillow.fromarray(tall))
    assert np.array_equal(image.pixels, tall[..., :3])
    assert np.array_equal(image.valid, tall[..., 3] > 0)


def stretched(values, low, high):
    return np.clip(np.floor((values.astype(float) - low) / (high - low) * 255 + 0.5), 0, 255)


def test_sixteen_bits_are_stretched_by_recorded_percentiles(tmp_path, rng):
    bands = rng.integers(100, 3000, (3, 40, 50)).astype(np.uint16)
    image = read_image(geotiff(tmp_path / "a.tif", bands))
    for channel, (band, (low, high)) in enumerate(zip(bands, image.stretch, strict=True)):
        assert (low, high) == tuple(np.percentile(band, (2, 98), method="nearest"))
        assert np.array_equal(image.pixels[..., channel], stretched(band, low, high))


@pytest.mark.parametrize("shape", [(24, 31), (24, 31, 3), (24, 31, 4)])
def test_sixteen_bit_png(tmp_path, rng, shape):
    values = rng.integers(0, 5000, shape).astype(np.uint16)
    if shape[-1] == 4:
        values[..., 3] = 65535
        values[:4, :, 3] = 0
    cv2.imwrite(str(tmp_path / "a.png"), values)
    image = read_image(tmp_path / "a.png")
    first = values if values.ndim == 2 else values[..., 2]
    low, high = image.stretch[0]
    good = np.ones(shape[:2], bool) if image.valid is None else image.valid
    assert (image.valid is not None) == (shape[-1] == 4)
    assert np.array_equal(image.pixels[..., 0][good], stretched(first, low, high)[good])
    assert len(image.bands) == len(image.stretch) == (1 if values.ndim == 2 else 3)


def test_nan_and_infinity_are_invalid_and_leave_the_stretch_alone(tmp_path, rng):
    band = rng.normal(size=(1, 30, 40)).astype(np.float32)
    clean = band.copy()
    band[0, :3], band[0, 3], band[0, 4] = np.nan, np.inf, -np.inf
    image = read_image(geotiff(tmp_path / "a.tif", band))
    assert np.array_equal(image.valid, np.isfinite(band[0]))
    assert image.stretch == (tuple(np.percentile(clean[0, 5:], (2, 98), method="nearest").astype(float)),)
    assert (image.pixels[:5] == 0).all()


def test_nodata_means_every_shown_band_has_it(tmp_path, rgb):
    rgb[:3, :3] = 0
    rgb[10, 10] = (0, 0, 9)
    path = geotiff(tmp_path / "a.tif", planes(rgb), nodata=0)
    image = read_image(path)
    with rasterio.open(path) as dataset:
        assert np.array_equal(image.valid, dataset.dataset_mask() > 0)
    assert image.valid[10, 10]
    assert not image.valid[0, 0]
    assert not read_image(path, bands=(1,)).valid[10, 10]


def test_nodata_beyond_the_dtype_of_the_stretch(tmp_path, rng):
    band = rng.normal(size=(1, 20, 20)).astype(np.float32)
    band[0, :4] = np.finfo(np.float32).min
    image = read_image(geotiff(tmp_path / "a.tif", band, nodata=float(np.finfo(np.float32).min)))
    assert np.array_equal(image.valid, band[0] > -1e30)
    assert image.stretch[0][0] > -10


def test_internal_masks_and_alpha_bands(tmp_path, rgb, rng):
    mask = rng.integers(0, 2, rgb.shape[:2]).astype(bool)
    assert np.array_equal(read_image(geotiff(tmp_path / "m.tif", planes(rgb), mask=mask)).valid, mask)
    alpha = (mask * 200).astype(np.uint8)
    bands = np.concatenate([alpha[None], planes(rgb)])
    named = ["alpha", "red", "green", "blue"]
    image = read_image(geotiff(tmp_path / "a.tif", bands, interpretation=named, alpha="unspecified"))
    assert np.array_equal(image.valid, mask)
    assert np.array_equal(image.pixels, rgb)
    assert image.bands == (2, 3, 4)
    both = read_image(geotiff(tmp_path / "b.tif", bands, interpretation=named, alpha="unspecified", nodata=0))
    assert np.array_equal(both.valid, mask & rgb.any(axis=-1))


def test_band_choice(tmp_path, rng):
    bands = rng.integers(0, 256, (5, 12, 14)).astype(np.uint8)
    plain = geotiff(tmp_path / "plain.tif", bands, photometric="minisblack")
    assert read_image(plain).bands == (1, 2, 3)
    assert np.array_equal(read_image(plain, bands=(5, 1, 3)).pixels, np.moveaxis(bands[[4, 0, 2]], 0, -1))
    grey = read_image(plain, bands=(4,))
    assert np.array_equal(grey.pixels, np.repeat(bands[3][..., None], 3, axis=2))
    assert grey.bands == (4,)
    tagged = ["undefined", "blue", "green", "red", "undefined"]
    assert read_image(geotiff(tmp_path / "t.tif", bands, interpretation=tagged)).bands == (4, 3, 2)
    two = geotiff(tmp_path / "two.tif", bands[:2], photometric="minisblack")
    assert read_image(two).bands == (1,)


@pytest.mark.parametrize("bands", [(1, 2), (0,), (6,), (1, 2, 9), (True,), (), (1.0, 2, 3)])
def test_impossible_band_choices_are_refused(tmp_path, bands):
    path = geotiff(tmp_path / "a.tif", np.ones((5, 4, 4), np.uint8), photometric="minisblack")
    with pytest.raises(ImageError, match="5 bands"):
        read_image(path, bands=bands)


def test_band_choice_on_a_png(tmp_path, rgb):
    Pillow.fromarray(rgb).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", bands=(3, 2, 1)).pixels, rgb[..., ::-1])
    with pytest.raises(ImageError, match="3 bands"):
        read_image(tmp_path / "a.png", bands=(4,))


def test_palettes_few_bits_and_white_as_zero(tmp_path, rng):
    values = rng.integers(0, 16, (1, 16, 20)).astype(np.uint8)
    path = geotiff(tmp_path / "p.tif", values, photometric="palette")
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {value: (value * 3, 200 - value, 7, 255) for value in range(16)})
    expected = np.stack([values[0] * 3, 200 - values[0], np.full_like(values[0], 7)], axis=-1)
    assert np.array_equal(read_image(path).pixels, expected)
    bits = read_image(geotiff(tmp_path / "b.tif", values, nbits=4))
    assert np.array_equal(bits.pixels[..., 0], values[0] * 17)
    white = read_image(geotiff(tmp_path / "w.tif", values, photometric="miniswhite"))
    assert np.array_equal(white.pixels[..., 1], 255 - values[0])


def test_georeference_by_authority_by_wkt_and_rotated(tmp_path, rgb):
    turned = rasterio.Affine(1.7, 1.0, 400_000, 1.0, -1.7, 5_000_000)
    image = read_image(geotiff(tmp_path / "a.tif", planes(rgb), transform=turned))
    assert image.georeference == Georeference("EPSG:32632", tuple(turned)[:6])
    laea = "+proj=laea +lat_0=47 +lon_0=11 +ellps=GRS80 +units=m"
    own = read_image(geotiff(tmp_path / "b.tif", planes(rgb), crs=laea)).georeference
    assert own.crs.startswith("PROJCS")
    with rasterio.open(tmp_path / "b.tif") as dataset:
        assert rasterio.crs.CRS.from_user_input(own.crs) == dataset.crs


@pytest.mark.parametrize("crs", [None, 'LOCAL_CS["site",UNIT["metre",1]]'], ids=["none", "building site"])
def test_a_crs_that_leads_nowhere_is_no_georeference(tmp_path, rgb, crs):
    assert read_image(geotiff(tmp_path / "a.tif", planes(rgb), crs=crs)).georeference is None


def test_control_points_alone_are_no_georeference(tmp_path, rgb):
    points = [GroundControlPoint(row, col, 10 + col / 1e3, 50 - row / 1e3) for row, col in [(0, 0), (9, 0), (0, 9)]]
    path = geotiff(tmp_path / "a.tif", planes(rgb), crs="EPSG:4326", transform=None, gcps=points)
    assert read_image(path).georeference is None


def test_sidecar_files_are_not_read(tmp_path, rgb):
    path = geotiff(tmp_path / "a.tif", planes(rgb))
    alone = read_image(path)
    geotiff(tmp_path / "a.tif.msk", np.zeros((1, *rgb.shape[:2]), np.uint8))
    beside = read_image(path)
    assert (beside.sha256, beside.georeference) == (alone.sha256, alone.georeference)


def test_overviews_and_masks_are_not_pages(tmp_path, rng):
    bands = rng.integers(0, 256, (3, 300, 300)).astype(np.uint8)
    path = geotiff(tmp_path / "a.tif", bands, mask=bands[0] > 3)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4])
    assert np.array_equal(read_image(path).valid, bands[0] > 3)


def test_digests_cover_size_pixels_and_validity(rgb):
    valid = np.ones(rgb.shape[:2], bool)
    base = Image.from_array(rgb)
    assert Image.from_array(rgb, valid=valid).sha256 == base.sha256
    other, holed = rgb.copy(), valid.copy()
    other[3, 4, 1] ^= 1
    holed[3, 4] = False
    reshaped = rgb.reshape(12, 62, 3)
    digests = {base.sha256, Image.from_array(other).sha256, Image.from_array(reshaped).sha256}
    digests.add(Image.from_array(rgb, valid=holed).sha256)
    assert len(digests) == 4


def test_images_do_not_change(rgb):
    image = Image.from_array(rgb, valid=np.tri(*rgb.shape[:2]) > 0)
    before = image.sha256
    rgb[:] = 0
    assert image.pixels.any()
    for array in (image.pixels, image.valid):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 0
    assert image.sha256 == before


def test_crops_are_views_that_know_where_they_are(rgb):
    image = Image.from_array(rgb)
    roi = geoseg_tools.Box(3, 4, 20, 15)
    crop = image.crop(roi, geoseg_tools.Box(5, 5, 9, 9))
    assert np.shares_memory(crop.pixels, image.pixels)
    assert np.array_equal(crop.pixels, rgb[4:15, 3:20])
    assert (crop.box, crop.digest) == (geoseg_tools.Box(5, 5, 9, 9), image.sha256)
    assert image.crop(roi).box == roi


def test_a_replayed_image_has_a_size_but_no_pixels(rgb):
    source = Image.from_array(rgb)
    image = Image.replayed(
        source.size, source.sha256, name="old", georeference=Georeference("EPSG:4326", (1, 0, 0, 0, -1, 0))
    )
    assert (image.size, image.sha256, image.name) == (source.size, source.sha256, "old")
    with pytest.raises(geoseg_tools.NoPixelsError):
        _ = image.pixels


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 5, 3), np.float32), ["float32", "(4, 5, 3)", "uint8"]),
        (np.zeros((4, 5), np.uint8), ["(4, 5)", "repeat"]),
        (np.zeros((4, 5, 4), np.uint8), ["(4, 5, 4)", "alpha"]),
        (np.zeros((3, 40, 50), np.uint8), ["(3, 40, 50)", "moveaxis"]),
        (np.zeros((0, 5, 3), np.uint8), ["5 x 0"]),
        ([[1, 2, 3]], ["list"]),
    ],
)
def test_arrays_are_taken_strictly(array, words):
    with pytest.raises(ImageError) as caught:
        Image.from_array(array)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("valid", [np.ones((4, 4), bool), np.ones((4, 5), np.uint8), np.zeros((4, 5), bool)])
def test_validity_is_taken_strictly(valid):
    with pytest.raises(ImageError):
        Image.from_array(np.zeros((4, 5, 3), np.uint8), valid=valid)


def test_as_image_takes_what_a_caller_has(tmp_path, rgb):
    Pillow.fromarray(rgb).save(tmp_path / "a.png")
    image = Image.from_array(rgb)
    assert as_image(image) is image
    with Pillow.open(tmp_path / "a.png") as opened:
        named = as_image(opened)
    assert named.name == "a.png"
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), rgb):
        assert as_image(source).sha256 == named.sha256 == image.sha256


@pytest.mark.parametrize("source", [None, 3, b"bytes", [1, 2], object()])
def test_as_image_refuses_the_rest(source):
    with pytest.raises(ImageError, match="array"):
        as_image(source)


def test_as_image_applies_limits_and_refuses_bands_where_there_are_none(rgb):
    for source in (rgb, Pillow.fromarray(rgb), Image.from_array(rgb)):
        with pytest.raises(ImageError, match="31 x 24"):
            as_image(source, max_pixels=700)
        with pytest.raises(ImageError, match="bands"):
            as_image(source, bands=(1, 2, 3))


def test_importing_loads_no_heavy_library():
    code = "import sys, geoseg_agent.imagery; print(sorted({'rasterio', 'cv2', 'matplotlib'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.data
@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
def test_real_georeferenced_files():
    files = sorted(DATA.glob("*/*.tif"))
    assert len(files) >= 11
    for file in files:
        image = read_image(file)
        with rasterio.open(file) as dataset:
            assert image.size == dataset.shape
            assert image.georeference.transform == tuple(dataset.transform)[:6]
            assert rasterio.crs.CRS.from_user_input(image.georeference.crs) == dataset.crs
            shown = dataset.dataset_mask() > 0
            valid = np.ones(image.size, bool) if image.valid is None else image.valid
            assert not (valid & ~shown).any()
            assert (image.stretch is None) == (dataset.dtypes[0] == "uint8")
