"""One line of `batch.jsonl`: what came of one image and one query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from geoseg_agent.runs.failure import Failure  # noqa: TC001 - pydantic reads it
from geoseg_agent.runs.lines import read_lines
from geoseg_agent.trace.record_base import Record, Seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from geoseg_agent.runs.lines import Torn

Count = Annotated[int, Field(ge=0)]
Outcome = Literal["found", "not_found", "ambiguous", "failed"]


class Objects(Record):
    """Where the outlines of an answer stand in the file of its part: `count` lines, `bytes` long, from byte `at`."""

    at: Count
    bytes: Count
    count: Count


class ItemResult(Record):
    """What came of one item.

    Attributes:
        number: of the item in the batch, from 1.
        id: of the item.
        source: the image, as the source names it.
        query: what was asked.
        status: what the system said; failed is an error.
        error: why it failed; None unless it did.
        engine: what answered; "none" where nothing was asked.
        confidence: the system's own, or None.
        targets: how many things were found.
        area_px: pixels of their masks; what two targets share counts twice, here and in `area_m2`.
        area_m2: on the ground, geodesic on WGS 84; None where the image has no place there.
        trace: id of the trace, or None.
        seconds: from the start of the query, its image read, to its answer, waiting included; None where none.
        calls: requests to a model, or None where unknown; `tokens` likewise, prompts and replies together.
        files: those of --save, relative to the batch's folder.
        objects: the outlines for the layer; None where there are none.
    """

    number: Annotated[int, Field(ge=1)]
    id: Annotated[str, Field(min_length=1)]
    source: str
    query: str
    status: Outcome
    error: Failure | None = None
    engine: str = "none"
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    targets: Count = 0
    area_px: Count = 0
    area_m2: Annotated[float, Field(ge=0)] | None = None
    trace: str | None = None
    seconds: Seconds | None = None
    calls: Count | None = None
    tokens: Count | None = None
    files: dict[str, str] = Field(default_factory=dict)
    objects: Objects | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if (self.status == "failed") != (self.error is not None):
            raise ValueError(f"status {self.status} does not go with error {self.error!r}")
        return self


class Answered(NamedTuple):
    """A result on its way into the folder, and the outlines that belong to it, one line each."""

    result: ItemResult
    outlines: bytes = b""


def load_results(path: Path, *, torn: Callable[[Torn], None] = lambda _torn: None) -> Iterator[ItemResult]:
    """The results of a `batch.jsonl`; arguments and errors as of `read_lines`."""
    return read_lines(path, ItemResult, torn=torn)
