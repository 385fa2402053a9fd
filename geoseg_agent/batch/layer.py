"""All objects of a batch in one vector layer, `objects.gpkg`, with what they were found in and by which query.

It is assembled at the end from the outlines beside the lines, some thousand at a time, so memory does not grow with
the batch; in the order of the items, whatever the order in which they were answered.
"""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from geoseg_agent.batch.plan import load_plan
from geoseg_agent.batch.results import ItemResult, load_results
from geoseg_agent.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIELDS: Final[dict[str, type]] = {
    "source": str,
    "query": str,
    "item": str,
    "target": int,
    "object": int,
    "phrase": str,
    "score": float,
    "area_m2": float,
    "area_px": int,
    "status": str,
    "confidence": float,
    "engine": str,
    "trace_id": str,
}
"""Columns of the layer; `area_m2` is geodesic, the geometry longitude and latitude on WGS 84."""

CHUNK: Final = 4096
"""Objects in memory."""

LAYER: Final = "objects"


def write_layer(folder: Path, *, told: Callable[[int, int], None] = lambda _done, _total: None) -> int:
    """Write `objects.gpkg` of the batch in `folder`; what was there is replaced, whole or not at all. Blocks.

    Args:
        folder: of the batch.
        told: is given how many objects are written, and of how many.

    Returns:
        How many objects it holds. Where there is none, there is no file.

    Raises:
        DatasetError: there is no batch, a file of it is damaged, or the disk says no.
    """
    target = folder / "objects.gpkg"
    offsets, total = _offsets(folder)
    if not total:
        target.unlink(missing_ok=True)
        return 0
    stage = Path(tempfile.mkdtemp(prefix=".geoseg-", dir=folder))
    try:
        _write(stage / target.name, _rows(folder, offsets), total, told)
        (stage / target.name).replace(target)
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] != "pyogrio":
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(f"{target} cannot be written: {reason}", hint="free some space and start again") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return total


def _offsets(folder: Path) -> tuple[array[int], int]:
    """Where in `batch.jsonl` each item with objects has its line, by number, one byte on; and how many objects."""
    found, at, total = array("q", bytes(8 * (load_plan(folder).items + 1))), 0, 0
    lines = folder / "batch.jsonl"
    with lines.open("rb") as stream:
        for result, line in zip(load_results(lines), stream, strict=False):
            if result.objects is not None:
                found[result.number] = at + 1
                total += result.objects.count
            at += len(line)
    return found, total


def _rows(folder: Path, offsets: array[int]) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """WKB and values of every object, in the order of the items."""
    part_size, opened, part = load_plan(folder).part, None, -1
    try:
        with (folder / "batch.jsonl").open("rb") as lines:
            for number, offset in enumerate(offsets):
                if not offset:
                    continue
                lines.seek(offset - 1)
                result = ItemResult.model_validate_json(lines.readline())
                if (number - 1) // part_size != part:
                    part = (number - 1) // part_size
                    if opened is not None:
                        opened.close()
                    opened = (folder / "objects" / f"{part:05d}").open("rb")
                assert opened is not None  # noqa: S101 - for the type checker; the first has opened one
                yield from _objects(result, opened)
    finally:
        if opened is not None:
            opened.close()


def _objects(result: ItemResult, outlines: BinaryIO) -> Iterator[tuple[bytes, dict[str, Any]]]:
    assert result.objects is not None  # noqa: S101 - for the type checker; only such have an offset
    outlines.seek(result.objects.at)
    data = outlines.read(result.objects.bytes)
    known = {
        "source": result.source,
        "query": result.query,
        "item": result.id,
        "status": result.status,
        "confidence": result.confidence,
        "engine": result.engine,
        "trace_id": result.trace,
    }
    try:
        for line in data.splitlines():
            values = json.loads(line)
            yield bytes.fromhex(values.pop("wkb")), known | values
    except (ValueError, KeyError) as error:
        raise DatasetError(
            f"{outlines.name}: the outlines of {result.id} are not what was written there: {error}",
            hint="put back the file that was there, or make the batch again",
        ) from error


def _write(
    path: Path, rows: Iterator[tuple[bytes, dict[str, Any]]], total: int, told: Callable[[int, int], None]
) -> None:
    from itertools import islice  # noqa: PLC0415 - beside what is imported for the same lines

    from pyogrio import read_info  # noqa: PLC0415 - brings a GDAL of its own
    from pyogrio.raw import write  # noqa: PLC0415 - as above

    done = 0
    while chunk := list(islice(rows, CHUNK)):
        write(
            path,
            geometry=np.array([blob for blob, _ in chunk], dtype=object),
            field_data=[_column([values[name] for _, values in chunk], kind) for name, kind in FIELDS.items()],
            fields=list(FIELDS),
            layer=LAYER,
            driver="GPKG",
            geometry_type="MultiPolygon",
            crs="EPSG:4326",
            append=done > 0,
        )
        done += len(chunk)
        told(done, total)
    # The spatial index is written last, when the file is closed, and GDAL keeps its failure to itself.
    written = read_info(path, layer=LAYER, force_feature_count=True)
    if written["features"] != total or not written["capabilities"]["fast_spatial_filter"]:
        raise OSError(errno.EIO, f"{path.name} could not be written completely")


def _column(values: list[Any], kind: type) -> np.ndarray[Any, Any]:
    if kind is float:
        # NaN is written as null.
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return np.array(values, dtype=np.int64 if kind is int else object)
