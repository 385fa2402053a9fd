"""Raster files of every kind, generated: what a test opens and reads."""

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, Resampling

UTM = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_600_000)


def smooth(rng, size, bands=3, cell=23):
    """(bands, h, w) float64 0..1: a surface without sharp edges, with some noise on it."""
    height, width = size
    coarse = rng.random((bands, height // cell + 3, width // cell + 3))
    y, x = np.arange(height) / cell, np.arange(width) / cell
    i, j, v, u = y.astype(int), x.astype(int), (y % 1)[:, None], (x % 1)[None]
    top = coarse[:, i][:, :, j] * (1 - u) + coarse[:, i][:, :, j + 1] * u
    low = coarse[:, i + 1][:, :, j] * (1 - u) + coarse[:, i + 1][:, :, j + 1] * u
    return np.clip(top * (1 - v) + low * v + rng.normal(0, 0.01, (bands, height, width)), 0, 1)


def write(path, bands, *, interpretation=None, mask=None, palette=None, overviews=(), **profile):
    """Write `bands` (n, h, w) as a GeoTIFF; `mask` (h, w) bool as an internal mask."""
    count, height, width = bands.shape
    given = {"crs": "EPSG:32632", "transform": UTM} | profile
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        with rasterio.open(
            path, "w", driver="GTiff", count=count, height=height, width=width, dtype=bands.dtype, **given
        ) as dataset:
            dataset.write(bands)
            if interpretation:
                dataset.colorinterp = [ColorInterp[name] for name in interpretation]
            if mask is not None:
                dataset.write_mask(mask)
            if palette:
                dataset.write_colormap(1, palette)
        if overviews:
            with rasterio.open(path, "r+") as dataset:
                dataset.build_overviews(list(overviews), Resampling.nearest if palette else Resampling.average)
    return path


def holes(rng, size, share=0.15):
    """(h, w) bool, False in a corner and on some rectangles."""
    height, width = size
    mask = np.ones(size, bool)
    mask[: height // 5, : width // 4] = False
    for _ in range(3):
        y, x = rng.integers(0, height), rng.integers(0, width)
        mask[y : y + int(height * share), x : x + int(width * share)] = False
    return mask


def rgb(path, rng, size, **options):
    """8-bit red, green, blue."""
    return write(path, (smooth(rng, size) * 255).astype(np.uint8), **options)


def grey(path, rng, size, **options):
    """One 8-bit band."""
    return write(path, (smooth(rng, size, 1) * 255).astype(np.uint8), **options)


def four_bits(path, rng, size, **options):
    """One band of 4 bits, white as 0."""
    return write(path, (smooth(rng, size, 1) * 15).astype(np.uint8), nbits=4, photometric="miniswhite", **options)


def nodata(path, rng, size, **options):
    """8-bit red, green, blue with 0 as nodata."""
    values = (smooth(rng, size) * 250 + 3).astype(np.uint8)
    values[:, ~holes(rng, size)] = 0
    return write(path, values, nodata=0, **options)


def alpha(path, rng, size, **options):
    """8-bit red, green, blue and alpha."""
    seen = (holes(rng, size) * 200).astype(np.uint8)
    values = np.concatenate([(smooth(rng, size) * 255).astype(np.uint8), seen[None]])
    return write(path, values, interpretation=["red", "green", "blue", "alpha"], **options)


def masked(path, rng, size, **options):
    """8-bit red, green, blue and an internal mask."""
    return write(path, (smooth(rng, size) * 255).astype(np.uint8), mask=holes(rng, size), **options)


def sixteen_bits(path, rng, size, **options):
    """Four bands of 16 bits; the first three are shown."""
    return write(path, (smooth(rng, size, 4) * 3000 + 100).astype(np.uint16), photometric="minisblack", **options)


def floats(path, rng, size, **options):
    """One band of floats with NaN."""
    values = (smooth(rng, size, 1) * 7 - 3).astype(np.float32)
    values[:, ~holes(rng, size)] = np.nan
    return write(path, values, **options)


def palette(path, rng, size, **options):
    """A palette with a transparent entry."""
    colours = {value: (value * 3, 200 - value, 7, 255 if value else 0) for value in range(64)}
    return write(
        path, (smooth(rng, size, 1) * 63).astype(np.uint8), photometric="palette", palette=colours, **options
    )


KINDS = (rgb, grey, four_bits, nodata, alpha, masked, sixteen_bits, floats, palette)

LAYOUTS = {
    "tiles": {"tiled": True, "blockxsize": 64, "blockysize": 32, "compress": "deflate"},
    "strips": {"blockysize": 7, "compress": "lzw"},
    "planes": {"interleave": "band", "tiled": True, "blockxsize": 48, "blockysize": 48},
    "bigtiff": {"bigtiff": "YES", "compress": "deflate", "predictor": 2},
}
