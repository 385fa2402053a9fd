"""The mask as a cloud-optimised GeoTIFF: on the grid of the image, written and checked block by block."""

from __future__ import annotations

import errno
import zlib
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg_agent.blocks import blocks, union_in
from geoseg_agent.decode import quiet
from geoseg_tools.geometry import whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from geoseg_agent.segmentation import Segmentation
    from geoseg_tools.arrays import Size
    from geoseg_tools.geometry import Box

NODATA = 255
"""Of pixels that are invalid in the image."""

_TILE = 512
_WIDEST = 1 << 14
_ENV = {
    "GDAL_CACHEMAX": 64 << 20,
    "GDAL_PAM_ENABLED": False,  # no .aux.xml beside a file
}
_SPARSE = {
    "driver": "GTiff",
    "count": 1,
    "dtype": "uint8",
    "tiled": True,
    "blockxsize": _TILE,
    "blockysize": _TILE,
    "compress": "deflate",
    "zlevel": 1,
    "sparse_ok": True,
    "bigtiff": "if_safer",
}
_COG = {
    "driver": "COG",
    "compress": "deflate",
    "blocksize": _TILE,
    # Of the values 0, 1 and 255 nothing can be made but one of them.
    "overview_resampling": "nearest",
    "bigtiff": "if_safer",
}


def write_mask(answer: Segmentation, path: Path, *, in_memory: bool) -> None:
    """Write 1 in the mask, 0 outside, 255 (nodata) where the image is invalid, and reduced copies for overviews.

    The grid is the image's own; of an image without a georeference it is that of its pixels. Blocks of 512 x 512
    come first in a sparse file, where those without a mask cost nothing; GDAL's COG driver makes the result from it.

    Args:
        answer: what to write.
        path: a new file in a folder where files may stand beside it.
        in_memory: for small images: where the file is put together, compressed, instead of beside `path`.

    Raises:
        OSError, rasterio.errors.RasterioError: the file is not complete, because the disk is full.
    """
    import rasterio  # noqa: PLC0415 - only answers with a grid need it
    from rasterio.io import MemoryFile  # noqa: PLC0415 - as above
    from rasterio.shutil import copy  # noqa: PLC0415 - as above

    with rasterio.Env(**_ENV), ExitStack() as files:
        if in_memory:
            # GDAL reports a full disk on standard error, and not always as an error: Python writes the file.
            held = [files.enter_context(MemoryFile(ext=ext)) for ext in (".tif", ".vrt", ".tif")]
            sparse, described, made = (one.name for one in held)
        else:
            held = []
            sparse, described, made = (str(path.with_suffix(ext)) for ext in (".sparse.tif", ".vrt", path.suffix))
            files.callback(_remove, path.with_suffix(".sparse.tif"), path.with_suffix(".vrt"))
        sums = _write_sparse(answer, sparse)
        # What is missing in a file with nodata is nodata. The sparse file has none; a virtual one adds it.
        with _opened(sparse) as source:
            copy(source, described, driver="VRT")
        with _opened(described, mode="r+") as dataset:
            dataset.nodata = NODATA
        with _opened(described) as source:
            copy(source, made, **_COG, overviews="auto" if _reduces(answer.image.size) else "none")
        if held:
            path.write_bytes(held[-1].getbuffer())
        _check(path, answer.image.size, sums)


def _opened(name: str | Path, **how: Any) -> Any:
    import rasterio  # noqa: PLC0415 - as above

    with quiet():  # rasterio warns of grids that only turn the image upside down
        return rasterio.open(name, **how)


def _reduces(size: Size) -> bool:
    """Whether both sides can be halved until the longer one is a tile; those of a thread of pixels cannot."""
    return min(size) * _TILE >= max(size)


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _write_sparse(answer: Segmentation, name: str) -> list[int]:
    """Write the blocks that hold anything but 0; the checksum of every block, in order."""
    import rasterio  # noqa: PLC0415 - as above

    image = answer.image
    height, width = image.size
    grid: dict[str, Any] = {"height": height, "width": width}
    if image.georeference is not None:
        grid |= {"crs": image.georeference.crs, "transform": rasterio.Affine(*image.georeference.transform)}
    sums = []
    with _opened(name, mode="w", **_SPARSE, **grid) as dataset:
        dataset.update_tags(**_tags(answer))
        dataset.set_band_description(1, "mask")
        for block in _windows(image.size):
            values = _values(answer, block)
            if values.any():
                dataset.write(values, 1, window=_window(block))
            sums.append(zlib.crc32(values.data))
    return sums


def _tags(answer: Segmentation) -> dict[str, str]:
    tags = {name: str(getattr(answer, name)) for name in ("engine", "query", "status", "trace_id")}
    return tags if answer.confidence is None else tags | {"confidence": f"{answer.confidence:.6g}"}


def _values(answer: Segmentation, block: Box) -> NDArray[np.uint8]:
    values = union_in(answer.targets, block).view(np.uint8)
    valid = answer.image.crop(block).valid
    if valid is not None:
        values[~valid] = NODATA
    return values


def _windows(size: Size) -> Iterator[Box]:
    """Whole tiles, and whole rows of the image where it is not very wide: it may be stored in strips."""
    return blocks(whole(size), _TILE, _WIDEST)


def _window(block: Box) -> Any:
    from rasterio.windows import Window  # noqa: PLC0415 - as above

    return Window(block.x1, block.y1, block.width, block.height)


def _check(path: Path, size: Size, sums: list[int]) -> None:
    """Read everything again: a disk that was full for a moment leaves holes that look like nodata."""
    with _opened(path) as dataset:
        found = [zlib.crc32(dataset.read(1, window=_window(block))) for block in _windows(size)]
        levels = len(dataset.overviews(1))
    if found != sums:
        raise OSError(errno.EIO, f"{path.name} could not be written completely")
    for level in range(levels):
        with _opened(path, overview_level=level) as dataset:
            for block in _windows(dataset.shape):
                dataset.read(1, window=_window(block))
