"""Answers as files: mask and overlay always; GeoTIFF, GeoJSON and GeoPackage where the image lies on the ground.

Everything is written into a hidden folder beside its destination and moved into place when all of it is complete, so
a reader never meets half a file; what an earlier answer left in the folder goes first, so answers never mix.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image as Pillow

from geoseg_agent.decode import quiet
from geoseg_agent.errors import GeoSegError, InputError
from geoseg_agent.overlay import overlay, overlay_png
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from geoseg_agent.georeference import Georeference
    from geoseg_agent.segmentation import Segmentation

__all__ = ["Files", "overlay_png", "save"]

Files: TypeAlias = dict[str, Path]
"""What was written: mask_png, overlay_png, and for georeferenced images mask_tif, targets_geojson, targets_gpkg."""

NAMES = {
    "mask_png": "mask.png",
    "overlay_png": "overlay.png",
    "mask_tif": "mask.tif",
    "targets_geojson": "targets.geojson",
    "targets_gpkg": "targets.gpkg",
}
NODATA = 255
"""In `mask.tif`: pixels that are invalid in the image."""

_TILE = 256
_STRIP_ROWS = 16 * _TILE


def save(answer: Segmentation, folder: str | os.PathLike[str]) -> Files:
    """Write an answer into `folder`, which is made where it is missing; files of an earlier answer are replaced.

    `mask.png`: one channel, 0 and 255. `overlay.png`: for people. For georeferenced images `mask.tif`: the grid of
    the image, uint8, 1 in the mask, 0 outside, 255 (nodata) where the image is invalid; `targets.geojson` in WGS 84
    and `targets.gpkg` in the image's CRS, with geodesic areas. The two vector files are left out where the CRS does
    not lead to WGS 84, as on another planet.

    Returns:
        Name to path of each file written.

    Raises:
        InputError: the folder cannot be written, or the disk is full; the folder is then as it was.
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".geoseg-", dir=target))
        try:
            written = _write(answer, stage)
            for name in NAMES.values():
                (target / name).unlink(missing_ok=True)
            return {key: path.replace(target / path.name) for key, path in written.items()}
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    except GeoSegError:
        raise
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in {"rasterio", "pyogrio"}:
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"the results cannot be written to {target}: {reason}",
            hint="choose a folder with space that you may write",
        ) from error


def _write(answer: Segmentation, folder: Path) -> Files:
    """Write every file that fits the answer into `folder`."""
    files = {"mask_png": folder / NAMES["mask_png"], "overlay_png": folder / NAMES["overlay_png"]}
    Pillow.fromarray(_rows(answer, 0, answer.image.size[0]).view(np.uint8) * np.uint8(255)).save(files["mask_png"])
    georeference = answer.image.georeference
    if georeference is not None:
        files["mask_tif"] = folder / NAMES["mask_tif"]
        _write_geotiff(answer, georeference, files["mask_tif"])
        files |= _write_vectors(answer, georeference, folder)
    overlay(answer).save(files["overlay_png"])
    return files


def _write_vectors(answer: Segmentation, georeference: Georeference, folder: Path) -> Files:
    from pyproj.exceptions import ProjError  # noqa: PLC0415 - only georeferenced images need the geographic libraries

    from geoseg_agent.geodesy import Ground  # noqa: PLC0415 - as above
    from geoseg_agent.vectors import layers, write_geojson, write_geopackage  # noqa: PLC0415 - as above

    try:
        ground = Ground(georeference, answer.image.size)
        found = layers(answer, ground)
    except ProjError:
        return {}
    files = {key: folder / NAMES[key] for key in ("targets_geojson", "targets_gpkg")}
    write_geojson(files["targets_geojson"], found["targets"])
    write_geopackage(files["targets_gpkg"], ground.crs, found)
    return files


def _write_geotiff(answer: Segmentation, georeference: Georeference, path: Path) -> None:
    import rasterio  # noqa: PLC0415 - as in `_write_vectors`
    from rasterio.io import MemoryFile  # noqa: PLC0415 - as in `_write_vectors`
    from rasterio.windows import Window  # noqa: PLC0415 - as in `_write_vectors`

    image = answer.image
    height, width = image.size
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": 1,
        "dtype": "uint8",
        "nodata": NODATA,
        "crs": georeference.crs,
        "transform": rasterio.Affine(*georeference.transform),
        "compress": "deflate",
        "tiled": True,
        "blockxsize": _TILE,
        "blockysize": _TILE,
    }
    tags = {name: str(getattr(answer, name)) for name in ("engine", "query", "status", "trace_id")}
    if answer.confidence is not None:
        tags["confidence"] = f"{answer.confidence:.6g}"
    # Compressed in memory, where it is small: GDAL reports a full disk only on standard error.
    with MemoryFile() as memory:
        with quiet():  # rasterio warns of grids that only turn the image upside down
            created = memory.open(**profile)
        with created as dataset:
            dataset.update_tags(**tags)
            dataset.set_band_description(1, "mask")
            for top in range(0, height, _STRIP_ROWS):
                bottom = min(top + _STRIP_ROWS, height)
                values = _rows(answer, top, bottom).astype(np.uint8)
                valid = image.crop(Box(0, top, width, bottom)).valid
                if valid is not None:
                    values[~valid] = NODATA
                dataset.write(values, 1, window=Window(0, top, width, bottom - top))
        path.write_bytes(memory.getbuffer())


def _rows(answer: Segmentation, top: int, bottom: int) -> NDArray[np.bool_]:
    """Rows `top` to `bottom` of the union of the targets' masks: (bottom - top, W) bool."""
    canvas = np.zeros((bottom - top, answer.image.size[1]), dtype=np.bool_)
    for target in answer.targets:
        first, last = max(top, target.roi.y1), min(bottom, target.roi.y2)
        if first < last:
            part = canvas[first - top : last - top, target.roi.x1 : target.roi.x2]
            part |= target.mask[first - target.roi.y1 : last - target.roi.y1]
    return canvas
