"""Bytes to 8-bit RGB within limits: what kind of file it is, how big it claims to be, and Pillow's formats.

The kind is told from the first bytes, never from the file name. The limits are checked on the header, before a pixel
is decoded. Pillow's format classes are opened by name, so no other format can be reached through them.
"""

from __future__ import annotations

import struct
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from PIL import ExifTags, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from geoseg_agent.errors import ImageError
from geoseg_agent.stretch import Span, span_of, step_for, to_uint8

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from numpy.typing import NDArray
    from PIL import Image as Pillow

    from geoseg_agent.georeference import Georeference
    from geoseg_tools.arrays import Mask, Rgb, Size

MAX_PIXELS = 64_000_000
"""Largest image accepted where nothing else is said; takes about 0.7 GiB of memory to read, as WebP 1.1 GiB."""

STRIP_PIXELS = 2_000_000
"""Images are converted in strips of about this many pixels, so that no second full-size copy is ever held."""

Kind = Literal["PNG", "PNG16", "JPEG", "WebP", "TIFF"]

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_OTHERS = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"\0\0\0\x0cjP": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\x89HDF": "HDF5 or NetCDF",
    b"CDF": "NetCDF",
    b"<VRT": "GDAL virtual raster",
    b"%PDF": "PDF",
    b"PK\x03\x04": "ZIP archive",
}
_PLUGINS: dict[Kind, Callable[[BinaryIO], Pillow.Image]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
}
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_GREY_MODES = ("1", "L", "LA", "La")

_quiet = threading.Lock()


class Decoded(NamedTuple):
    """What a file holds, ready to be looked at.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, oriented.
        valid: (H, W) bool, or None where every pixel is valid.
        bands: 1-based numbers of the source bands shown; one for grey, three for red, green, blue.
        stretch: per shown band what became 0 and 255, or None where the source had 8 bits.
        georeference: where it lies on the ground, or None.
    """

    pixels: Rgb
    valid: Mask | None
    bands: tuple[int, ...]
    stretch: tuple[Span, ...] | None = None
    georeference: Georeference | None = None


@contextmanager
def quiet() -> Iterator[None]:
    """No Python warning leaves the block. Keep it short: one thread at a time, because filters are global."""
    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def kind_of(head: bytes, name: str) -> Kind:
    """The format of a file that starts with `head` (at least 32 bytes of it, where there are so many).

    Raises:
        ImageError: empty, or not PNG, JPEG, WebP or TIFF.
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG16" if head[24:25] == b"\x10" else "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    if head.startswith(_TIFF_MAGIC):
        return "TIFF"
    if not head:
        raise ImageError(f"{name} is empty", hint="fetch or copy the file again")
    other = next((label for magic, label in _OTHERS.items() if head.startswith(magic)), None)
    if head[4:8] == b"ftyp":
        other = "HEIF or AVIF"
    raise ImageError(
        f"{name} is not an image that can be read here: "
        + (f"it is {other}" if other else f"it starts with the bytes {head[:8].hex(' ')}"),
        hint="convert it to PNG, JPEG, WebP, TIFF or GeoTIFF",
    )


def check_size(size: Size, max_pixels: int, name: str) -> None:
    """Refuse an image of `size` (h, w) that is empty or larger than `max_pixels`.

    Raises:
        ImageError: it is.
    """
    height, width = size
    if height < 1 or width < 1:
        raise ImageError(f"{name} measures {width} x {height} pixels", hint="both sides must be at least 1")
    if height * width > max_pixels:
        raise ImageError(
            f"{name} has {width} x {height} = {width * height:,} pixels, at most {max_pixels:,} are allowed",
            hint="cut or downscale it, raise GEOSEG_MAX_PIXELS, or convert it to a tiled GeoTIFF: a TIFF of any size "
            "is opened, and read where it is looked at",
        )


def check_bands(bands: tuple[int, ...] | None, count: int, name: str) -> None:
    """Refuse a choice of `bands` that an image with `count` of them cannot show.

    Raises:
        ImageError: not one or three whole numbers from 1 to `count`.
    """
    if bands is None:
        return
    if len(bands) not in {1, 3} or any(type(band) is not int or not 1 <= band <= count for band in bands):
        raise ImageError(
            f"bands {bands!r} cannot be shown: {name} has {count} band{'s' if count > 1 else ''}",
            hint=f"give one band for grey or three for red, green, blue, each from 1 to {count}",
        )


def check_valid(valid: Mask, name: str) -> Mask | None:
    """`valid` (h, w) bool, or None where all of it is True.

    Raises:
        ImageError: nothing is valid.
    """
    if valid.all():
        return None
    if not valid.any():
        raise ImageError(
            f"{name} has no valid pixel: all of it is nodata or transparent",
            hint="skip it, or correct its nodata value or alpha",
        )
    return valid


def damaged(name: str, error: Exception) -> ImageError:
    """What to raise for whatever a decoder said against the file `name`."""
    cause: BaseException = error
    while cause.__cause__ is not None:  # rasterio says what is wrong in the first error of a chain
        cause = cause.__cause__
    reason = " ".join(str(cause).split())[:200] or type(cause).__name__
    return ImageError(f"{name} cannot be decoded: {reason}", hint="the file is damaged or cut short; fetch it again")


def oriented(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """(h, w, ...) turned upright by the EXIF orientation 1..8; anything else counts as 1. A view."""
    if orientation in {5, 6, 7, 8}:
        array = array.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        array = array[::-1]
    if orientation in {2, 3, 6, 7}:
        array = array[:, ::-1]
    return array


def decode_file(
    stream: BinaryIO, kind: Kind, *, name: str, bands: tuple[int, ...] | None, max_pixels: int
) -> Decoded:
    """Decode an 8-bit PNG, a JPEG or a WebP from the start of `stream`.

    A JPEG with further pictures behind the first (MPO, as drones write) is its first picture.

    Raises:
        ImageError: too large, animated, truncated or damaged.
    """
    if kind == "WebP":
        # Pillow's decoder allocates the canvas when it opens the file; so its size has to be known before.
        check_size(_webp_size(stream.read(30), name), max_pixels, name)
        stream.seek(0)
    with quiet():
        image = _PLUGINS[kind](stream)
    return decode_pillow(image, name=name, bands=bands, max_pixels=max_pixels)


def _webp_size(head: bytes, name: str) -> Size:
    chunk = head[12:16]
    if len(head) == 30 and chunk == b"VP8X":
        return 1 + int.from_bytes(head[27:30], "little"), 1 + int.from_bytes(head[24:27], "little")
    if len(head) == 30 and chunk == b"VP8L":
        packed = int.from_bytes(head[21:25], "little")
        return 1 + (packed >> 14 & 0x3FFF), 1 + (packed & 0x3FFF)
    if len(head) == 30 and chunk == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return height & 0x3FFF, width & 0x3FFF
    raise ImageError(f"{name} is damaged: a WebP file without a picture in it", hint="fetch or copy the file again")


def decode_pillow(image: Pillow.Image, *, name: str, bands: tuple[int, ...] | None, max_pixels: int) -> Decoded:
    """Decode any Pillow image: palettes, alpha, 1-bit and deep greys, EXIF orientation.

    Bands are those of the picture as shown: 1 for grey, 1 to 3 for colour; alpha is validity, not a band. Modes with
    more than 8 bits are stretched.

    Raises:
        ImageError: too large, several frames, no valid pixel, or damaged.
    """
    width, height = image.size
    check_size((height, width), max_pixels, name)
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise ImageError(f"{name} has {frames} frames", hint="save the one you mean as an image of its own")
    deep, grey = image.mode in _DEEP_MODES, image.mode in _GREY_MODES
    count = 1 if deep or grey else 3
    check_bands(bands, count, name)
    shown = bands or tuple(range(1, count + 1))
    with quiet():
        image.load()
        orientation = _orientation(image)
    pixels, valid, stretch = _deep(image, shown) if deep else (*_shallow(image, shown, grey=grey), None)
    pixels = np.ascontiguousarray(oriented(pixels, orientation))
    return Decoded(pixels, check_valid(np.ascontiguousarray(oriented(valid, orientation)), name), shown, stretch)


def _orientation(image: Pillow.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - damaged metadata fails in any way; the picture beside it is still good
        return 1


def _shallow(image: Pillow.Image, shown: tuple[int, ...], *, grey: bool) -> tuple[Rgb, Mask]:
    width, height = image.size
    alpha = image.has_transparency_data or image.mode in {"La", "RGBa"}
    mode = ("LA" if alpha else "L") if grey else ("RGBA" if alpha else "RGB")
    columns = [0, 0, 0] if grey else [band - 1 for band in (shown * 3)[:3]]
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    valid = np.ones((height, width), dtype=np.bool_)
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        part = image.crop((0, top, width, min(top + rows, height)))
        values = np.asarray(part if part.mode == mode else part.convert(mode)).reshape(*part.size[::-1], -1)
        pixels[top : top + rows] = values[..., columns]
        if alpha:
            valid[top : top + rows] = values[..., -1] > 0
    return pixels, valid


def _deep(image: Pillow.Image, shown: tuple[int, ...]) -> tuple[Rgb, Mask, tuple[Span, ...]]:
    values = np.asarray(image)
    valid = np.isfinite(values)
    step = step_for(values.size)
    sample = values[::step, ::step]
    span = span_of(sample[valid[::step, ::step]])
    grey = to_uint8(values, span, valid)
    return np.repeat(grey[..., None], 3, axis=2), valid, (span,) * len(shown)
