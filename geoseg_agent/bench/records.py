"""One line of `results.jsonl`: all that is known of one pair after it was asked, and enough to sum a run up again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from geoseg_agent.bench.metrics import METRICS, NOTHING, Count, Counts, Scores, Share, region_scores, score
from geoseg_agent.errors import DatasetError
from geoseg_agent.runs.failure import Failure  # noqa: TC001 - pydantic reads it
from geoseg_agent.runs.lines import line_of, read_lines, told
from geoseg_agent.trace.record_base import Record, Seconds
from geoseg_tools.fusion import Rule  # noqa: TC001 - pydantic reads it

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from geoseg_agent.bench.pairs import Pair
    from geoseg_agent.runs.lines import Torn
    from geoseg_tools.arrays import Mask

Outcome = Literal["found", "not_found", "ambiguous", "failed"]

_CLOSE = 1e-9


class Took(Record):
    """Seconds of one query on a warm system: models were loaded, and had answered once, before the clock started.

    Attributes:
        total: from the start of the query, its image read, to its answer; waiting for tools and endpoint included.
        stages: by stage, such as grounding, encode, points, text. Stages that run side by side overlap, so their sum
            may be larger than the total.
    """

    total: Seconds
    stages: dict[str, Seconds] = Field(default_factory=dict)


class PairResult(Record):
    """What came of one pair.

    Attributes:
        id: of the pair.
        image: names the picture; pairs with equal names are resampled together.
        query: what was asked.
        level: as the data set has it; the same for `domain` and `source`.
        status: what the system said. `failed` is an error; `ambiguous` without a mask is a refusal to choose.
        error: why it failed; None unless it did.
        trace: id of the trace, or None.
        engine: what answered.
        confidence: the system's own, or None.
        rules: which line of Eq. 7 gave the mask of each target, one per target.
        size: (H, W) of the image.
        truth_area: pixels of the answer.
        prediction_area: pixels of the mask, or None where there is no mask at all.
        counts: pixels by kind.
        scores: see `geoseg_agent.bench.metrics`.
        seconds: or None where nobody timed it.
        calls: paid requests, or None where unknown; `tokens` likewise, prompts and replies together.
    """

    id: Annotated[str, Field(min_length=1)]
    image: str
    query: str
    level: str | None
    domain: str | None
    source: str | None
    status: Outcome
    error: Failure | None
    trace: str | None
    engine: str
    confidence: Share | None
    rules: tuple[Rule, ...]
    size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    truth_area: Count
    prediction_area: Count | None
    counts: Counts
    scores: Scores
    seconds: Took | None
    calls: Count | None
    tokens: Count | None

    @property
    def answered(self) -> bool:
        """Whether there is a mask, be it an empty one."""
        return self.prediction_area is not None

    @property
    def abstained(self) -> bool:
        """Whether the system declined to answer, without failing."""
        return self.prediction_area is None and self.status != "failed"

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        counts = self.counts
        if (self.status == "failed") != (self.error is not None):
            raise ValueError(f"status {self.status} does not go with error {self.error!r}")
        if (self.status == "failed" and self.answered) or (self.status == "found" and not self.answered):
            raise ValueError(f"status {self.status} does not go with prediction_area {self.prediction_area}")
        if self.status == "not_found" and self.prediction_area:
            raise ValueError(f"status not_found does not go with prediction_area {self.prediction_area}")
        if counts.total != self.size[0] * self.size[1]:
            raise ValueError(f"counts sum to {counts.total}, an image of {self.size} has other pixels")
        if counts.tp + counts.fn != self.truth_area or counts.tp + counts.fp != (self.prediction_area or 0):
            raise ValueError("counts do not agree with truth_area and prediction_area")
        due = region_scores(counts) if self.answered else NOTHING.model_dump()
        for name, value in due.items():
            if not math.isclose(getattr(self.scores, name), value, abs_tol=_CLOSE):
                raise ValueError(f"scores.{name} is {getattr(self.scores, name)}, the counts give {value}")
        return self

    def values(self) -> tuple[float, ...]:
        """The scores in the order of `METRICS`."""
        return tuple(getattr(self.scores, name) for name in METRICS)


def result_of(
    pair: Pair,
    truth: Mask,
    prediction: Mask | None,
    *,
    status: Outcome,
    engine: str,
    image: str | None = None,
    error: Failure | None = None,
    trace: str | None = None,
    confidence: float | None = None,
    rules: tuple[Rule, ...] = (),
    seconds: Took | None = None,
    calls: int | None = None,
    tokens: int | None = None,
) -> PairResult:
    """Score one pair and write down what is known of it.

    Args:
        pair: what was asked.
        truth: (H, W) bool.
        prediction: (H, W) bool; None where the query failed or the system declined to answer.
        status: what the system said.
        engine: what answered.
        image: name of the picture within its data set; the pair's path where None.
        error: given exactly when the status is failed.
        trace: id of the trace.
        confidence: the system's own.
        rules: one per target.
        seconds: on a warm system.
        calls: paid requests.
        tokens: prompts and replies together.

    Raises:
        DatasetError: masks that do not fit, or values that contradict each other.
    """
    counts, scores = score(prediction, truth)
    try:
        return PairResult(
            id=pair.id,
            image=pair.image.as_posix() if image is None else image,
            query=pair.query,
            level=pair.level,
            domain=pair.domain,
            source=pair.source,
            status=status,
            error=error,
            trace=trace,
            engine=engine,
            confidence=confidence,
            rules=rules,
            size=(truth.shape[0], truth.shape[1]),
            truth_area=counts.tp + counts.fn,
            prediction_area=None if prediction is None else counts.tp + counts.fp,
            counts=counts,
            scores=scores,
            seconds=seconds,
            calls=calls,
            tokens=tokens,
        )
    except ValidationError as problem:
        raise DatasetError(f"the result of pair {pair.id} contradicts itself: {told(problem)}") from problem


def dump(result: PairResult) -> str:
    r"""The result as one line of JSON, with its "\n"."""
    return line_of(result)


def load_results(path: Path, *, torn: Callable[[Torn], None] = lambda _torn: None) -> Iterator[PairResult]:
    """The results of a `results.jsonl`; arguments and errors as of `read_lines`."""
    return read_lines(path, PairResult, torn=torn)
