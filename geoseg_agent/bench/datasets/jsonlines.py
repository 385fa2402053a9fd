"""Data sets of JSON lines: one record a line, files named relative to the folder of the file."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from geoseg_agent.bench.datasets.collection import Broken, Dataset, Found, attempt
from geoseg_agent.bench.datasets.places import Places, places
from geoseg_agent.bench.datasets.records import name_of
from geoseg_agent.runs.jsontexts import lines, value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Item = TypeVar("Item")


def open_lines(
    kind: str, path: Path, name: str, *, called: str, build: Callable[[Any, Places, str], Item]
) -> Dataset[Item]:
    """The records of a file, or of the file `name` in a folder.

    Args:
        kind: of the data set.
        path: file or folder.
        name: of the file where `path` is a folder.
        called: the field that names a record in messages.
        build: makes an item of a line's value, the places of its files, and where it stands.

    Raises:
        DatasetError: it cannot be read.
    """
    file = path / name if path.is_dir() else path
    count = sum(1 for _ in lines(file))
    return Dataset(kind, file.parent, partial(_records, file, called, build), count)


def _records(file: Path, called: str, build: Callable[[Any, Places, str], Item]) -> Iterator[Found[Item]]:
    at = places(file.parent, ".")
    for number, text in lines(file):
        where = f"{file.name}, line {number}"
        try:
            data = value_of(text)
        except ValueError as error:
            yield Broken(None, where, str(error))
            continue
        yield attempt(where, name_of(data, called), partial(build, data, at, where))
