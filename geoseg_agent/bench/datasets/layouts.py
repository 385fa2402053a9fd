"""Opening a data set of pairs: which layout it has, told from its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from geoseg_agent.bench.datasets.collection import Broken, Dataset
from geoseg_agent.bench.datasets.geoseg_bench import annotation_files, open_geoseg_bench
from geoseg_agent.bench.datasets.jsonstream import elements
from geoseg_agent.bench.datasets.lasers import open_lasers
from geoseg_agent.bench.datasets.manifest import NAME, open_manifest
from geoseg_agent.bench.datasets.referring import instances_file, open_referring
from geoseg_agent.errors import DatasetError
from geoseg_agent.runs.jsontexts import BOM, value_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from geoseg_agent.bench.pairs import Pair

Layout = Literal["manifest", "geoseg-bench", "lasers", "referring"]
Kind = TypeVar("Kind", bound=str)
_KINDS: tuple[Layout, ...] = get_args(Layout)
_LINE = 1 << 20
_HINT = (
    f"a folder or file of one of these: {NAME}; GeoSeg-Bench or LaSeRS with annotations/*.json; referring data with "
    "instances.json. Or say which it is"
)


def open_pairs(
    path: str | os.PathLike[str],
    *,
    kind: Layout | Literal["auto"] = "auto",
    split: str | None = None,
    images: str | os.PathLike[str] | None = None,
) -> Dataset[Pair]:
    """The pairs of a data set on disk, read lazily. Nothing is downloaded; each layout is described in its module.

    Args:
        path: the folder of the data set, or its annotation file.
        kind: manifest | geoseg-bench | lasers | referring; "auto" tells it from the files.
        split: only the records of this split; LaSeRS and referring data have them.
        images: the folder of the images where it lies elsewhere; for LaSeRS and referring data.

    Raises:
        DatasetError: missing, of no known layout, or a file that is read whole is malformed. Records are checked when
            they are reached.
    """
    where = Path(path).absolute()
    kind = told_kind(where, kind, _KINDS, _recognised, _HINT)
    folder = None if images is None else Path(images).absolute()
    if folder is not None and not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder of images")
    if kind == "lasers":
        return open_lasers(where, split=split, images=folder)
    if kind == "referring":
        return open_referring(where, split=split, images=folder)
    if split is not None or folder is not None:
        raise DatasetError(f"{where} is a {kind} data set, which has no splits and names its images itself")
    return open_manifest(where) if kind == "manifest" else open_geoseg_bench(where)


def told_kind(
    path: Path, kind: Kind | Literal["auto"], kinds: tuple[Kind, ...], recognise: Callable[[Path], Kind], hint: str
) -> Kind:
    """`kind` itself, or what `recognise` makes of the path where it is "auto".

    Args:
        path: of a data set, absolute.
        kind: one of `kinds`, or "auto".
        kinds: all that there are.
        recognise: tells the layout from the files.
        hint: what could be given instead of a path that is not there.

    Raises:
        DatasetError: the path does not exist, the kind is none, or nothing is recognised.
    """
    if not path.exists():
        raise DatasetError(f"{path} does not exist", hint=hint)
    if kind == "auto":
        return recognise(path)
    if kind not in kinds:
        raise DatasetError(f"{kind!r} is no kind of data set", hint=f"one of {', '.join(kinds)}, or auto")
    return kind


def _recognised(path: Path) -> Layout:
    if path.is_file():
        return _of_file(path)
    if (path / NAME).is_file():
        return "manifest"
    if files := annotation_files(path):
        return _of_file(files[0])
    if instances_file(path) is not None:
        return "referring"
    raise DatasetError(f"{path} is of no known layout", hint=_HINT)


def _of_file(path: Path) -> Layout:
    try:
        with path.open("rb") as stream:
            line = stream.readline(_LINE)
            start = (line + stream.read(_LINE)).removeprefix(BOM).lstrip()[:1]
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
    if start == b"{":
        return _of_object(path, line)
    first = next(elements(path), None)
    if first is None:
        raise DatasetError(f"{path} holds no record")
    if isinstance(first, Broken):
        raise first.error()
    fields = set(first.value) if isinstance(first.value, dict) else set()
    if {"image_name", "description"} <= fields:
        return "lasers"
    if {"file_name", "question"} <= fields:
        return "geoseg-bench"
    raise DatasetError(
        f"{path} is of no known layout: its first record has the fields {sorted(fields)[:20]}", hint=_HINT
    )


def _of_object(path: Path, line: bytes) -> Layout:
    """A file that begins with an object: JSON lines, the annotations of a domain, or COCO's instances."""
    if path.suffix in {".jsonl", ".ndjson"}:
        return "manifest"
    try:
        first = value_of(line)
    except ValueError:  # an object over several lines, or a very long one
        first = None
    if isinstance(first, dict) and "query" in first:
        return "manifest"
    bench = path.parent.name == "annotations" and (path.parent.parent / "masks").is_dir()
    return "geoseg-bench" if bench else "referring"
