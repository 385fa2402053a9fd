"""Answers as files: pictures of it always; GeoTIFF and vectors where the image lies on the ground.

Everything is written into a hidden folder beside its destination and moved into place when all of it is complete, so
a reader never meets half a file; what an earlier answer left in the folder goes first, so answers never mix.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image as Pillow

from geoseg_agent.blocks import union_in
from geoseg_agent.cog import write_mask
from geoseg_agent.control_points import has_control_points
from geoseg_agent.errors import GeoSegError, InputError
from geoseg_agent.formats import FORMATS, chosen, tolerance
from geoseg_agent.out_folder import check_free
from geoseg_agent.overlay import overlay, overlay_png, side_of
from geoseg_tools.geometry import whole

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from geoseg_agent.georeference import Georeference
    from geoseg_agent.segmentation import Segmentation

__all__ = ["Files", "left_out", "overlay_png", "save"]

Files: TypeAlias = dict[str, Path]
"""What was written: mask_png, overlay_png, mask_tif, and of the vectors those of `FORMATS` that were asked for."""

NAMES = {"mask_png": "mask.png", "overlay_png": "overlay.png", "mask_tif": "mask.tif"} | {
    key: name for files in FORMATS.values() for key, name in files.items()
}

_WRITERS = {"rasterio", "pyogrio", "pyarrow"}

LARGE = 1 << 26
"""Images of more pixels get no mask.png: programs that show one hold all of it. They get a mask.tif, always, which
is put together on disk; that of a smaller image in memory.
"""


def save(
    answer: Segmentation,
    folder: str | os.PathLike[str],
    *,
    formats: Iterable[str] | None = None,
    simplify: float | None = None,
    large: int = LARGE,
) -> Files:
    """Write an answer into `folder`, which is made where it is missing; files of an earlier answer are replaced.

    `mask.png`: one channel, 0 and 255; for images of at most `LARGE` pixels. `overlay.png`: for people.
    `mask.tif`, for georeferenced images and for those without a mask.png: a cloud-optimised GeoTIFF on the grid of
    the image, uint8, 1 in the mask, 0 outside, 255 (nodata) where the image is invalid. For georeferenced images
    the vectors: GeoJSON in WGS 84, the others in the image's CRS, with geodesic areas. They are left out where the
    CRS does not lead to WGS 84, as on another planet.

    Args:
        answer: what to write.
        folder: where to.
        formats: of the vectors: geojson, gpkg, fgb, geoparquet; the first two where None.
        simplify: how far outlines may stray from the pixels' edges, in units of the image's CRS. Every polygon stays
            valid; areas are always those of the pixels.
        large: as `LARGE`, in pixels.

    Returns:
        Name to path of each file written.

    Raises:
        InputError: the folder cannot be written, the disk is full, or one of the names is that of the image itself;
            the folder is then as it was. Or a format is unknown, or `simplify` no length.
        MissingExtra: geoparquet needs the extra of this name.
    """
    asked, stray = chosen(formats), tolerance(simplify)
    target = Path(folder)
    check_free(target, answer.image.path, NAMES.values())
    try:
        target.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".geoseg-", dir=target))
        try:
            written = _write(answer, stage, asked, stray, large)
            for name in NAMES.values():
                (target / name).unlink(missing_ok=True)
            return {key: path.replace(target / path.name) for key, path in written.items()}
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    except GeoSegError:
        raise
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in _WRITERS:
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"the results cannot be written to {target}: {reason}",
            hint="choose a folder with space that you may write",
        ) from error


def left_out(answer: Segmentation, files: Files, formats: Iterable[str] | None = None) -> tuple[str, ...]:
    """What a person who looks for a file should know, one sentence each: which is missing in `files`, and why."""
    image = answer.image
    said = []
    if "mask_png" not in files:
        said.append(
            f"mask.png is left out for an image of {image.size[1]} x {image.size[0]} pixels; "
            "mask.tif holds the same mask."
        )
    wanted = [name for name in chosen(formats) if not files.keys() >= FORMATS[name].keys()]
    if not wanted:
        return tuple(said)
    if image.georeference is not None:
        said.append(
            f"There is no {', '.join(wanted)}: the CRS of {image.name} does not lead to WGS 84, "
            "or a mask goes around a pole."
        )
    elif has_control_points(image):
        said.append(
            f"{image.name} has ground control points but no grid, so the result has no place on the ground; "
            "warp the image first, for example with gdalwarp."
        )
    elif formats is not None:
        said.append(f"There is no {', '.join(wanted)}: {image.name} has no place on the ground.")
    return tuple(said)


def _write(answer: Segmentation, folder: Path, formats: tuple[str, ...], stray: float, large: int) -> Files:
    """Write every file that fits the answer into `folder`."""
    paths = {key: folder / name for key, name in NAMES.items()}
    files = []
    height, width = answer.image.size
    georeference = answer.image.georeference
    small = height * width <= large
    if small:
        mask = union_in(answer.targets, whole(answer.image.size)).view(np.uint8)
        mask *= np.uint8(255)
        Pillow.fromarray(mask).save(paths["mask_png"])
        files.append("mask_png")
    overlay(answer, side_of(answer.image)).save(paths["overlay_png"])
    files.append("overlay_png")
    if georeference is not None or not small:
        write_mask(answer, paths["mask_tif"], in_memory=small)
        files.append("mask_tif")
    if georeference is not None and formats:
        files += _write_vectors(answer, georeference, paths, formats, stray)
    return {key: paths[key] for key in files}


def _write_vectors(
    answer: Segmentation, georeference: Georeference, paths: Files, formats: tuple[str, ...], stray: float
) -> list[str]:
    from pyproj.exceptions import ProjError  # noqa: PLC0415 - only georeferenced images need the geographic libraries

    from geoseg_agent import vector_files  # noqa: PLC0415 - as above
    from geoseg_agent.geodesy import Ground  # noqa: PLC0415 - as above
    from geoseg_agent.vectors import layers  # noqa: PLC0415 - as above

    try:
        ground = Ground(georeference, answer.image.size)
        found = layers(answer, ground, stray)
    except ProjError:
        return []
    if "geojson" in formats:
        vector_files.write_geojson(paths["targets_geojson"], found["targets"])
    if "gpkg" in formats:
        vector_files.write_geopackage(paths["targets_gpkg"], ground.crs, found)
    for name, layer in found.items():
        if "fgb" in formats:
            vector_files.write_flatgeobuf(paths[f"{name}_fgb"], ground.crs, name, layer)
        if "geoparquet" in formats:
            from geoseg_agent.geoparquet import write_geoparquet  # noqa: PLC0415 - brings pyarrow

            write_geoparquet(paths[f"{name}_parquet"], ground.crs, layer)
    return [key for name in formats for key in FORMATS[name]]
