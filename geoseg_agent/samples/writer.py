"""Put a scene on disk: GeoTIFF, PNG, answer masks, and a manifest of its queries. All of it, or nothing."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    import os

    from geoseg_agent.samples.values import SampleQuery, SampleScene
    from geoseg_tools.arrays import Mask

SOURCE: Final = "geoseg-agent samples"
LICENSE: Final = "Apache-2.0"
_MANIFEST: Final = "queries.jsonl"
_NAMES: Final = frozenset({"scene.tif", "scene.tif.aux.xml", "scene.png", "masks", _MANIFEST})
"""What a folder of ours may hold; GDAL leaves the .aux.xml when a viewer asks for statistics."""


class SamplePaths(NamedTuple):
    """Where a scene lies.

    Attributes:
        folder: holds everything below.
        geotiff: the picture with its place on the ground; tiled, deflated, lossless.
        png: the same pixels.
        manifest: one JSON object per query, paths relative to the folder.
        masks: by query id: the answer as 8-bit PNG, 255 inside and 0 outside.
    """

    folder: Path
    geotiff: Path
    png: Path
    manifest: Path
    masks: dict[str, Path]


def write(scene: SampleScene, folder: str | os.PathLike[str], *, replace: bool = False) -> SamplePaths:
    """Write a scene into `folder`, which appears complete or not at all.

    Everything is written into a hidden folder beside it, which is renamed at the end. With `replace`, a folder that
    an earlier call wrote is exchanged; between its removal and the rename there is a moment without either.

    Args:
        scene: what to write.
        folder: must not exist yet, or be empty; its parents are made.
        replace: exchange a folder of samples that is there already.

    Raises:
        FileExistsError: the folder holds something; with `replace`: something besides one sample scene.
        OSError: the disk refused.
    """
    target = Path(folder).absolute()
    _check_target(target, replace=replace)
    target.parent.mkdir(parents=True, exist_ok=True)
    build = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        inner = build / "scene"
        inner.mkdir()
        _fill(scene, inner)
        _exchange(inner, target, build / "before")
    finally:
        shutil.rmtree(build, ignore_errors=True)
    return _paths(scene, target)


def _exchange(inner: Path, target: Path, before: Path) -> None:
    """Put `inner` in the place of `target`; what stood there goes to `before`, and back where that fails."""
    moved = target.exists()
    if moved:
        target.rename(before)
    try:
        inner.rename(target)
    except OSError:
        if moved:
            before.rename(target)
        raise


def _check_target(target: Path, *, replace: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not replace:
        raise FileExistsError(f"{target} exists and is not empty; choose another folder, or pass replace=True")
    if not _holds_only_a_scene(target):
        raise FileExistsError(
            f"{target} holds something besides a sample scene, so it is not replaced; choose another folder",
        )


def _holds_only_a_scene(folder: Path) -> bool:
    """Whether `write` made this folder and nobody has put anything else into it."""
    manifest = folder / _MANIFEST
    if not manifest.is_file() or not {item.name for item in folder.iterdir()} <= _NAMES:
        return False
    try:
        first = json.loads(manifest.read_text("utf-8").partition("\n")[0])
    except ValueError:
        return False
    return isinstance(first, dict) and first.get("source") == SOURCE


def _paths(scene: SampleScene, folder: Path) -> SamplePaths:
    masks = {query.id: folder / "masks" / f"{query.id}.png" for query in scene.queries}
    return SamplePaths(folder, folder / "scene.tif", folder / "scene.png", folder / _MANIFEST, masks)


def _fill(scene: SampleScene, folder: Path) -> None:
    paths = _paths(scene, folder)
    (folder / "masks").mkdir()
    _write_geotiff(scene, paths.geotiff)
    _write_png(paths.png, np.ascontiguousarray(scene.pixels[..., ::-1]))
    records = []
    for query in scene.queries:
        _write_png(paths.masks[query.id], _shades(query.mask))
        record = _record(scene, query, paths.geotiff.name, paths.masks[query.id].relative_to(folder).as_posix())
        records.append(json.dumps(record, ensure_ascii=False) + "\n")
    paths.manifest.write_text("".join(records), encoding="utf-8")


def _record(scene: SampleScene, query: SampleQuery, image: str, mask: str) -> dict[str, object]:
    """One line of the manifest."""
    return {
        "id": f"{scene.name}-{query.id}",
        "image": image,
        "mask": mask,
        "query": query.text,
        "level": query.level,
        "domain": query.domain,
        "boxes": [list(box) for box in query.boxes],
        "phrase": query.phrase,
        "mask_kind": query.mask_kind,
        "width": scene.size[1],
        "height": scene.size[0],
        "area_frac": round(float(query.mask.mean()), 5),
        "source": SOURCE,
        "license": LICENSE,
    }


def _shades(mask: Mask) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.where(mask, 255, 0).astype(np.uint8)


def _write_png(path: Path, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    """Write grey (h, w) or blue-green-red (h, w, 3) uint8, losslessly."""
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise OSError(f"{path} could not be encoded as PNG")
    path.write_bytes(data.tobytes())


def _write_geotiff(scene: SampleScene, path: Path) -> None:
    """Write the pixels with their place on the ground: three bands, tiles of 256, deflate with predictor."""
    import rasterio  # noqa: PLC0415 - scenes can be drawn without loading GDAL
    from rasterio.transform import Affine  # noqa: PLC0415 - see above

    height, width = scene.size
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=width,
        height=height,
        count=3,
        dtype="uint8",
        crs=scene.georeference.crs,
        transform=Affine(*scene.georeference.transform),
        photometric="RGB",
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        predictor=2,
    ) as raster:
        raster.write(np.moveaxis(scene.pixels, 2, 0))
        raster.update_tags(SOURCE=SOURCE, LICENSE=LICENSE, SCENE=scene.name)
