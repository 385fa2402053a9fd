"""GeoSeg-Bench (arXiv 2603.03983), in the layout that its authors' scripts read and write.

    annotations/Urban.json ...   [{"id": "000000", "difficulty": "Level1", "question": "...",
                                   "file_name": "Level1/x.jpg", "mask_path": "Level1/x.png",
                                   "height": 810, "width": 810}, ...]
    images/    masks/

The data set itself had not been released when this was written; this is what the scripts imply. Our reading of what
they leave open:

- A file holds a list. An object is accepted too: with one list in it, or from ids to records.
- `file_name` and `mask_path` are looked up in `images/` and `masks/`, then in the data set's folder. Where that fails
  and the path has a folder of that name in it, as in /somewhere/else/images/Level1/x.jpg, the part behind it counts:
  the scripts also use absolute paths of their authors' machine.
- An `id` is unique in its file only, so a pair is called domain-id; the domain is the file's name in lower case.
- `difficulty` Level1..3 becomes level "1".."3". `height` and `width` may be missing.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from geoseg_agent.bench.datasets.collection import Broken, Dataset, Found, attempt
from geoseg_agent.bench.datasets.mask_file import MaskFile
from geoseg_agent.bench.datasets.places import Places, places, visible
from geoseg_agent.bench.datasets.records import Side, Strict, made_id, name_of
from geoseg_agent.bench.pairs import Pair
from geoseg_agent.errors import DatasetError
from geoseg_agent.runs.jsontexts import load
from geoseg_agent.types import Query

if TYPE_CHECKING:
    from collections.abc import Iterator

_LEVEL = re.compile(r"(?:level[ _-]?)?([123])", re.IGNORECASE | re.ASCII)
_FIRST = ("Urban", "Rural", "Traffic", "Nature")


class _Record(Strict):
    id: str | int
    question: str
    file_name: str
    mask_path: str
    difficulty: str | int | None = None
    height: Side | None = None
    width: Side | None = None


def open_geoseg_bench(path: Path) -> Dataset[Pair]:
    """The pairs of GeoSeg-Bench: its folder, or one file of its `annotations/`.

    Raises:
        DatasetError: there is no annotation file, or one cannot be read or holds no list of records.
    """
    if path.is_dir():
        root, files = path, annotation_files(path)
    else:
        root, files = path.parent.parent if path.parent.name == "annotations" else path.parent, [path]
    if not files:
        raise DatasetError(f"{path} has no annotations/*.json", hint="give the folder that holds annotations/")
    listed = {file: _listed(file) for file in files}
    return Dataset("geoseg-bench", root, partial(_records, root, listed), sum(map(len, listed.values())))


def annotation_files(root: Path) -> list[Path]:
    """The JSON files in `annotations/`: the four domains in the paper's order, then any others by name."""
    files = {file.stem: file for file in visible(root / "annotations", "*.json")}
    return [files.pop(stem) for stem in _FIRST if stem in files] + list(files.values())


def _listed(file: Path) -> list[Any]:
    value = load(file)
    if isinstance(value, dict):
        lists = [part for part in value.values() if isinstance(part, list)]
        if len(lists) == 1:
            return lists[0]
        if value and all(isinstance(part, dict) for part in value.values()):
            return [{"id": key} | part for key, part in value.items()]
    if not isinstance(value, list):
        raise DatasetError(f"{file} holds no list of records", hint="a list, or an object from ids to records")
    return value


def _records(root: Path, listed: dict[Path, list[Any]]) -> Iterator[Found[Pair]]:
    images, masks = places(root, "images", "."), places(root, "masks", ".")
    for file, records in listed.items():
        domain = file.stem.lower()
        for number, data in enumerate(records, 1):
            where = f"{file.relative_to(root).as_posix()}, record {number}"
            if not isinstance(data, dict):
                yield Broken(None, where, "a record must be an object")
                continue
            build = partial(_pair, data, domain, images, masks, where)
            yield attempt(where, name_of(data, "id"), build)


def _pair(data: Any, domain: str, images: Places, masks: Places, where: str) -> Pair:
    record = _Record.model_validate(data)
    if (record.width is None) != (record.height is None):
        raise DatasetError("of width and height, only one is there")
    image = images.find(record.file_name, *_behind(record.file_name, "images"))
    mask = masks.find(record.mask_path, *_behind(record.mask_path, "masks"))
    return Pair(
        id=made_id(domain, record.id),
        image=image,
        query=Query(record.question).text,
        truth=MaskFile(mask, where, image),
        size=None if record.height is None or record.width is None else (record.height, record.width),
        level=_level(record.difficulty),
        domain=domain,
    )


def _level(difficulty: str | int | None) -> str | None:
    if difficulty is None:
        return None
    found = _LEVEL.fullmatch(str(difficulty).strip())
    if found is None:
        raise DatasetError(f"difficulty must be Level1, Level2 or Level3, got {str(difficulty)[:80]!r}")
    return found[1]


def _behind(name: str, folder: str) -> list[str]:
    """The part of a path behind the last folder of this name, if there is one."""
    parts = PurePosixPath(name).parts
    if folder not in parts[:-1]:
        return []
    last = max(index for index, part in enumerate(parts[:-1]) if part == folder)
    return ["/".join(parts[last + 1 :])]
