"""Referring expressions over COCO annotations: RefCOCO and its kin, RRSIS-D.

    instances.json  {"images": [{"id": 3, "file_name": "00003.jpg", "height": 800, "width": 800}],
                     "annotations": [{"id": 9, "image_id": 3, "segmentation": ..., "category_id": 4}],
                     "categories": [{"id": 4, "name": "bridge"}],
                     "refs": [{"ref_id": 5, "image_id": 3, "ann_id": 9, "split": "test",
                               "sentences": [{"sent": "the bridge on the left"}]}]}

- `refs` may stand in `refs.json`, a list beside the instances. The data sets ship it as a pickle (`refs(unc).p`),
  which is not read: opening a pickle runs whatever code it holds. Turn one you trust into `refs.json` yourself.
- A sentence is a pair, called ref_id-number; an object with `sent` (or `raw`), or a string.
- `ann_id` may be a list: the answer is then the union.
- `segmentation` is a list of polygons, a COCO run-length object, or a list of such (RRSIS-D).
- `bbox` is not read: COCO writes x, y, width, height there, RRSIS-D two corners. The answer tells the box.
- The name of the category is the pair's phrase; RRSIS-D calls the field `categories_id`.
- Images are looked up in `images/`, `JPEGImages/`, `images/*/JPEGImages/` and beside the instances.

The file is read whole, so its size is limited to a GiB.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from geoseg_agent.bench.datasets.collection import Broken, Dataset, Found, attempt
from geoseg_agent.bench.datasets.places import Places
from geoseg_agent.bench.datasets.records import Side, Strict, made_id, name_of
from geoseg_agent.bench.datasets.segments import United, truth_of
from geoseg_agent.bench.pairs import Pair
from geoseg_agent.errors import DatasetError
from geoseg_agent.runs.jsontexts import load
from geoseg_agent.types import Query

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "instances.json"
_REFS = "refs.json"
_Id = int | str


class _Image(Strict):
    file_name: str
    height: Side
    width: Side


class _Annotation(Strict):
    image_id: _Id
    segmentation: Any
    category_id: _Id | None = None
    categories_id: _Id | None = None


class _Sentence(Strict):
    sent: str = ""
    raw: str = ""


class _Ref(Strict):
    image_id: _Id
    ann_id: _Id | Annotated[list[_Id], Field(min_length=1)]
    sentences: list[Any] = Field(min_length=1)
    ref_id: _Id | None = None


@dataclass(frozen=True, slots=True)
class _Instances:
    """The file, indexed; records are checked when a pair needs them, so that one bad one spoils no other."""

    name: str
    places: Places
    images: dict[_Id, Any]
    annotations: dict[_Id, Any]
    categories: dict[_Id, str]
    refs: list[Any]


def open_referring(path: Path, *, split: str | None = None, images: Path | None = None) -> Dataset[Pair]:
    """The pairs of a referring data set: the file, or a folder with `instances.json` in it or one down.

    Args:
        path: file or folder.
        split: only the refs of this `split`; None for all.
        images: the folder of the images where it is not in the data set's.

    Raises:
        DatasetError: the file cannot be read, lacks a part, holds an id twice, or has no ref of the split.
    """
    root = path if path.is_dir() else path.parent
    file = instances_file(path) if path.is_dir() else path
    if file is None:
        raise DatasetError(f"{path} has no {NAME}", hint="give the file itself")
    whole = load(file)
    if not isinstance(whole, dict):
        raise DatasetError(f"{file} must be an object with images, annotations and refs")
    found = _Instances(
        file.name,
        _places(root, file) if images is None else Places(images, (images,)),
        _indexed(whole, "images", file),
        _indexed(whole, "annotations", file),
        {
            key: data["name"]
            for key, data in _indexed({"categories": whole.get("categories", [])}, "categories", file).items()
            if isinstance(data.get("name"), str)
        },
        _refs(whole, file),
    )
    chosen = [
        (number, data)
        for number, data in enumerate(found.refs, 1)
        if split is None or not isinstance(data, dict) or data.get("split") == split
    ]
    if not chosen and found.refs:
        splits = sorted({str(data.get("split")) for data in found.refs if isinstance(data, dict)})
        raise DatasetError(f"{file}: no ref is of the split {split!r}", hint=f"there are {splits[:20]}")
    count = sum(_sentences(data) for _, data in chosen)
    return Dataset("referring", root, partial(_records, found, chosen), count)


def instances_file(folder: Path) -> Path | None:
    """`instances.json` in a folder or in one of its subfolders, the first by name; None where there is none."""
    return next((file for file in (folder / NAME, *sorted(folder.glob(f"*/{NAME}"))) if file.is_file()), None)


def _places(root: Path, file: Path) -> Places:
    deeper = sorted(root.glob("images/*/JPEGImages"))
    return Places(root, (root / "images", root / "JPEGImages", *deeper, root, file.parent))


def _indexed(whole: dict[str, Any], part: str, file: Path) -> dict[_Id, Any]:
    listed = whole.get(part)
    if not isinstance(listed, list):
        raise DatasetError(f"{file} has no list {part!r}")
    index: dict[_Id, Any] = {}
    for number, data in enumerate(listed, 1):
        key = data.get("id") if isinstance(data, dict) else None
        if not isinstance(key, int | str) or isinstance(key, bool):
            raise DatasetError(f"{file}, {part} {number}: it must be an object with an id")
        if key in index:
            raise DatasetError(f"{file}, {part} {number}: the id {key!r} stands twice")
        index[key] = data
    return index


def _refs(whole: dict[str, Any], file: Path) -> list[Any]:
    refs = whole.get("refs")
    beside = file.parent / _REFS
    if refs is None and beside.is_file():
        refs = load(beside)
    if refs is None:
        pickles = sorted(path.name for path in file.parent.glob("refs*.p"))
        raise DatasetError(
            f"{file} has no refs, and there is no {_REFS} beside it",
            hint=f"{pickles[0]} is a pickle, which can run code: if you trust it, write its list as JSON to {_REFS}"
            if pickles
            else None,
        )
    if not isinstance(refs, list):
        raise DatasetError(f"{file}: refs must be a list")
    return refs


def _sentences(data: Any) -> int:
    sentences = data.get("sentences") if isinstance(data, dict) else None
    return max(1, len(sentences)) if isinstance(sentences, list) else 1


def _records(found: _Instances, chosen: list[tuple[int, Any]]) -> Iterator[Found[Pair]]:
    for number, data in chosen:
        where = f"{found.name}, ref {number}"
        name = name_of(data, "ref_id")
        ref = attempt(where, name, partial(_Ref.model_validate, data))
        if isinstance(ref, Broken):
            yield ref
            continue
        for place in range(len(ref.item.sentences)):
            spot = f"{where}, sentence {place + 1}"
            yield attempt(spot, name, partial(_pair, found, ref.item, number, place, spot))


def _pair(found: _Instances, ref: _Ref, number: int, place: int, where: str) -> Pair:
    if ref.image_id not in found.images:
        raise DatasetError(f"there is no image with the id {ref.image_id!r}")
    image = _Image.model_validate(found.images[ref.image_id])
    size = (image.height, image.width)
    parts, names = [], set()
    for key in ref.ann_id if isinstance(ref.ann_id, list) else [ref.ann_id]:
        if key not in found.annotations:
            raise DatasetError(f"there is no annotation with the id {key!r}")
        annotation = _Annotation.model_validate(found.annotations[key])
        if annotation.image_id != ref.image_id:
            raise DatasetError(f"annotation {key!r} is of image {annotation.image_id!r}, not {ref.image_id!r}")
        parts.append(truth_of(annotation.segmentation, size, where))
        category = annotation.categories_id if annotation.category_id is None else annotation.category_id
        names.add(None if category is None else found.categories.get(category))
    text = ref.sentences[place]
    if not isinstance(text, str):
        sentence = _Sentence.model_validate(text)
        text = sentence.sent.strip() or sentence.raw
    return Pair(
        id=made_id(number if ref.ref_id is None else ref.ref_id, place + 1),
        image=found.places.find(image.file_name),
        query=Query(text).text,
        truth=parts[0] if len(parts) == 1 else United(tuple(parts)),
        size=size,
        phrase=names.pop() if len(names) == 1 else None,
    )
