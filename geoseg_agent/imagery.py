"""Images: read within limits from files, arrays and Pillow, with their validity, digest and place on the ground.

A file is judged by its content and refused by its header: PNG, JPEG, WebP, TIFF and GeoTIFF, one picture each, local
regular files only. Every refusal is an `ImageError` that names the value and the remedy.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

import numpy as np
from PIL import Image as Pillow

from geoseg_agent.decode import (
    MAX_PIXELS,
    Decoded,
    Kind,
    check_size,
    check_valid,
    damaged,
    decode_file,
    decode_pillow,
    kind_of,
)
from geoseg_agent.errors import ImageError
from geoseg_agent.georeference import Georeference
from geoseg_agent.opened import Opened, OpenedScene
from geoseg_agent.raster import read_raster
from geoseg_agent.raster_file import tiff_orientation
from geoseg_tools.crop import Crop, Scene

if TYPE_CHECKING:
    from geoseg_tools.arrays import Mask, Rgb, Size
    from geoseg_tools.geometry import Box

__all__ = ["MAX_PIXELS", "Georeference", "Image", "as_image", "read_image"]


_ADDRESS = re.compile(r"/vsi|[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""How addresses begin, also where a `Path` has made one slash of two."""


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One picture, read-only, in absolute pixels.

    Attributes:
        scene: pixels (H, W, 3) uint8 RGB, validity, and the digest of both.
        name: what messages call it.
        path: the file it was read from, absolute, or None.
        file_sha256: digest of that file's bytes, hex, or None; None where it is opened and not read.
        georeference: its place on the ground, or None.
        bands: 1-based numbers of the source bands shown; one for grey, three for red, green, blue.
        stretch: (low, high) per shown band: the source values that became 0 and 255; None for 8-bit sources.
    """

    scene: Scene
    name: str
    path: str | None = None
    file_sha256: str | None = None
    georeference: Georeference | None = None
    bands: tuple[int, ...] = (1, 2, 3)
    stretch: tuple[tuple[float, float], ...] | None = None

    @property
    def size(self) -> Size:
        """(H, W)."""
        return self.scene.size

    @property
    def pixels(self) -> Rgb:
        """(H, W, 3) uint8 RGB, read-only.

        Raises:
            geoseg_tools.NoPixelsError: the image was rebuilt from a trace.
            geoseg_tools.WindowsOnlyError: the image is opened; `crop` and `scene.view` give its pixels.
        """
        return self.scene.pixels

    @property
    def valid(self) -> Mask | None:
        """(H, W) bool, read-only, False on nodata; None where every pixel is valid.

        Raises:
            geoseg_tools.WindowsOnlyError: the image is opened.
        """
        return self.scene.valid

    @property
    def opened(self) -> bool:
        """Whether its pixels are read from a file window by window, or were when the trace was made."""
        return self.scene.opened

    @property
    def sha256(self) -> str:
        """Hex digest over size, pixels and validity: equal digests mean equal pictures.

        That of an opened image is over what its file says of itself; see `geoseg_agent.opened_digest`.
        """
        return self.scene.digest

    def close(self) -> None:
        """Let go of the file of an opened image, which otherwise goes with the image; nothing for others."""
        if isinstance(self.scene, OpenedScene):
            self.scene.close()

    def crop(self, roi: Box, box: Box | None = None, target: int = 1) -> Crop:
        """The region `roi` of target number `target` at `box` (the whole RoI where None), both absolute; a view.

        Raises:
            geoseg_tools.GeometryError: one of them reaches over the image.
        """
        return Crop(self.scene, roi, roi if box is None else box, target)

    @classmethod
    def from_array(
        cls,
        array: Rgb,
        *,
        valid: Mask | None = None,
        name: str = "array",
        georeference: Georeference | None = None,
    ) -> Self:
        """An image of a copy of `array`, (H, W, 3) uint8 RGB; `valid` is (H, W) bool, False on nodata.

        Raises:
            ImageError: another dtype or shape, an empty side, or no valid pixel.
        """
        if not _is_array(array, np.uint8) or array.ndim != 3 or array.shape[2] != 3:
            raise ImageError(
                f"{name} must be an (H, W, 3) uint8 array of RGB, got {_described(array)}", hint=_remedy(array)
            )
        size = (array.shape[0], array.shape[1])
        check_size(size, array.size, name)
        if valid is not None:
            if not _is_array(valid, np.bool_) or valid.shape != size:
                raise ImageError(
                    f"valid must be a bool array of shape {size}, got {_described(valid)}",
                    hint="True where a pixel counts; valid = nodata_mask == 0",
                )
            valid = check_valid(valid.copy(), name)
        return cls(_scene(array.copy(), valid), name, georeference=georeference)

    @classmethod
    def from_pillow(cls, image: Pillow.Image, *, name: str = "image", max_pixels: int = MAX_PIXELS) -> Self:
        """An image of a Pillow picture in any mode: alpha becomes validity, EXIF orientation is applied.

        Raises:
            ImageError: too large, several frames, damaged, or no valid pixel.
        """
        try:
            decoded = decode_pillow(image, name=name, bands=None, max_pixels=max_pixels)
        except ImageError:
            raise
        except Exception as error:  # a lazily loaded file fails here, in any way its plugin likes
            raise damaged(name, error) from error
        return cls(_scene(decoded.pixels, decoded.valid), name, bands=decoded.bands, stretch=_plain(decoded.stretch))

    @classmethod
    def replayed(
        cls,
        size: Size,
        sha256: str,
        *,
        name: str = "replayed",
        path: str | None = None,
        file_sha256: str | None = None,
        georeference: Georeference | None = None,
        bands: tuple[int, ...] = (1, 2, 3),
        stretch: tuple[tuple[float, float], ...] | None = None,
        opened: bool = False,
    ) -> Self:
        """What a trace knows of an image: size (H, W) and digests, but no pixels."""
        return cls(Scene(size, sha256, opened=opened), name, path, file_sha256, georeference, bands, stretch)


def read_image(
    path: str | os.PathLike[str], *, bands: tuple[int, ...] | None = None, max_pixels: int = MAX_PIXELS
) -> Image:
    """Read a PNG, JPEG, WebP, TIFF or GeoTIFF file as 8-bit RGB, within limits. Blocks while it reads.

    A TIFF with more than `max_pixels` is opened instead: its pixels come from the file where they are looked at, the
    stretch from a sample, and the digest from what the file says of itself. Otherwise it is the same image.

    8-bit values are taken as they are. Everything else is stretched linearly, band by band, so that the 2nd and
    98th percentile of the image's valid pixels become 0 and 255 (images over 4 megapixels are sampled for that on a
    regular grid); the two values are recorded. One band is shown grey. Of more than three, those tagged red, green
    and blue are shown, else the first three. Invalid are: alpha 0, masked, nodata in every shown band, NaN or
    infinite in any. Only the file itself is read: sidecar files (.tfw, .aux.xml, .msk) are not. Ground control
    points alone give no georeference.

    Args:
        path: an existing regular file; no address, no GDAL virtual path.
        bands: 1-based: one band to show in grey, or three to show as red, green, blue.
        max_pixels: larger images are refused from their header, or opened where they are TIFF files.

    Raises:
        ImageError: missing, unreadable, of another format, outside the limits, damaged, or without a valid pixel.
    """
    file = _local(path)
    try:
        with file.open("rb") as stream:
            decoded = _decode(stream, file, bands, max_pixels)
            if isinstance(decoded, Opened):
                scene, shown, spans, place = decoded
                return Image(scene, file.name, str(file), None, place, shown, _plain(spans))
            stream.seek(0)
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except ImageError:
        raise
    except PermissionError as error:
        raise ImageError(f"{file} may not be read", hint="change its permissions") from error
    except Exception as error:  # decoders answer hostile bytes with whatever comes to hand
        raise damaged(file.name, error) from error
    return Image(
        _scene(decoded.pixels, decoded.valid),
        file.name,
        str(file),
        digest,
        decoded.georeference,
        decoded.bands,
        _plain(decoded.stretch),
    )


def as_image(source: object, *, bands: tuple[int, ...] | None = None, max_pixels: int = MAX_PIXELS) -> Image:
    """The image that `source` is: a path, an (H, W, 3) uint8 array, a Pillow image, or an `Image` already.

    Raises:
        ImageError: it is none of these, breaks a limit, or `bands` are given for anything but a file.
    """
    if isinstance(source, str | os.PathLike):
        return read_image(source, bands=bands, max_pixels=max_pixels)
    if bands is not None:
        raise ImageError(
            f"bands {bands!r} are chosen when a file is read, not for {_described(source)}",
            hint="give the path, or choose the bands yourself and leave `bands` out",
        )
    if isinstance(source, Pillow.Image):
        file = getattr(source, "filename", "")
        return Image.from_pillow(source, name=Path(os.fsdecode(file)).name or "image", max_pixels=max_pixels)
    if not isinstance(source, Image | np.ndarray):
        raise ImageError(
            f"an image is a path, an (H, W, 3) uint8 array, a Pillow image or an Image, not {_described(source)}",
            hint="a torch tensor becomes an array with .cpu().numpy()",
        )
    image = source if isinstance(source, Image) else Image.from_array(source)
    if not image.opened:
        check_size(image.size, max_pixels, image.name)
    return image


def read_whole(
    path: str | os.PathLike[str], *, bands: tuple[int, ...] | None = None, max_pixels: int = MAX_PIXELS
) -> Image:
    """As `read_image`, for those who need all pixels at once: a larger raster is refused and not opened.

    Raises:
        ImageError: as `read_image`, or larger than `max_pixels`.
    """
    image = read_image(path, bands=bands, max_pixels=max_pixels)
    if image.opened:
        image.close()
        check_size(image.size, max_pixels, image.name)
    return image


def _local(path: str | os.PathLike[str]) -> Path:
    """The absolute path of an existing regular file."""
    try:
        text = os.fsdecode(path)
    except TypeError as error:
        raise ImageError(f"a path is a string, not {_described(path)}", hint="see as_image for arrays") from error
    if not text or "\0" in text:
        raise ImageError(f"{text!r} is not a path", hint="give the path of an image file")
    try:
        file = Path(text).resolve()
        mode = file.stat().st_mode
    except FileNotFoundError as error:
        hint = "download the file first: addresses are not read" if _ADDRESS.match(text) else "check the path"
        raise ImageError(f"{text} does not exist", hint=hint) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise ImageError(
            f"{text[:200]} cannot be opened: {error}", hint="check the path and its permissions"
        ) from error
    if not stat.S_ISREG(mode) or str(file).startswith("/vsi"):
        what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise ImageError(f"{text} is {what}", hint="give the path of an image file")
    return file


def _decode(stream: BinaryIO, file: Path, bands: tuple[int, ...] | None, max_pixels: int) -> Decoded | Opened:
    head = stream.read(32)
    stream.seek(0)
    kind: Kind = kind_of(head, file.name)
    if kind == "TIFF":
        orientation = tiff_orientation(stream)
        return read_raster(
            str(file), "GTiff", name=file.name, bands=bands, max_pixels=max_pixels, orientation=orientation
        )
    if kind == "PNG16":
        return read_raster(str(file), "PNG", name=file.name, bands=bands, max_pixels=max_pixels, orientation=1)
    limit = 16 * max_pixels + (64 << 20)
    if (length := os.fstat(stream.fileno()).st_size) > limit:
        raise ImageError(
            f"{file.name} has {length:,} bytes, more than a {kind} file of {max_pixels:,} pixels can need",
            hint="save the picture again without what is attached to it",
        )
    return decode_file(stream, kind, name=file.name, bands=bands, max_pixels=max_pixels)


def _scene(pixels: Rgb, valid: Mask | None) -> Scene:
    """A scene with the digest of its content: height and width in 8 bytes each, pixels, validity as bytes."""
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(height.to_bytes(8, "big") + width.to_bytes(8, "big"))
    digest.update(pixels.data)
    if valid is not None:
        digest.update(valid.view(np.uint8).data)
    return Scene((height, width), digest.hexdigest(), pixels, valid)


def _plain(stretch: tuple[tuple[float, float], ...] | None) -> tuple[tuple[float, float], ...] | None:
    return None if stretch is None else tuple((low, high) for low, high in stretch)


def _is_array(value: object, dtype: type[np.generic]) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == dtype


def _described(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} and shape {value.shape}"
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def _remedy(array: object) -> str:
    if not isinstance(array, np.ndarray):
        return "use numpy.asarray(...)"
    if array.ndim == 3 and array.shape[2] != 3 and array.shape[0] == 3:
        return "put the channels last: numpy.moveaxis(array, 0, -1)"
    if array.ndim == 2:
        return "repeat the grey channel: numpy.repeat(array[..., None], 3, axis=2)"
    if array.ndim == 3 and array.shape[2] == 4:
        return "drop the fourth channel: array[..., :3]; alpha goes into Image.from_array(valid=...)"
    return "scale the values to 0..255 and convert with .astype(numpy.uint8)"
