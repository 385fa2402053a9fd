"""GeoTIFF, TIFF and 16-bit PNG through rasterio, in strips, within limits.

Only the named driver is tried, and only the file itself is read: no sidecar files, no virtual file systems, no
network. A picture is therefore the same wherever its file lies.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geoseg_agent.decode import STRIP_PIXELS, Decoded, check_bands, check_size, check_valid, oriented, quiet
from geoseg_agent.errors import ImageError
from geoseg_agent.georeference import Georeference
from geoseg_agent.stretch import Span, span_of, step_for, to_uint8

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask

MAX_BANDS = 1000
"""Imaging spectrometers have a few hundred."""

BLOCK_BYTES_PER_PIXEL = 4
"""A tile or strip is decoded whole; it may hold this many bytes per pixel of the limit on pixels."""

_ENV = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no sidecar files
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",  # a file that names another by address reaches nothing
    "GDAL_CACHEMAX": 64 << 20,
}
_DTYPES = {"uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64"}
_ORIENTATION = 0x0112


class _Plan(NamedTuple):
    """How the bands of one file become red, green and blue."""

    shown: tuple[int, ...]
    alpha: int | None
    eight_bit: bool
    table: NDArray[np.uint8] | None  # (256, 3): what an 8-bit value looks like, where that is not itself
    clear: NDArray[np.bool_] | None  # (256,): which palette entries are transparent


def decode_raster(
    path: str, driver: str, *, name: str, bands: tuple[int, ...] | None, max_pixels: int, orientation: int
) -> Decoded:
    """Decode the file at `path`, an absolute path, with the GDAL driver `driver`.

    Bands: those tagged red, green and blue where all three are; else 1, 2, 3; one grey band where there are fewer
    than three beside alpha. A pixel is invalid where alpha or the mask is 0, where every shown band equals nodata
    (as GDAL's dataset mask has it), or where a shown band is NaN or infinite. `orientation` (EXIF) is applied where
    the image has no georeference.

    Raises:
        ImageError: outside the limits, several pages, complex numbers, no valid pixel.
    """
    import rasterio  # noqa: PLC0415 - a second to load, and only needed for rasters

    with rasterio.Env(**_ENV):
        with quiet():
            dataset = rasterio.open(path, driver=driver, sharing=False)
        with dataset:
            _check(dataset, name, max_pixels)
            with quiet():
                plan = _plan(dataset, bands, name)
                georeference = _georeference(dataset)
            spans = None if plan.eight_bit else _spans(dataset, plan)
            pixels, valid = _render(dataset, plan, spans)
    if georeference is None and orientation != 1:
        pixels = np.ascontiguousarray(oriented(pixels, orientation))
        valid = np.ascontiguousarray(oriented(valid, orientation))
    return Decoded(pixels, check_valid(valid, name), plan.shown, spans, georeference)


def tiff_orientation(stream: BinaryIO) -> int:
    """The orientation tag of a classic TIFF's first directory, 1 where there is none."""
    head = stream.read(8)
    order = "<" if head[:2] == b"II" else ">"
    magic, offset = struct.unpack(order + "HI", head[2:8]) if len(head) == 8 else (0, 0)
    if magic != 42:
        return 1
    stream.seek(offset)
    count = stream.read(2)
    entries = stream.read(12 * struct.unpack(order + "H", count)[0]) if len(count) == 2 else b""
    for start in range(0, len(entries) - 11, 12):
        tag, kind, _, value = struct.unpack(order + "HHIH", entries[start : start + 10])
        if tag == _ORIENTATION and kind == 3:
            return int(value)
    return 1


def _check(dataset: Any, name: str, max_pixels: int) -> None:
    check_size((dataset.height, dataset.width), max_pixels, name)
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
    if block > BLOCK_BYTES_PER_PIXEL * max_pixels:
        raise ImageError(
            f"{name} is stored in blocks of {columns} x {rows} pixels ({block:,} bytes), too large to decode safely",
            hint="rewrite it in tiles, for example with gdal_translate -co TILED=YES",
        )


def _plan(dataset: Any, bands: tuple[int, ...] | None, name: str) -> _Plan:
    check_bands(bands, dataset.count, name)
    meaning = [colour.name for colour in dataset.colorinterp]
    alpha = next((number for number, colour in enumerate(meaning, 1) if colour == "alpha"), None)
    if bands is None and "cyan" in meaning:
        raise ImageError(f"{name} is in printing colours (CMYK)", hint="convert it to RGB, or choose bands")
    if bands is None:
        usable = [number for number in range(1, dataset.count + 1) if number != alpha] or [1]
        tagged = tuple(meaning.index(colour) + 1 for colour in ("red", "green", "blue") if colour in meaning)
        bands = tagged if len(tagged) == 3 else tuple(usable[:3] if len(usable) >= 3 else usable[:1])
    dtypes = {dataset.dtypes[band - 1] for band in bands}
    if not dtypes <= _DTYPES:
        raise ImageError(
            f"{name} holds values of type {', '.join(sorted(dtypes - _DTYPES))}",
            hint="convert it to real numbers, for example amplitudes",
        )
    if dtypes != {"uint8"}:
        return _Plan(bands, alpha, eight_bit=False, table=None, clear=None)
    table, clear = _table(dataset, bands[0], meaning[bands[0] - 1]) if len(bands) == 1 else (None, None)
    return _Plan(bands, alpha, eight_bit=True, table=table, clear=clear)


def _table(dataset: Any, band: int, meaning: str) -> tuple[NDArray[np.uint8] | None, NDArray[np.bool_] | None]:
    """What the values of a single 8-bit band look like: a palette, fewer than 8 bits, or white as 0."""
    if meaning == "palette":
        rgba = np.zeros((256, 4), dtype=np.uint8)
        for value, colour in dataset.colormap(band).items():
            if 0 <= value < 256:
                rgba[value] = colour
        return rgba[:, :3].copy(), rgba[:, 3] == 0
    structure = dataset.tags(band, ns="IMAGE_STRUCTURE") | dataset.tags(ns="IMAGE_STRUCTURE")
    bits = int(structure.get("NBITS", 8))
    white_is_zero = structure.get("MINISWHITE") == "YES"
    if not 1 <= bits < 8 and not white_is_zero:
        return None, None
    top = (1 << min(max(bits, 1), 8)) - 1
    grey = np.minimum(np.arange(256), top) * 255 // top
    return np.repeat((255 - grey if white_is_zero else grey).astype(np.uint8)[:, None], 3, axis=1), None


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


def _strips(dataset: Any) -> Iterator[tuple[int, Any]]:
    """Windows over full rows, in whole blocks, of about `STRIP_PIXELS` pixels: (first row, window)."""
    from rasterio.windows import Window  # noqa: PLC0415 - with rasterio itself

    block = dataset.block_shapes[0][0]
    rows = max(1, STRIP_PIXELS // dataset.width // block) * block
    for top in range(0, dataset.height, rows):
        yield top, Window(0, top, dataset.width, min(rows, dataset.height - top))


def _read(dataset: Any, plan: _Plan, window: Any) -> tuple[NDArray[Any], Mask]:
    """The shown bands (n, h, w) in their own dtype, and where they are valid (h, w)."""
    values = dataset.read(list(plan.shown), window=window)
    valid = (dataset.read_masks(list(plan.shown), window=window) > 0).any(axis=0)
    if plan.alpha is not None:
        valid &= dataset.read(plan.alpha, window=window) > 0
    if np.issubdtype(values.dtype, np.floating):
        valid &= np.isfinite(values).all(axis=0)
    return values, valid


def _spans(dataset: Any, plan: _Plan) -> tuple[Span, ...]:
    step = step_for(dataset.width * dataset.height)
    samples: list[list[NDArray[Any]]] = [[] for _ in plan.shown]
    for top, window in _strips(dataset):
        values, valid = _read(dataset, plan, window)
        rows = slice(-top % step, None, step)
        chosen = valid[rows, ::step]
        for sample, band in zip(samples, values, strict=True):
            sample.append(band[rows, ::step][chosen])
    return tuple(span_of(np.concatenate(sample)) for sample in samples)


def _render(dataset: Any, plan: _Plan, spans: tuple[Span, ...] | None) -> tuple[NDArray[np.uint8], Mask]:
    pixels = np.empty((dataset.height, dataset.width, 3), dtype=np.uint8)
    valid = np.empty((dataset.height, dataset.width), dtype=np.bool_)
    for top, window in _strips(dataset):
        values, good = _read(dataset, plan, window)
        rows = slice(top, top + len(good))
        if plan.table is not None:
            pixels[rows] = plan.table[values[0]]
        else:
            for channel in range(3):
                band = channel if len(values) == 3 else 0
                pixels[rows, :, channel] = (
                    values[band] if spans is None else to_uint8(values[band], spans[band], good)
                )
        if plan.clear is not None:
            good &= ~plan.clear[values[0]]
        valid[rows] = good
    return pixels, valid
