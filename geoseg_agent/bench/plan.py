"""What a run asks for: `run.json` in its folder, written once, and what every later command finds the pairs by."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from geoseg_agent.bench.datasets import open_pairs
from geoseg_agent.runs.plan_file import read_plan
from geoseg_agent.runs.same_settings import settings_differ, values_differ
from geoseg_agent.trace.record_base import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from geoseg_agent.bench.datasets import Dataset
    from geoseg_agent.bench.pairs import Pair

NAME: Final = "run.json"


class Source(Record):
    """Where pairs are from: what `open_pairs` needs to open them again.

    Attributes:
        path: absolute, of the data set.
        kind: its layout.
        split: of its records, or None for all.
        images: absolute, the folder of its images where that lies elsewhere.
    """

    path: str
    kind: str
    split: str | None = None
    images: str | None = None

    def open(self, path: Path | None = None) -> Dataset[Pair]:
        """The data set, at `path` where it has moved.

        Raises:
            DatasetError: it is not there, or has another layout.
        """
        where = Path(self.path) if path is None else path
        return open_pairs(where, kind=self.kind, split=self.split, images=self.images)  # type: ignore[arg-type] # checked there


class Plan(Record):
    """What a run asks for.

    Attributes:
        data: where its pairs are from; it may move.
        pairs: how many.
        digest: sha256 over ids, queries and names of pictures, in their order.
        settings: all but the secret ones; empty for masks of another system. Those without an effect on results may
            change from start to start, and are those of the first.
        method: the method's constants; likewise.
        prompt: name, version and digest of what a model is asked with; None where none is asked.
        masks: absolute, the folder of another system's masks; None for a run of the agent.
        resized: whether masks of another size were brought to the image's.
        concurrency: pairs at once, of every start of the run; timings of more than 1 hold waiting for each other.
    """

    schema_version: Literal[1] = 1
    data: Source
    pairs: int
    digest: str
    settings: dict[str, Any] = Field(default_factory=dict)
    method: dict[str, Any] = Field(default_factory=dict)
    prompt: str | None = None
    masks: str | None = None
    resized: bool = False
    concurrency: tuple[int, ...] = ()

    def differences(self, other: Plan) -> Iterator[str]:
        """In what `other` would come to other results, one sentence each."""
        if self.digest != other.digest or self.pairs != other.pairs:
            yield f"it asks {self.pairs} pairs, this one {other.pairs}, and they are not the same"
        yield from settings_differ(self.settings, other.settings)
        yield from values_differ("method", self.method, other.method)
        if self.prompt != other.prompt and None not in {self.prompt, other.prompt}:
            yield f"the prompt was {self.prompt} and is {other.prompt}"
        if self.masks != other.masks:
            yield f"it scores {self.masks or 'the agent'}, this one {other.masks or 'the agent'}"
        if self.resized != other.resized:
            yield f"masks of another size were {'' if self.resized else 'not '}resized (--resize)"


def load_plan(folder: Path) -> Plan:
    """The plan of the run in `folder`.

    Raises:
        DatasetError: there is no run, or one of another version.
    """
    return read_plan(folder / NAME, Plan, run="run", command="geoseg bench run")


def source_of(dataset: Dataset[Pair], path: Path, *, split: str | None = None, images: Path | None = None) -> Source:
    """The source of a data set that was opened at `path`."""
    return Source(
        path=str(path.absolute()),
        kind=dataset.kind,
        split=split,
        images=None if images is None else str(images.absolute()),
    )


def plan_of(
    data: Source,
    pairs: Iterable[tuple[Pair, str]],
    settings: dict[str, Any],
    method: dict[str, Any],
    **more: Any,
) -> Plan:
    """The plan to ask `pairs`, each with the name of its picture; `more` are further fields of `Plan`."""
    digest, count = hashlib.sha256(), 0
    for pair, image in pairs:
        digest.update(f"{pair.id}\0{pair.query}\0{image}\0".encode())
        count += 1
    return Plan(data=data, pairs=count, digest=digest.hexdigest(), settings=settings, method=method, **more)


def picture_name(dataset: Dataset[Pair], pair: Pair) -> str:
    """The picture's name within its data set, which does not change where that lies elsewhere."""
    if pair.image.is_relative_to(dataset.root):
        return pair.image.relative_to(dataset.root).as_posix()
    return pair.image.as_posix()
