r"""Files of JSON lines that grow while something runs, and survive a kill: each line is synced before it counts.

A line is one JSON object and ends in "\n". A kill may tear the last one, which is told apart from a damaged file:
only the last line, and only when it does not end in "\n". A full disk tears none: what was written is taken back.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pydantic import ValidationError

from geoseg_agent.errors import DatasetError
from geoseg_agent.grounding.keep_file import keep_file
from geoseg_agent.trace import jsontext
from geoseg_agent.trace.record_base import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

R = TypeVar("R", bound=Record)

_BREAKS = {ord(mark): f"\\u{ord(mark):04x}" for mark in "\x85\u2028\u2029"}  # ends of lines to str.splitlines
_SHOWN = 3  # problems named in one message


class Torn(NamedTuple):
    """The rest of a line that was being written when the run was killed.

    Attributes:
        line: its number, from 1.
        offset: where it begins, in bytes: who goes on with the file cuts it here.
    """

    line: int
    offset: int


def line_of(record: Record) -> str:
    r"""The record as one line of JSON, with its "\n"."""
    return record.model_dump_json().translate(_BREAKS) + "\n"


def append_line(path: Path, *records: Record) -> None:
    """Add a line for each; they are on the disk when this returns.

    Raises:
        DatasetError: the disk says no; the file is as it was, so that a line of another task may follow.
    """
    data = "".join(map(line_of, records)).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end:  # a line may be whole but for its end, after a kill or an editor
                file.seek(end - 1)
                data = data if file.read(1) == b"\n" else b"\n" + data
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), end)
                raise
    except OSError as error:
        raise _unwritable(path, error) from error


def put_file(path: Path, data: bytes) -> None:
    """Put `data` in the place of what `path` held, whole or not at all.

    Raises:
        DatasetError: the disk says no; what `path` held is still there.
    """
    try:
        keep_file(path, data)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> DatasetError:
    return DatasetError(
        f"{path} cannot be written: {error.strerror or error}",
        hint="free some space, or make its folder writable, and start the same command again",
    )


def read_lines(path: Path, kind: type[R], *, torn: Callable[[Torn], None] = lambda _torn: None) -> Iterator[R]:
    """The records of a file, one after the other, in its order.

    Args:
        path: of the file.
        kind: what each line is.
        torn: called when the last line was cut off, which is left out.

    Raises:
        DatasetError: the file cannot be read or a line is malformed; the message names the line.
    """
    try:
        with path.open("rb") as stream:
            offset = 0
            for number, line in enumerate(stream, 1):
                try:
                    jsontext.parse(line)  # pydantic would take the last of two equal keys
                    yield kind.model_validate_json(line)
                except ValueError as problem:
                    if not line.endswith(b"\n"):
                        torn(Torn(number, offset))
                        return
                    raise DatasetError(
                        f"{path.name}, line {number}: {told(problem)}",
                        hint="it is no line of such a file, or was changed by hand",
                    ) from problem
                offset += len(line)
    except OSError as problem:
        raise DatasetError(f"{path} cannot be read: {problem.strerror}") from problem


def cut(path: Path) -> Callable[[Torn], None]:
    """What `read_lines` calls so that what is appended next begins a line of its own."""
    return lambda torn: os.truncate(path, torn.offset)


def told(problem: ValueError) -> str:
    """The first things that are wrong with a record, for people."""
    if not isinstance(problem, ValidationError):
        return str(problem)
    errors = problem.errors(include_url=False, include_input=False)
    shown = [f"{'.'.join(map(str, error['loc']))}: {error['msg']}".removeprefix(": ") for error in errors[:_SHOWN]]
    return "; ".join(shown) + (f"; and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else "")
