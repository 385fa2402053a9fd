"""Opening a data set of boxes: which layout it has, told from its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from geoseg_agent.bench.datasets import dior, nwpu
from geoseg_agent.bench.datasets.box_records import NAME, BoxRecord, open_box_lines
from geoseg_agent.bench.datasets.dior import open_dior
from geoseg_agent.bench.datasets.layouts import told_kind
from geoseg_agent.bench.datasets.loveda import MIN_PIXELS, mask_files, open_loveda
from geoseg_agent.bench.datasets.nwpu import open_nwpu
from geoseg_agent.errors import DatasetError

if TYPE_CHECKING:
    import os

    from geoseg_agent.bench.datasets.collection import Dataset

BoxLayout = Literal["boxes", "dior", "nwpu", "loveda"]
_KINDS: tuple[BoxLayout, ...] = get_args(BoxLayout)
_HINT = f"{NAME}, or the folder of DIOR, NWPU VHR-10 or LoveDA"


def open_boxes(
    path: str | os.PathLike[str], *, kind: BoxLayout | Literal["auto"] = "auto", min_pixels: int = MIN_PIXELS
) -> Dataset[BoxRecord]:
    """The boxes of a data set on disk, read lazily, one record for each image and class.

    Args:
        path: the folder of the data set, or a `boxes.jsonl`.
        kind: boxes | dior | nwpu | loveda; "auto" tells it from the files.
        min_pixels: for LoveDA, whose boxes come from class maps: smallest area of an object.

    Raises:
        DatasetError: missing, or of no known layout. Records are checked when they are reached.
    """
    where = Path(path).absolute()
    kind = told_kind(where, kind, _KINDS, _recognised, _HINT)
    if kind == "boxes":
        return open_box_lines(where)
    if kind == "dior":
        return open_dior(where)
    return open_nwpu(where) if kind == "nwpu" else open_loveda(where, min_pixels=min_pixels)


def _recognised(path: Path) -> BoxLayout:
    if path.is_file() or (path / NAME).is_file():
        return "boxes"
    if (path / dior.FOLDER).is_dir():
        return "dior"
    if (path / nwpu.FOLDER).is_dir():
        return "nwpu"
    if mask_files(path):
        return "loveda"
    raise DatasetError(f"{path} holds no boxes of a known layout", hint=_HINT)
