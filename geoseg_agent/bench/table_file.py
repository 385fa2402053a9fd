"""A published table from a JSON file: means in per cent, as they are printed.

    {"name": "Theirs, Table 2", "source": "arXiv ...", "decimals": 1,
     "rows": {"full": {"iou": 56.4, "recall": 65.7}, "points": {"recall": 48.9}}}

Rows are named by our variants (full, no-refinement, text, points), figures by `geoseg_agent.bench.published.COLUMNS`;
both may be missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from geoseg_agent.bench.published import PublishedTable
from geoseg_agent.errors import DatasetError
from geoseg_agent.runs.lines import told
from geoseg_agent.trace import jsontext
from geoseg_agent.trace.record_base import Record

if TYPE_CHECKING:
    from pathlib import Path

    from geoseg_agent.method import Variant

Row = Literal["full", "no-refinement", "text", "points"]
Figure = Literal["iou", "dice", "accuracy", "precision", "recall", "specificity", "boundary"]
Percent = Annotated[float, Field(ge=0, le=100, strict=False)]

_FORM = '{"name": "...", "decimals": 1, "rows": {"full": {"iou": 56.4}}}'


class _File(Record):
    name: str
    source: str = ""
    label: str = ""
    decimals: Annotated[int, Field(ge=0, le=6)] = 1
    rows: Annotated[dict[Row, dict[Figure, Percent]], Field(min_length=1)]


def read_table(path: Path) -> PublishedTable:
    """The table in the file.

    Raises:
        DatasetError: it cannot be read, or breaks a rule; the message names the field.
    """
    try:
        data = path.read_bytes()
        jsontext.parse(data)  # pydantic would take the last of two equal keys
        file = _File.model_validate_json(data)
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be read: {error.strerror or error}", hint="name a folder of a run, a JSON file, or paper"
        ) from error
    except ValueError as error:
        raise DatasetError(f"{path} is no table: {told(error)}", hint=_FORM) from error
    rows: dict[Variant, dict[str, float]] = {
        row: {figure: value / 100 for figure, value in found.items()} for row, found in file.rows.items()
    }
    return PublishedTable(file.name, file.source, file.label, rows, 0.5 * 10**-file.decimals / 100)
