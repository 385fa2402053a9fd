"""GeoTIFF, TIFF and 16-bit PNG through rasterio: read in strips within limits, or opened where they are larger."""

from __future__ import annotations

import math
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg_agent.decode import MAX_PIXELS, Decoded, check_size, check_valid, damaged, oriented, quiet
from geoseg_agent.errors import ImageError
from geoseg_agent.georeference import Georeference
from geoseg_agent.opened import LEAST_HELD, Limits, Opened, OpenedScene
from geoseg_agent.opened_digest import opened_digest
from geoseg_agent.opened_source import OpenedSource
from geoseg_agent.raster_bands import plan_of
from geoseg_agent.raster_blocks import parts, shown_block, spans_of
from geoseg_agent.raster_file import Stamp, gdal, open_dataset
from geoseg_tools.geometry import whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_agent.raster_bands import Plan
    from geoseg_agent.stretch import Span
    from geoseg_tools.arrays import Mask, Size

MAX_BANDS = 1000
"""Imaging spectrometers have a few hundred."""

BLOCK_BYTES_PER_PIXEL = 4
"""A tile or strip is decoded whole; it may hold this many bytes per pixel of the limit on pixels."""

MOST_PIXELS = 1 << 40
"""No raster with more is opened: a million on each side."""


def read_raster(
    path: str, driver: str, *, name: str, bands: tuple[int, ...] | None, max_pixels: int, orientation: int
) -> Decoded | Opened:
    """Read the file at `path`, an absolute path, with the GDAL driver `driver`; open a TIFF above `max_pixels`.

    Bands: those tagged red, green and blue where all three are; else 1, 2, 3; one grey band where there are fewer
    than three beside alpha. A pixel is invalid where alpha or the mask is 0, where every shown band equals nodata
    (as GDAL's dataset mask has it), or where a shown band is NaN or infinite. `orientation` (EXIF) is applied where
    the image has no georeference.

    Raises:
        ImageError: outside the limits, several pages, complex numbers, no valid pixel; too large and to be turned.
    """
    with gdal(), ExitStack() as stack:
        stamp = Stamp.of(path)
        dataset = open_dataset(path, driver)
        stack.callback(dataset.close)
        size = (dataset.height, dataset.width)
        opened = driver == "GTiff" and size[0] * size[1] > max_pixels
        _check(dataset, name, max_pixels, opened=opened)
        with quiet():
            plan = plan_of(dataset, bands, name)
            georeference = _georeference(dataset)
        turned = georeference is None and orientation != 1
        if opened and turned:
            raise ImageError(
                f"{name} has {size[1]} x {size[0]} pixels and its EXIF orientation {orientation} asks to turn them, "
                "which only a raster that is read as a whole can be",
                hint="write it upright, for example with gdal_translate -co TILED=YES, or raise GEOSEG_MAX_PIXELS",
            )
        block = dataset.block_shapes[plan.shown[0] - 1]
        spans = None if plan.eight_bit else spans_of(dataset, plan, block, name)
        if opened:
            digest = opened_digest(path, size, plan, spans)
            source = OpenedSource(path, name, stamp, dataset, plan, spans)
            stack.pop_all()
            again = partial(_again, path, name, plan.shown, max_pixels, digest)
            scene = OpenedScene(digest, source, Limits(max(max_pixels, LEAST_HELD)), again=again)
            return Opened(scene, plan.shown, spans, georeference)
        pixels, valid = _read_whole(dataset, plan, spans, block)
    if turned:
        pixels = np.ascontiguousarray(oriented(pixels, orientation))
        valid = np.ascontiguousarray(oriented(valid, orientation))
    return Decoded(pixels, check_valid(valid, name), plan.shown, spans, georeference)


def _again(path: str, name: str, bands: tuple[int, ...], max_pixels: int, digest: str) -> OpenedScene:
    """The file that was opened in another process.

    Raises:
        ImageError: it is not there, or not the same.
    """
    try:
        found = read_raster(path, "GTiff", name=name, bands=bands, max_pixels=max_pixels, orientation=1)
    except ImageError:
        raise
    except Exception as error:
        raise damaged(name, error) from error
    if not isinstance(found, Opened) or found.scene.digest != digest:
        raise ImageError(
            f"{path} is not the file that was opened", hint="leave it as it is, where every process sees it"
        )
    return found.scene


def _check(dataset: Any, name: str, max_pixels: int, *, opened: bool) -> None:
    check_size((dataset.height, dataset.width), MOST_PIXELS if opened else max_pixels, name)
    if dataset.count > MAX_BANDS:
        raise ImageError(f"{name} has {dataset.count} bands", hint=f"keep at most {MAX_BANDS} of them")
    if len(dataset.subdatasets) > 1:
        raise ImageError(
            f"{name} has {len(dataset.subdatasets)} pages",
            hint="save the one you mean as a file of its own, for example with gdal_translate GTIFF_DIR:1:FILE",
        )
    rows, columns = dataset.block_shapes[0]
    layers = dataset.count if str(dataset.profile.get("interleave")) == "pixel" else 1
    block = rows * columns * layers * np.dtype(dataset.dtypes[0]).itemsize
    if block > BLOCK_BYTES_PER_PIXEL * (max(max_pixels, MAX_PIXELS) if opened else max_pixels):
        raise ImageError(
            f"{name} is stored in blocks of {columns} x {rows} pixels ({block:,} bytes), too large to decode safely",
            hint="rewrite it in tiles, for example with gdal_translate -co TILED=YES",
        )


def _georeference(dataset: Any) -> Georeference | None:
    """None without a CRS that leads to the ground, or without a usable affine transform (control points only)."""
    from rasterio.crs import CRS  # noqa: PLC0415 - with rasterio itself

    crs, transform = dataset.crs, tuple(float(value) for value in dataset.transform)[:6]
    a, b, _, d, e, _ = transform
    if crs is None or not (crs.is_geographic or crs.is_projected) or dataset.transform.is_identity:
        return None
    if not all(math.isfinite(value) for value in transform) or a * e - b * d == 0:
        return None
    text = crs.to_wkt()
    authority = crs.to_authority()
    if authority is not None and CRS.from_authority(*authority) == crs:
        text = ":".join(authority)
    return Georeference(text, (a, b, transform[2], d, e, transform[5]))


def _read_whole(
    dataset: Any, plan: Plan, spans: tuple[Span, ...] | None, block: Size
) -> tuple[NDArray[np.uint8], Mask]:
    pixels = np.empty((dataset.height, dataset.width, 3), dtype=np.uint8)
    valid = np.empty((dataset.height, dataset.width), dtype=np.bool_)
    for box in parts(whole((dataset.height, dataset.width)), block):
        pixels[box.slices], valid[box.slices] = shown_block(dataset, plan, spans, box)
    return pixels, valid
