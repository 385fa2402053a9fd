"""A data set: records read one after the other, the broken ones among them told apart and never fatal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from pydantic import ValidationError

from geoseg_agent.errors import DatasetError, GeoSegError
from geoseg_tools.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Record(Generic[Item]):
    """A record that can be read.

    Attributes:
        where: file and line or number, for messages.
        item: a `Pair` or a `BoxRecord`.
    """

    where: str
    item: Item


@dataclass(frozen=True, slots=True)
class Broken:
    """A record that cannot be used, or a rule that it breaks.

    Attributes:
        id: what the data set calls the record, as far as that can be read, or None.
        where: file and line or number.
        rule: what is wrong with it, with the value at fault.
    """

    id: str | None
    where: str
    rule: str

    def error(self) -> DatasetError:
        """The same as an error."""
        called = "" if self.id is None else f" ({self.id})"
        return DatasetError(f"{self.where}{called}: {self.rule}")


Found: TypeAlias = Record[Item] | Broken


@dataclass(frozen=True, slots=True)
class Dataset(Generic[Item]):
    """A data set on disk; iterating over it reads it anew, lazily, in the order of its files.

    Attributes:
        kind: its layout.
        root: its folder, absolute.
        source: begins to read.
        count: of records where it is cheap to know, else None; then `len()` raises TypeError.
    """

    kind: str
    root: Path
    source: Callable[[], Iterator[Found[Item]]]
    count: int | None = None

    def __iter__(self) -> Iterator[Item]:
        """The items.

        Raises:
            DatasetError: at the first record that cannot be read; `records` goes on.
        """
        for found in self.source():
            if isinstance(found, Broken):
                raise found.error()
            yield found.item

    def __len__(self) -> int:
        if self.count is None:
            raise TypeError(f"the number of records of {self.root} is only known once they are read")
        return self.count

    def __bool__(self) -> bool:
        return True  # not len(): it need not be known

    def records(self) -> Iterator[Found[Item]]:
        """Every record in order, those that cannot be read as `Broken`; nothing behind a broken one is lost.

        Only where the text itself breaks off, as in a truncated JSON array, is the broken record the last.
        """
        try:
            yield from self.source()
        except DatasetError as error:  # a file went away, or is no text of records any more
            yield Broken(None, str(self.root), error.message)


def attempt(where: str, name: str | None, build: Callable[[], Item]) -> Found[Item]:
    """What `build` makes as a record at `where`; a `Broken` called `name` where it refuses."""
    try:
        return Record(where, build())
    except ValidationError as error:
        return Broken(name, where, complaint(error))
    except GeoSegError as error:
        return Broken(name, where, error.message)
    except (ToolError, ValueError) as error:
        return Broken(name, where, str(error))


def complaint(error: ValidationError) -> str:
    """The first thing that pydantic found wrong: field, rule and value."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"the field {field} is missing"
    given = "" if isinstance(first["input"], dict) else f", got {str(first['input'])[:80]!r}"
    return f"{field or 'it'}: {first['msg']}{given}"
