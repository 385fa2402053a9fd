"""The project's own layout: JSON lines, one pair a line, files named relative to the manifest's folder.

    {"id": "lake-1", "image": "images/lake.png", "mask": "masks/lake-1.png", "query": "the lake", "level": 1,
     "domain": "nature", "boxes": [[10, 20, 200, 180]], "phrase": "lake", "source": "...",
     "width": 640, "height": 480}

Needed: `id` (unique, and fit to name a file), `image`, `mask` (PNG or TIFF of the image's size; nonzero is the
answer) and `query`. `boxes` are absolute pixels, half-open. Other fields, such as `license`, are not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from geoseg_agent.bench.datasets.jsonlines import open_lines
from geoseg_agent.bench.datasets.mask_file import MaskFile
from geoseg_agent.bench.datasets.records import Corners, Side, Strict, boxes_of, check_id
from geoseg_agent.bench.pairs import Pair
from geoseg_agent.errors import DatasetError
from geoseg_agent.types import Query

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from geoseg_agent.bench.datasets.collection import Dataset
    from geoseg_agent.bench.datasets.places import Places

NAME = "manifest.jsonl"


class _Line(Strict):
    id: str
    image: str
    mask: str
    query: str
    level: int | str | None = None
    domain: str | None = None
    boxes: list[Corners] = Field(default=[])
    phrase: str | None = None
    source: str | None = None
    width: Side | None = None
    height: Side | None = None


def open_manifest(path: Path) -> Dataset[Pair]:
    """The pairs of a manifest: the file, or a folder that holds `manifest.jsonl`.

    Raises:
        DatasetError: it cannot be read.
    """
    return open_lines("manifest", path, NAME, called="id", build=_pair)


def _pair(data: Any, at: Places, where: str) -> Pair:
    line = _Line.model_validate(data)
    if (line.width is None) != (line.height is None):
        raise DatasetError("of width and height, only one is there")
    image = at.find(line.image)
    return Pair(
        id=check_id(line.id),
        image=image,
        query=Query(line.query).text,
        truth=MaskFile(at.find(line.mask), where, image),
        size=None if line.height is None or line.width is None else (line.height, line.width),
        level=None if line.level is None else str(line.level),
        domain=line.domain,
        source=line.source,
        phrase=line.phrase or None,
        boxes=boxes_of(line.boxes),
    )
