"""Tables of images as sources of a batch: CSV with a header, and JSON lines with the same names.

    image      path, relative to the table; the only one that must be there
    query      in place of the batch's own
    id         nobody else's
    box        x1,y1,x2,y2 in whole pixels; in JSON an array of four
    phrase     what to call the thing

An empty field of CSV and a null of JSON are as good as none. Another name is refused, because a misspelt one that
is silently ignored costs more.
"""

from __future__ import annotations

import csv
import difflib
import os
import re
from typing import TYPE_CHECKING, Any, Final

from geoseg_agent.batch.items import Refused, Row
from geoseg_agent.batch.stac import remote
from geoseg_agent.errors import DatasetError
from geoseg_agent.runs import jsontexts
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

COLUMNS: Final = ("image", "query", "id", "box", "phrase")

_ADDRESS = re.compile(r"/vsi|(?!file:)[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def csv_rows(path: Path) -> Iterator[Row | Refused]:
    """The records of a CSV file in UTF-8, whose first line names the columns.

    Raises:
        DatasetError: it cannot be read, or its header is none.
    """
    try:
        with path.open("rb") as stream:
            # A line at a time, so that it is known which one is not UTF-8.
            reader = csv.reader(
                (line.decode("utf-8-sig" if at == 0 else "utf-8") for at, line in enumerate(stream)), strict=True
            )
            try:
                names = [name.strip() for name in next(reader, [])]
                _check_header(names, path)
                for values in reader:
                    where = f"{path.name}, line {reader.line_num}"
                    if not values:
                        continue
                    if len(values) != len(names):
                        yield Refused(where, f"it has {len(values)} fields, the header {len(names)}")
                    else:
                        given = {name: value.strip() for name, value in zip(names, values, strict=True)}
                        yield _row(path, where, {name: value for name, value in given.items() if value})
            # Where a record ends is not known any more, so nothing behind it is.
            except UnicodeDecodeError as error:
                yield Refused(f"{path.name}, line {reader.line_num + 1}", f"byte {error.start + 1} is not UTF-8")
            except csv.Error as error:
                yield Refused(f"{path.name}, line {reader.line_num}", str(error))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error


def jsonl_rows(path: Path) -> Iterator[Row | Refused]:
    """The records of a file with one JSON object a line.

    Raises:
        DatasetError: it cannot be read.
    """
    for line in jsontexts.lines(path):
        where = f"{path.name}, line {line.number}"
        try:
            value = jsontexts.value_of(line.text)
        except ValueError as error:
            yield Refused(where, str(error))
            continue
        if not isinstance(value, dict):
            yield Refused(where, "it must be a JSON object")
            continue
        unknown = _unknown(value)
        if unknown is not None:
            yield Refused(where, unknown)
            continue
        yield _row(path, where, {name: given for name, given in value.items() if given is not None})


def _check_header(names: list[str], path: Path) -> None:
    rule = _unknown(dict.fromkeys(names))
    if "image" not in names:
        rule = f"its first line must name the columns, image among them, and is {','.join(names)[:80]!r}"
    elif len(set(names)) != len(names):
        rule = f"the header names {next(name for name in names if names.count(name) > 1)!r} twice"
    if rule is not None:
        other = next((f"{sign!r}" for sign in (";", "\t", "|") if len(names) == 1 and sign in names[0]), None)
        commas = "" if other is None else f"; put commas between the columns, not {other}"
        raise DatasetError(f"{path.name}, line 1: {rule}", hint=f"known columns are {', '.join(COLUMNS)}{commas}")


def _unknown(given: Mapping[str, Any]) -> str | None:
    for name in given:
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, n=1)
            return f"there is no column {name[:80]!r}" + (f", did you mean {near[0]!r}?" if near else "")
    return None


def _row(path: Path, where: str, given: Mapping[str, Any]) -> Row | Refused:
    if "image" not in given:
        return Refused(where, "it names no image")
    try:
        image, query, named, phrase = (_text(given, name) for name in ("image", "query", "id", "phrase"))
        box = _box(given.get("box"))
    except ValueError as error:
        return Refused(where, str(error))
    if image is not None and _ADDRESS.match(image):
        return Row(where, image, image, named, query, box, phrase, fault=remote(where, image))
    name = os.path.normpath(image or "").replace(os.sep, "/")
    return Row(where, name, os.path.normpath(path.parent / name), named, query, box, phrase)


def _text(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be text that is not empty, got {value!r:.80}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} holds half a character, {value!r:.80}") from None
    if name != "query" and "\0" in value:
        raise ValueError(f"{name} holds a zero character, {value!r:.80}")
    return value


def _box(value: Any) -> Box | None:
    if value is None:
        return None
    try:
        numbers = [int(part) for part in value.split(",")] if isinstance(value, str) else value
        if isinstance(numbers, list) and len(numbers) == 4 and all(type(one) is int for one in numbers):
            return Box(*numbers)
    except ValueError:
        pass
    raise ValueError(f"box {value!r:.80} is no x1,y1,x2,y2 in whole pixels with x1 < x2 and y1 < y2")
