"""The steps of a trace as rows for people: when, how long, what went in, what came out."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from geoseg_agent.grounding.messages import SEEDS
from geoseg_agent.trace.conversation import WORDS, kinds
from geoseg_agent.trace.jsontext import pretty
from geoseg_agent.trace.model import (
    MODEL_SEAMS,
    CacheStep,
    ChatStep,
    EndpointStep,
    GroundStep,
    HeatRecord,
    MasksRecord,
    PointsStep,
    SearchStep,
    SentStep,
    StabilityStep,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geoseg_agent.trace.model import ErrorRecord, Step, Trace

_OPAQUE = frozenset({"counts", "float32"})
_ITEMS = 6
_LONG_LIST = 12
_LONG_TEXT = 120
_MOST_TEXT = 100_000


class Text(NamedTuple):
    """A long text out of a step, verbatim."""

    path: str
    text: str


class Row(NamedTuple):
    """One step.

    Attributes:
        begun: seconds after the query's start, worked out from what the step waits for.
        gist: what came of it, in a few words.
        asked, answered: JSON for people, long arrays cut.
        texts: long texts, verbatim.
    """

    step: Step
    begun: float
    gist: str
    asked: str
    answered: str
    texts: list[Text]
    error: ErrorRecord | None


class Axis(NamedTuple):
    """Seconds from 0 to `end`, with ticks."""

    end: float
    ticks: list[float]


def rows(steps: Sequence[Step], most: int) -> list[Row]:
    """The first `most` steps, in the order they ended."""
    chats = [step for step in steps[:most] if isinstance(step, ChatStep)]
    why = {step.index: WORDS[kind] for step, kind in zip(chats, kinds(chats), strict=True)}
    return [
        _row(step, begun, why.get(step.index, "")) for step, begun in zip(steps[:most], _begun(steps), strict=False)
    ]


def axis(trace: Trace, shown: Sequence[Row]) -> Axis:
    """Long enough for the query and for every row."""
    end = max([trace.seconds, *(row.begun + row.step.waited + row.step.took for row in shown)]) or 1.0
    rough = end / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return Axis(end, [tick * step for tick in range(math.floor(end / step) + 1)])


def _begun(steps: Sequence[Step]) -> Iterator[float]:
    """When each step began: a trace holds durations, and the method says what waits for what."""
    grounded = 0.0
    ended: defaultdict[tuple[str, int | None], float] = defaultdict(lambda: grounded)
    asking = _Asking()
    for step in steps:
        if step.seam in MODEL_SEAMS:
            begun = asking.begun(step)
            grounded = max(grounded, begun + step.waited + step.took)
            yield begun
            continue
        if step.seam == "stability":
            yield max([grounded, *ended.values()])
            continue
        before = {
            "ground": ("ground",),
            "text": ("encode", "text"),
            "points": ("encode", "similarity", "points"),
        }.get(step.seam, ())
        begun = max([grounded, *(ended[seam, step.target] for seam in before)])
        ended[step.seam, step.target] = begun + step.waited + step.took
        asking.before(ended[step.seam, step.target])
        if isinstance(step, GroundStep):
            grounded = ended[step.seam, step.target]
        yield begun


class _Asking:
    """When the steps of a model begin: one after the other, but samples, told by their seeds, side by side."""

    def __init__(self) -> None:
        self._latest = 0.0
        self._ready = 0.0
        self._samples: dict[int, float] = {}

    def before(self, end: float) -> None:
        """A tool worked until `end`; a review comes after it."""
        self._latest = max(self._latest, end)

    def begun(self, step: Step) -> float:
        """When this one began."""
        spent = step.waited + step.took
        if isinstance(step, ChatStep):
            sample = (step.input.seed or 0) % SEEDS
            begun = self._samples.get(sample, self._ready)
            self._samples[sample] = begun + spent
        else:
            begun = self._latest
            self._ready, self._samples = begun + spent, {}
        self._latest = max(self._latest, begun + spent)
        return begun


def _row(step: Step, begun: float, why: str) -> Row:
    asked, answered = step.input.model_dump(), None if step.output is None else step.output.model_dump()
    # What was said to and by a model stands in a section of its own.
    texts = [] if isinstance(step, ChatStep) else [*_texts(asked, "input"), *_texts(answered, "output")]
    return Row(
        step,
        begun,
        f"{why}: {_gist(step)}" if why else _gist(step),
        _brief_json(asked),
        _brief_json(answered),
        texts,
        step.error,
    )


def _gist(step: Step) -> str:
    output = step.output
    if step.error is not None:
        return step.error.type if isinstance(step, ChatStep) else step.error.code
    if isinstance(output, MasksRecord):
        scores = (
            f", {'score' if len(output.scores) == 1 else 'best'} {max(output.scores):.2f}" if output.scores else ""
        )
        asked = f"{_count(len(step.input.points), 'point')} → " if isinstance(step, PointsStep) else ""
        return f"{asked}{_count(len(output.masks), 'mask')}{scores}"
    if isinstance(output, HeatRecord):
        return f"{output.shape[1]} × {output.shape[0]} cells"  # noqa: RUF001 - the sign
    if isinstance(step, GroundStep | CacheStep) and step.output is not None:
        hit = "hit: " if isinstance(step, CacheStep) else ""
        return f"{hit}{step.output.status.replace('_', ' ')}, {_count(len(step.output.targets), 'target')}"
    if isinstance(step, StabilityStep) and step.output is not None:
        return "agreement " + ", ".join(f"{value:.2f}" for value in step.output.agreements)
    return _model_gist(step)


def _model_gist(step: Step) -> str:
    if isinstance(step, CacheStep):
        return "miss"
    if isinstance(step, SearchStep) and step.output is not None:
        return f"{_count(len(step.output.windows), 'window')}, {step.output.skipped} without data"
    if isinstance(step, EndpointStep) and step.output is not None:
        return f"{step.output.server}, {step.output.model}"
    if isinstance(step, SentStep) and step.output is not None:
        return f"{step.output.size[1]} × {step.output.size[0]} px"  # noqa: RUF001 - the sign
    if isinstance(step, ChatStep) and step.output is not None:
        said = _count(len(step.output.calls), "call") if step.output.calls else "text"
        usage = step.output.usage
        return f"{said} by {step.input.dialect}" + ("" if usage is None else f", {usage.completion:,} tokens")
    return "ready"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _brief_json(value: Any) -> str:
    return pretty(_brief(value)).decode("utf-8").rstrip()


def _brief(value: Any, name: str = "") -> Any:
    """The value without what nobody reads: long arrays, run-lengths, and texts that stand elsewhere."""
    if isinstance(value, dict):
        return {key: _brief(part, key) for key, part in value.items()}
    if isinstance(value, list):
        if len(value) <= _LONG_LIST:
            return [_brief(part) for part in value]
        return [*(_brief(part) for part in value[:_ITEMS]), f"… {len(value) - _ITEMS} more"]
    if isinstance(value, str) and name in _OPAQUE and len(value) > 40:
        return f"{value[:24]}… ({len(value):,} characters)"
    if isinstance(value, str) and _is_long(value):
        return f"({len(value):,} characters, shown by themselves)"
    return value


def _texts(value: Any, path: str) -> Iterator[Text]:
    if isinstance(value, dict):
        for key, part in value.items():
            if key not in _OPAQUE:
                yield from _texts(part, f"{path}.{key}")
    elif isinstance(value, list):
        for index, part in enumerate(value if len(value) <= _LONG_LIST else value[:_ITEMS]):
            yield from _texts(part, f"{path}[{index}]")
    elif isinstance(value, str) and _is_long(value):
        cut = len(value) - _MOST_TEXT
        yield Text(path, value if cut <= 0 else f"{value[:_MOST_TEXT]}\n… {cut:,} more characters are in the trace")


def _is_long(text: str) -> bool:
    return len(text) > _LONG_TEXT or "\n" in text
