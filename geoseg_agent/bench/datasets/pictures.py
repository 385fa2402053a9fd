"""How large an image is, from its header where that is enough."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from PIL import ExifTags, JpegImagePlugin

from geoseg_agent.decode import MAX_PIXELS, check_size, kind_of, quiet
from geoseg_agent.errors import ImageError
from geoseg_agent.imagery import read_whole
from geoseg_agent.raster_file import tiff_orientation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from geoseg_tools.arrays import Size

_ON_ITS_SIDE = {5, 6, 7, 8}  # EXIF orientations that exchange width and height


def picture_size(path: Path, *, max_pixels: int = MAX_PIXELS) -> Size:
    """(H, W) of the image as `read_image` would give it, orientation applied. No pixel is decoded in most files.

    Raises:
        ImageError: missing, of another format, damaged in its header, or larger than `max_pixels`.
    """
    with opened(path) as stream:
        size = _from_header(stream, path)
    if size is None:
        return read_whole(path, max_pixels=max_pixels).size
    check_size(size, max_pixels, path.name)
    return size


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file, open for a decoder, whose every fault becomes an ImageError.

    Raises:
        ImageError: not a regular file (a pipe, for one, would never end), or what the decoder says against it.
    """
    _check_file(path)
    try:
        with path.open("rb") as stream:
            yield stream
    except ImageError:
        raise
    except Exception as error:  # decoders answer hostile bytes with whatever comes to hand
        raise ImageError(f"{path.name} cannot be read: {str(error)[:200] or type(error).__name__}") from error


@contextmanager
def opened_tiff(path: Path) -> Iterator[Any]:
    """A TIFF as rasterio has it, closed afterwards."""
    import rasterio  # noqa: PLC0415 - a second to load, and only needed for rasters

    # No sidecar files and no addresses, as where pictures are read.
    options = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none"}
    with rasterio.Env(**options):
        with quiet():
            dataset = rasterio.open(str(path), driver="GTiff", sharing=False)
        with dataset:
            yield dataset


def _check_file(path: Path) -> None:
    try:
        found = path.is_file()
    except OSError as error:
        raise ImageError(f"{path} cannot be opened: {error.strerror}") from error
    if not found:
        raise ImageError(f"{path} does not exist" if not path.exists() else f"{path} is not a regular file")


def _from_header(stream: BinaryIO, path: Path) -> Size | None:
    """The size, or None where only decoding tells it."""
    head = stream.read(32)
    stream.seek(0)
    kind = kind_of(head, path.name)
    if kind == "PNG16" or (kind == "PNG" and not _is_tagged(stream)):
        return int.from_bytes(head[20:24], "big"), int.from_bytes(head[16:20], "big")
    if kind == "JPEG":
        with quiet():
            image = JpegImagePlugin.JpegImageFile(stream)
        width, height = image.size
        return (width, height) if _orientation(image) in _ON_ITS_SIDE else (height, width)
    # A georeferenced TIFF is not turned by its tag; and Pillow allocates the whole canvas of a WebP when it opens it.
    if kind != "TIFF" or tiff_orientation(stream) in _ON_ITS_SIDE:
        return None
    with opened_tiff(path) as dataset:
        return int(dataset.height), int(dataset.width)


def _is_tagged(stream: BinaryIO) -> bool:
    """Whether a PNG carries EXIF, which may turn it; it may stand behind the pixels."""
    stream.seek(8)
    while len(head := stream.read(8)) == 8:
        if head[4:] == b"eXIf":
            return True
        stream.seek(int.from_bytes(head[:4], "big") + 4, 1)
    return False


def _orientation(image: JpegImagePlugin.JpegImageFile) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - as in decode: damaged metadata does not damage the picture
        return 1
