"""What a batch asks, one image and one query at a time; see `geoseg_agent.batch.sources` for where they are from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from geoseg_agent.errors import GeoSegError, QueryError
from geoseg_agent.types import Hints, Query, clean_phrase

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from geoseg_agent.runs.failure import Failure
    from geoseg_tools.geometry import Box

Asks: TypeAlias = tuple[str, str, tuple[int, ...] | None, str | None]


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a source.

    Attributes:
        where: file and line or number, for messages.
        name: the image as the source has it, with / between its parts; it does not change where the source moves.
        path: of the image, absolute.
        id: the source's own, or None.
        query: likewise; in place of those of the batch.
        box: absolute pixels, when the place is known.
        phrase: what to call the thing, when that is known.
        fault: why the image cannot be asked, when the source already says so.
    """

    where: str
    name: str
    path: str
    id: str | None = None
    query: str | None = None
    box: Box | None = None
    phrase: str | None = None
    fault: Failure | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that cannot be used: where it stands, and the rule that it breaks."""

    where: str
    rule: str


@dataclass(frozen=True, slots=True)
class Item:
    """One image and one query of a batch.

    Attributes:
        number: its place in the batch, from 1.
        id: nobody else's; the same whenever the source and the query are.
        row: that it is from.
        query: what is asked, as a `Query` has it.
    """

    number: int
    id: str
    row: Row
    query: str

    @property
    def hints(self) -> Hints:
        """What the source knows."""
        return Hints(box=self.row.box, phrase=self.row.phrase)

    @property
    def asks(self) -> Asks:
        """What tells it from every other item: image, query and hints, without its id."""
        box = self.row.box
        return self.row.name, self.query, None if box is None else tuple(box), self.row.phrase


def items_of(rows: Iterable[Row | Refused], queries: Sequence[str]) -> Iterator[Item | Refused]:
    """Every image with every query, lazily; a row that names its own query has that one only.

    Args:
        rows: of the source.
        queries: of the batch, each as a `Query` has it.
    """
    number = 0
    for row in rows:
        if isinstance(row, Refused):
            yield row
            continue
        try:
            asked = _queries(row, queries)
            if row.phrase is not None:
                clean_phrase(row.phrase, error=QueryError)
        except GeoSegError as error:
            yield Refused(row.where, error.message)
            continue
        for query in asked:
            number += 1
            yield Item(number, _name(row, query, own=row.query is not None or row.phrase is not None), row, query)


def _queries(row: Row, queries: Sequence[str]) -> Sequence[str]:
    own = row.query if row.query is not None else row.phrase
    if own is not None:
        return (Query(own).text,)
    if not queries:
        raise QueryError("it names no query, and the batch has none")
    return queries


def _name(row: Row, query: str, *, own: bool) -> str:
    """The source's own id where it stands for one item; else that, or the image, and a digest of what is asked."""
    if row.id is not None and own:
        return row.id
    asked = f"{query}\0{row.box}\0{row.phrase}"
    return f"{row.name if row.id is None else row.id}#{hashlib.sha256(asked.encode()).hexdigest()[:8]}"
