"""What a batch asks for: `batch.json` in its folder, and the list of what is asked, eight bytes an item."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np
from pydantic import Field

from geoseg_agent.batch.items import Item, Refused, items_of
from geoseg_agent.errors import DatasetError
from geoseg_agent.runs.plan_file import read_plan
from geoseg_agent.runs.same_settings import settings_differ, values_differ
from geoseg_agent.trace.record_base import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from geoseg_agent.batch.sources import Source

NAME: Final = "batch.json"
RESULTS: Final = "batch.jsonl"
PART: Final = 10_000
"""Items whose traces share a folder: more in one make a file system, and who goes on after a kill, slow."""

_SHOWN = 3

Save = Literal["none", "vectors", "all"]


class BatchPlan(Record):
    """What a batch asks for.

    Attributes:
        source: absolute path of the source, or its pattern; it may move.
        kind: what that is.
        roots: absolute, what the names of its images have been relative to, in all starts.
        asset: of STAC items.
        items: images times queries.
        digest: sha256 over ids, images, queries and hints, in their order.
        queries: of the batch.
        save: which files are written for each answer.
        part: items whose traces share a folder.
        settings: all but the secret ones. Those without an effect on results may change from start to start.
        method: the method's constants; likewise.
        prompt: name, version and digest of what a model is asked with; None where none is asked.
    """

    schema_version: Literal[1] = 1
    source: str
    kind: str
    roots: tuple[str, ...]
    asset: str | None
    items: int
    digest: str
    queries: tuple[str, ...]
    save: Save
    part: int = Field(ge=1)
    settings: dict[str, Any]
    method: dict[str, Any]
    prompt: str | None

    def differences(self, other: BatchPlan) -> Iterator[str]:
        """In what `other` would come to other results, one sentence each."""
        if self.queries != other.queries:
            yield f"it asks {_shown(self.queries)}, this one {_shown(other.queries)}"
        elif (self.kind, self.asset) != (other.kind, other.asset):
            yield f"its source is {_source(self)}, and this one {_source(other)}"
        elif self.items != other.items:
            yield f"the source made {self.items} items and makes {other.items} now"
        elif self.digest != other.digest:
            yield "the source has other images, ids, queries or hints now, or has them in another order"
        if self.save != other.save:
            yield f"it was begun with --save {self.save}, this one has --save {other.save}"
        yield from settings_differ(self.settings, other.settings)
        yield from values_differ("method", self.method, other.method)
        if self.prompt != other.prompt and None not in {self.prompt, other.prompt}:
            yield f"the prompt was {self.prompt} and is {other.prompt}"


def load_plan(folder: Path) -> BatchPlan:
    """The plan of the batch in `folder`.

    Raises:
        DatasetError: there is no batch, or one of another version.
    """
    return read_plan(folder / NAME, BatchPlan, run="batch", command="geoseg batch")


class Listing(NamedTuple):
    """What a source comes to, without keeping it.

    Attributes:
        names: (n,) uint64, a digest of every item, in their order: whether an item is still the one it was.
        digest: sha256 over all of them, hex.
    """

    names: NDArray[np.uint64]
    digest: str

    def holds(self, item: Item) -> bool:
        """Whether the item stood in this place when the source was listed."""
        return item.number <= len(self.names) and int(self.names[item.number - 1]) == _number(_digest(item))


def list_items(
    source: Source, queries: Sequence[str], *, refused: Callable[[Refused], None] = lambda _: None
) -> Listing:
    """Read the whole source once, and check it.

    Args:
        source: to read.
        queries: of the batch.
        refused: is told of every record that cannot be used.

    Raises:
        DatasetError: records are malformed or ask the same twice, or there is none; nothing was asked yet.
    """
    names, asks, ids, whole = array("Q"), array("Q"), array("Q"), hashlib.sha256()
    broken: list[Refused] = []
    count = 0
    for one in items_of(source.rows(), queries):
        if isinstance(one, Refused):
            refused(one)
            broken = [*broken, one][:_SHOWN]
            count += 1
            continue
        digest = _digest(one)
        whole.update(digest)
        names.append(_number(digest))
        asks.append(_number(hashlib.sha256(repr(one.asks).encode()).digest()))
        ids.append(_number(hashlib.sha256(one.id.encode()).digest()))
    if broken:
        records = "records" if count > 1 else "record"
        raise DatasetError(
            f"{count} {records} cannot be used: {'; '.join(f'{one.where}: {one.rule}' for one in broken)}"
            + (f"; and {count - len(broken)} more" if count > len(broken) else ""),
            hint="mend the source; nothing was asked yet",
        )
    if not names:
        where = source.path if source.pattern is None else source.path / source.pattern
        tabled = source.kind not in {"folder", "pattern"}
        hint = "it has no row" if tabled else "pictures end in .png, .jpg, .jpeg, .webp, .tif or .tiff"
        raise DatasetError(f"{where} holds no image", hint=hint)
    _refuse_twins(source, queries, np.array(asks), np.array(ids))
    return Listing(np.array(names, dtype=np.uint64), whole.hexdigest())


def _refuse_twins(source: Source, queries: Sequence[str], asks: NDArray[np.uint64], ids: NDArray[np.uint64]) -> None:
    for what, numbers in (("ask the same of the same image", asks), ("have the same id", ids)):
        values, counts = np.unique(numbers, return_counts=True)
        if (twin := values[counts > 1]).size:
            places = set((np.flatnonzero(numbers == twin[0])[:2] + 1).tolist())
            found = [
                one for one in items_of(source.rows(), queries) if isinstance(one, Item) and one.number in places
            ]
            more = f"; and {twin.size - 1} more such" if twin.size > 1 else ""
            raise DatasetError(
                f"{' and '.join(dict.fromkeys(one.row.where for one in found))} {what}: {found[0].id!r}{more}",
                hint="leave one of them out, or give them ids of their own; nothing was asked yet",
            )


def _digest(item: Item) -> bytes:
    return hashlib.sha256(repr((item.id, item.asks)).encode()).digest()


def _number(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "big")


def _shown(queries: Sequence[str]) -> str:
    more = f" and {len(queries) - _SHOWN} more" if len(queries) > _SHOWN else ""
    return ", ".join(f"{query!r:.80}" for query in queries[:_SHOWN]) + more if queries else "what the source asks"


def _source(plan: BatchPlan) -> str:
    return plan.kind + (f" with --asset {plan.asset}" if plan.asset else "")


def repeated(queries: Sequence[str]) -> str | None:
    """A query that is there twice, or None."""
    return next((query for query, times in Counter(queries).items() if times > 1), None)
