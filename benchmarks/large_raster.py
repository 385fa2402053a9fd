"""A drawn raster of any size, with a lake and a small hall whose places are known, written block by block.

The ground is one drawn patch, repeated; so a large raster costs little to make and compresses as photographs do not:
sizes on disk mean nothing here, times of decoding little. Lake and hall lie at the same pixels whatever the size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.windows import Window

from geoseg_tools import Box

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

PATCH = 1024
METRES = 0.3
ORIGIN = (500_000.0, 5_600_000.0)
LAKE = Box(2000, 3600, 7000, 8000)
HALL = Box(8000, 1200, 8240, 1350)
PAINT = (255, 0, 255)
"""Of the hall: a colour that the server of the tests knows, and that the ground does not have."""


class Made(NamedTuple):
    """A raster on disk and what it holds."""

    path: Path
    side: int
    lake: Box
    hall: Box


def make(folder: Path, side: int) -> Made:
    """Write `folder`/`side`.tif, unless it is there: 8-bit RGB in tiles of 512, deflated, with overviews."""
    path = folder / f"{side}.tif"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        _write(part, side)
        part.rename(path)
    return Made(path, side, LAKE, HALL)


def lake_mask(box: Box) -> NDArray[np.bool_]:
    """(h, w) bool: where the lake is in a window."""
    x = (np.arange(box.x1, box.x2) + 0.5 - (LAKE.x1 + LAKE.x2) / 2) / (LAKE.width / 2)
    y = (np.arange(box.y1, box.y2) + 0.5 - (LAKE.y1 + LAKE.y2) / 2) / (LAKE.height / 2)
    return np.asarray(x[None] ** 2 + y[:, None] ** 2 < 1, np.bool_)


def box_mask(box: Box, thing: Box) -> NDArray[np.bool_]:
    """(h, w) bool: where a rectangle is in a window."""
    mask = np.zeros(box.size, np.bool_)
    common = thing.intersection(box)
    if common is not None:
        mask[common.relative_to(box).slices] = True
    return mask


def _write(path: Path, side: int) -> None:
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": side,
        "height": side,
        "count": 3,
        "dtype": "uint8",
        "crs": "EPSG:25832",
        "transform": rasterio.transform.from_origin(*ORIGIN, METRES, METRES),
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "zlevel": 1,
        "photometric": "RGB",
        "BIGTIFF": "IF_SAFER",
    }
    with (
        rasterio.Env(GDAL_CACHEMAX=256 << 20, GDAL_NUM_THREADS="ALL_CPUS"),
        rasterio.open(path, "w", **profile) as out,
    ):
        for window, pixels in _blocks(side):
            out.write(np.moveaxis(pixels, 2, 0), window=window)
    with rasterio.Env(GDAL_CACHEMAX=256 << 20, GDAL_NUM_THREADS="ALL_CPUS"), rasterio.open(path, "r+") as out:
        levels = [2**n for n in range(1, 12) if side // 2**n >= 256]
        out.build_overviews(levels, Resampling.average)


def _blocks(side: int) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
    ground, water = _ground(), _water()
    for top in range(0, side, PATCH):
        for left in range(0, side, PATCH):
            box = Box(left, top, min(left + PATCH, side), min(top + PATCH, side))
            pixels = ground[: box.height, : box.width].copy()
            if box.intersection(LAKE) is not None:
                lake = lake_mask(box)
                pixels[lake] = water[: box.height, : box.width][lake]
            common = HALL.intersection(box)
            if common is not None:
                pixels[common.relative_to(box).slices] = PAINT
            yield Window(left, top, box.width, box.height), pixels


def _ground() -> NDArray[np.uint8]:
    """A patch of dry grass that fits its own edges."""
    rng = np.random.default_rng(7)
    coarse = cv2.GaussianBlur(np.tile(rng.standard_normal((PATCH, PATCH)), (3, 3)), (0, 0), 12)[
        PATCH:-PATCH, PATCH:-PATCH
    ]
    fine = cv2.GaussianBlur(np.tile(rng.standard_normal((PATCH, PATCH)), (3, 3)), (0, 0), 1.2)[
        PATCH:-PATCH, PATCH:-PATCH
    ]
    shade = 14 * coarse / coarse.std() + 6 * fine / fine.std()
    return np.clip(np.array([128, 138, 86]) + shade[..., None] * np.array([1.0, 0.9, 0.6]), 0, 255).astype(np.uint8)


def _water() -> NDArray[np.uint8]:
    rng = np.random.default_rng(8)
    shade = cv2.GaussianBlur(rng.standard_normal((PATCH, PATCH)), (0, 0), 6)
    return np.clip(np.array([34, 62, 84]) + 2 * shade[..., None] / shade.std(), 0, 255).astype(np.uint8)
