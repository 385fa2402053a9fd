"""LaSeRS as SegEarth-R2 uses it: one JSON array, streamed, with the answer of a record inside the record.

    annotations/train_ann.json   [{"id": 7, "split": "train", "image_name": "x.jpg", "size": [600, 600],
                                   "mask": [{"size": [600, 600], "counts": "..."}, ...], "description": "...",
                                   "answer": "..."}, ...]
    images/

- `description` is the query. `mask` is a list of COCO run-lengths, compressed or not, or a single one; a record asks
  for all of them at once, so they are united.
- Several records share an image. A pair belongs to a record, never to an image: it is called by the record's
  number in the array and its `id`, as 000041-7. (Converters that name masks after images let the last record of an
  image overwrite the answers of the others.)
- `size` is [height, width]. Without it the first run-lengths tell.
- A record without `mask`, as in a test set whose answers are withheld, is broken: it cannot be scored.
- Images are in `images/` beside `annotations/`, or beside an array that lies elsewhere.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from geoseg_agent.bench.datasets.collection import Broken, Dataset, Found, attempt
from geoseg_agent.bench.datasets.jsonstream import elements
from geoseg_agent.bench.datasets.places import Places, places, visible
from geoseg_agent.bench.datasets.records import Side, Strict, made_id, name_of
from geoseg_agent.bench.datasets.segments import truth_of
from geoseg_agent.bench.pairs import Pair
from geoseg_agent.errors import DatasetError
from geoseg_agent.types import Query

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from geoseg_tools.arrays import Size

_Size = Annotated[list[Side], Field(min_length=2, max_length=2)]


class _Record(Strict):
    image_name: str
    description: str
    mask: Any
    size: _Size | None = None
    id: str | int | None = None


class _First(Strict):
    size: _Size


def open_lasers(path: Path, *, split: str | None = None, images: Path | None = None) -> Dataset[Pair]:
    """The pairs of a LaSeRS array: the file, or a folder with exactly one `annotations/*.json`.

    Args:
        path: file or folder.
        split: only the records of this `split`; None for all.
        images: the folder of the images where it is not in the data set's.

    Raises:
        DatasetError: there is no such file, or more than one.
    """
    file = path
    if path.is_dir():
        files = visible(path / "annotations", "*.json")
        if len(files) != 1:
            raise DatasetError(
                f"{path} has {len(files)} files annotations/*.json, not one", hint="give the file you mean"
            )
        file = files[0]
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    at = places(root, "images", ".") if images is None else places(images, ".")
    return Dataset("lasers", root, partial(_records, file, at, split))


def _records(file: Path, at: Places, split: str | None) -> Iterator[Found[Pair]]:
    splits: set[str] = set()
    for element in elements(file):
        if isinstance(element, Broken):
            yield element
            continue
        number, where, data = element
        if not isinstance(data, dict):
            yield Broken(None, where, "a record must be an object")
            continue
        splits.add(str(data.get("split"))[:80])
        if split is None or data.get("split") == split:
            yield attempt(where, name_of(data, "id", "image_name"), partial(_pair, data, at, number, where))
    if split is not None and split not in splits:
        yield Broken(None, file.name, f"no record is of the split {split!r}; there are {sorted(splits)[:20]}")


def _pair(data: dict[str, Any], at: Places, number: int, where: str) -> Pair:
    if "mask" not in data:
        raise DatasetError("the field mask is missing: without its answer a record cannot be scored")
    record = _Record.model_validate(data)
    size = _size(record)
    return Pair(
        id=made_id(f"{number:06d}", *([] if record.id is None else [record.id])),
        image=at.find(record.image_name),
        query=Query(record.description).text,
        truth=truth_of(record.mask, size, where),
        size=size,
    )


def _size(record: _Record) -> Size:
    size = record.size
    if size is None:
        size = _First.model_validate(
            record.mask[0] if isinstance(record.mask, list) and record.mask else record.mask
        ).size
    return size[0], size[1]
