"""What the records of every layout share: strict models, names, levels, and ids that can name a file."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from geoseg_agent.errors import DatasetError
from geoseg_agent.runs.jsontexts import MAX_RECORD
from geoseg_tools.geometry import Box

Side = Annotated[int, Field(ge=1)]
Corners = Annotated[list[int], Field(min_length=4, max_length=4)]

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,149}", re.ASCII)
_OTHER = re.compile(r"[^A-Za-z0-9_.-]+", re.ASCII)
_ODD = re.compile(r"[^A-Za-z0-9_./ -]", re.ASCII)


class Strict(BaseModel):
    """Types are not converted and numbers are finite. Fields that are not needed may stand beside the others.

    Foreign files carry more than is read here, and a manifest may carry notes of its owner's. A limit on strings
    makes pydantic look into them, and refuse halves of characters, which can be neither shown nor written to results.
    """

    model_config = ConfigDict(
        extra="ignore", strict=True, frozen=True, allow_inf_nan=False, str_max_length=MAX_RECORD
    )


def check_id(text: str) -> str:
    """`text`, where it can be the id of a pair and so the name of a file.

    Raises:
        DatasetError: it cannot.
    """
    if _ID.fullmatch(text) is None:
        raise DatasetError(
            f"the id {text[:80]!r} must be 1 to 150 letters a to z, digits, '-', '_' or '.', not '-' or '.' first"
        )
    return text


def made_id(*parts: object) -> str:
    """An id from what a data set calls a record; "Airport", "3 b" become Airport-3-b.

    What cannot stand in an id becomes "-". Where that takes more away than spaces and slashes, eight digits of the
    sha256 of the whole name follow, so that different names stay different.
    """
    name = "-".join(str(part) for part in parts)
    plain = _OTHER.sub("-", name).strip("-.") or "record"
    if _ODD.search(name) is None and len(plain) <= 150:
        return plain
    return f"{plain[:140]}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def name_of(data: Any, *fields: str) -> str | None:
    """The first of the fields that is there, as text for a message; None where `data` has none of them."""
    if not isinstance(data, dict):
        return None
    value = next((data[field] for field in fields if isinstance(data.get(field), str | int)), None)
    return None if value is None else str(value)[:80].encode("utf-8", "backslashreplace").decode()


def boxes_of(corners: list[list[int]]) -> tuple[Box, ...]:
    """[x1, y1, x2, y2] in absolute pixels, half-open, as boxes.

    Raises:
        geoseg_tools.GeometryError: one of them is empty or starts outside the image.
    """
    return tuple(Box(*four) for four in corners)
