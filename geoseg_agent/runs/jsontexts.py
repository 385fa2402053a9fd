"""JSON texts of data sets: a whole one within a limit, or one a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from geoseg_agent.errors import DatasetError
from geoseg_agent.trace.jsontext import parse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_BYTES = 1 << 30
"""Of a JSON text that is read whole: COCO's own largest annotation file has half of it."""

MAX_RECORD = 64 << 20
"""Of one record, in bytes where it is a line and in characters where it stands in an array."""

BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line of a file that is not blank.

    Attributes:
        number: counted from 1, blank lines too.
        text: its bytes.
    """

    number: int
    text: bytes


def load(path: Path) -> Any:
    """The value of a JSON file in UTF-8.

    Raises:
        DatasetError: it cannot be read, is larger than `MAX_BYTES`, or is not JSON; keys that stand twice and numbers
            that are not finite are not either.
    """
    try:
        return value_of(read_whole(path, MAX_BYTES))
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error


def read_whole(path: Path, most: int) -> bytes:
    """The bytes of a file.

    Raises:
        DatasetError: it cannot be read, or has more than `most` of them.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(most + 1)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
    if len(text) > most:
        raise DatasetError(f"{path} has more than {most >> 20} MiB, too much to read whole")
    return text


def value_of(text: bytes) -> Any:
    """The value of a JSON text in UTF-8, which may begin with a byte order mark.

    Raises:
        ValueError: not UTF-8, not JSON, a key twice, a number that is not finite, or nested too deep.
    """
    try:
        return parse(text.removeprefix(BOM))
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not UTF-8") from error
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from error


def lines(path: Path) -> Iterator[Line]:
    """The lines of a file that are not blank, one in memory at a time.

    Raises:
        DatasetError: the file cannot be read, or a line is longer than `MAX_RECORD`.
    """
    try:
        with path.open("rb") as stream:
            number = 0
            while text := stream.readline(MAX_RECORD + 1):
                number += 1
                if len(text) > MAX_RECORD:
                    raise DatasetError(f"{path}, line {number}: longer than {MAX_RECORD >> 20} MiB")
                if text.removeprefix(BOM).strip():
                    yield Line(number, text)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
