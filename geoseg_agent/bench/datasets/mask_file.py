"""Answer masks in files, and class maps: PNG and TIFF, values as they are stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import PngImagePlugin

from geoseg_agent.bench.datasets.pictures import opened, opened_tiff, picture_size
from geoseg_agent.decode import MAX_PIXELS, check_size, kind_of, quiet
from geoseg_agent.errors import DatasetError, ImageError
from geoseg_agent.raster import BLOCK_BYTES_PER_PIXEL

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

    from geoseg_agent.bench.pairs import Truth
    from geoseg_tools.arrays import Mask

_MAX_BANDS = 4
_GREY = 0  # a PNG's colour type


@dataclass(frozen=True, slots=True)
class MaskFile:
    """An answer in a PNG or TIFF of the image's size: nonzero is the answer, in one band or in identical ones.

    Values count as stored: a palette by its indices, no nodata tag, no orientation. An alpha band is left out where
    all of it is opaque.

    Attributes:
        path: the file.
        where: the record that names it, for messages.
        image: the picture whose size it must have; None where the caller compares them.
    """

    path: Path
    where: str
    image: Path | None = None

    def read(self) -> Mask:
        """(H, W) bool in the frame of the image, a new array.

        Raises:
            DatasetError: missing, neither PNG nor TIFF, damaged, of bands that differ, or of another size.
        """
        try:
            values = read_values(self.path)
            size = values.shape if self.image is None else picture_size(self.image)
        except ImageError as error:
            raise DatasetError(f"{self.where}: {error.message}") from error
        if values.shape != size:
            raise DatasetError(
                f"{self.where}: the mask {self.path.name} has {values.shape[1]} x {values.shape[0]} pixels, "
                f"its image {size[1]} x {size[0]}"
            )
        return np.ascontiguousarray(values != 0)


def by_itself(truth: Truth) -> Truth:
    """The same answer, read without a look at its picture, which may be gone."""
    return replace(truth, image=None) if isinstance(truth, MaskFile) else truth


def read_values(path: Path) -> NDArray[Any]:
    """(H, W) of any integer or real dtype: the one value of each pixel as a PNG or TIFF stores it.

    Raises:
        ImageError: missing, of another format, damaged, larger than 64 megapixels, of bands that differ, or not a
            number somewhere.
    """
    with opened(path) as stream:
        values = _decode(stream, path)
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise ImageError(f"the mask {path.name} is not a number in places")
    return values


def _decode(stream: BinaryIO, path: Path) -> NDArray[Any]:
    head = stream.read(32)
    kind = kind_of(head, path.name)
    stream.seek(0)
    if kind == "TIFF":
        return _tiff(path)
    if kind not in {"PNG", "PNG16"}:
        raise ImageError(f"the mask {path.name} is a {kind}, whose edges are not exact; PNG and TIFF are read")
    if kind == "PNG16" and head[25] != _GREY:
        raise ImageError(f"the mask {path.name} has 16 bits in several channels; of those only the upper 8 are read")
    with quiet():
        image = PngImagePlugin.PngImageFile(stream)
    check_size(image.size[::-1], MAX_PIXELS, path.name)
    if getattr(image, "n_frames", 1) > 1:
        raise ImageError(f"the mask {path.name} has several frames")
    with quiet():
        image.load()
    values = np.asarray(image)
    if values.ndim == 2:
        return values
    layers = np.moveaxis(values, 2, 0)
    return _common(layers, path.name, alpha=image.mode in {"LA", "RGBA"})


def _tiff(path: Path) -> NDArray[Any]:
    with opened_tiff(path) as dataset:
        check_size((dataset.height, dataset.width), MAX_PIXELS, path.name)
        rows, columns = dataset.block_shapes[0]
        if dataset.count > _MAX_BANDS or len(dataset.subdatasets) > 1:
            raise ImageError(f"the mask {path.name} has several pages, or more than {_MAX_BANDS} bands")
        if np.dtype(dataset.dtypes[0]).kind not in "buif":
            raise ImageError(f"the mask {path.name} holds values of type {dataset.dtypes[0]}")
        # A block is decoded whole, however little of it is used.
        width = np.dtype(dataset.dtypes[0]).itemsize * dataset.count
        if rows * columns * width > BLOCK_BYTES_PER_PIXEL * MAX_PIXELS:
            raise ImageError(f"the mask {path.name} is stored in blocks too large to decode safely")
        alpha = dataset.count > 1 and dataset.colorinterp[-1].name == "alpha"
        return _common((dataset.read(band + 1) for band in range(dataset.count)), path.name, alpha=alpha)


def _common(layers: Iterable[NDArray[Any]], name: str, *, alpha: bool) -> NDArray[Any]:
    """The values that all bands hold; the last of them is opacity where `alpha`."""
    bands = list(layers)
    if alpha and (bands.pop() == 0).any():
        raise ImageError(f"the mask {name} is transparent in places, so what it answers there is open")
    if any(not np.array_equal(bands[0], band) for band in bands[1:]):
        raise ImageError(f"the mask {name} has {len(bands)} bands that differ; a mask has one")
    return bands[0]
