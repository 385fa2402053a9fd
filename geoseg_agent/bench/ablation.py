"""Ablation from one recorded run: every variation of the method without a single call of the model.

What was grounded is taken from the trace's result: status, and the final targets with box, phrase, confidence and
limit. Each target then goes through `geoseg_agent.routes.segment_target`, the very function that a query runs, with
the constants of the variation and a `MemoToolbox` in place of the tools. So a variation gives what an Agent with
these settings gives, and what is computed for it is what the trace does not hold and no variation before it asked.

    the trace's targets x the variations, in groups of one crop each
    for each group, while its crop may be encoded:
        for each variation: segment_target
    for each variation: its targets as one answer

The groups keep one encoding alive at a time, however many targets and margins there are. Notes of the grounder, and a
review of the result by the model, belong to the recorded query and are not repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from geoseg_agent.bench.memo import Calls, MemoToolbox
from geoseg_agent.bench.variations import method_of, recorded_method, text_edition
from geoseg_agent.errors import (
    ConfigError,
    GeoSegError,
    QueryError,
    ReplayMismatch,
    ToolFailed,
    TraceCorrupt,
    TraceError,
    first_error,
)
from geoseg_agent.routes import segment_target
from geoseg_agent.segmentation import Segmentation
from geoseg_agent.trace import codec
from geoseg_agent.trace.model import ErrorRecord
from geoseg_agent.trace.rle import decode_mask
from geoseg_agent.types import MAX_PHRASE, Hints, Target, clean_phrase
from geoseg_tools.errors import ToolError
from geoseg_tools.geometry import Box, refine, whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geoseg_agent.bench.variations import TextEdition, Variation
    from geoseg_agent.imagery import Image
    from geoseg_agent.method import Method
    from geoseg_agent.seams import Toolbox
    from geoseg_agent.trace.model import Trace
    from geoseg_agent.types import TargetMask
    from geoseg_tools.crop import Crop


class Live(NamedTuple):
    """What may run where the trace holds no answer.

    Attributes:
        image: the picture that the trace is of.
        tools: those that the trace was made with.
        text_tools: the same, built for another `text_mode` and `text_threshold` each; only variations of these two
            need them.
    """

    image: Image
    tools: Toolbox
    text_tools: Mapping[TextEdition, Toolbox] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What became of one query under one variation.

    Attributes:
        variation: which.
        method: the constants it worked with.
        answer: the answer, or None where there is none: scored 0, never dropped.
        error: why there is none.
        ran: what had to be called for it that no variation before it had asked for.
    """

    variation: Variation
    method: Method
    answer: Segmentation | None
    error: ErrorRecord | None
    ran: Calls


@dataclass(slots=True, eq=False)
class _Row:
    """A variation on its way."""

    variation: Variation
    method: Method
    tools: MemoToolbox
    targets: tuple[Target, ...]
    found: dict[int, TargetMask] = field(default_factory=dict)
    error: GeoSegError | None = None
    ran: Calls = field(default_factory=Calls)


class _Job(NamedTuple):
    row: _Row
    number: int
    target: Target


async def ablate(trace: Trace, variations: Sequence[Variation], live: Live | None = None) -> tuple[Outcome, ...]:
    """What each variation makes of the recorded query, in their order.

    A query that failed is a failure under every variation that is grounded, and one that found nothing finds nothing.
    A tool that crashes under a variation is that variation's failure. The variation that changes nothing must come to
    the recorded result in every field. A confidence that came of changed copies (`stability`) is nobody's here.

    Args:
        trace: one query, recorded with the full method.
        variations: names unique.
        live: None where nothing may run.

    Raises:
        ReplayMismatch: a call is not in the trace and nothing may run; or the recorded result does not come out of
            the recorded answers any more.
        TraceError: the live image is not the picture of the trace.
        TraceCorrupt: the trace's targets, hints or steps are malformed.
        ConfigError: a variation is impossible, the trace is of points without words or not of the full method, or the
            live tools are not its.
    """
    names = [variation.name for variation in variations]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two variations are called {twice!r}", hint="give each a name of its own")
    if trace.clicked:
        raise ConfigError(
            f"the trace {trace.id} is of points without words: there are no two routes to vary",
            hint="record queries",
        )
    base = recorded_method(trace)
    image, hints, targets = _recorded(trace, live)
    memories: dict[TextEdition, MemoToolbox] = {}
    rows = []
    for variation in variations:
        method = method_of(trace, variation)
        asks = method if method.plan.text else base
        edition = text_edition(asks)
        if edition not in memories:
            memories[edition] = _memory(trace, live, asks, own=edition == text_edition(base))
        row = _Row(variation, method, memories[edition], targets)
        if not method.plan.grounds:
            try:
                row.targets = (_whole(image, trace, hints),)
            except QueryError as error:
                row.targets, row.error = (), error
        rows.append(row)
    for (tools, crop), jobs in _groups(rows, image).items():
        async with tools.encode(crop):
            for job in jobs:
                await _run(job, image, hints)
    return tuple(_outcome(row, trace, image, base) for row in rows)


def _recorded(trace: Trace, live: Live | None) -> tuple[Image, Hints, tuple[Target, ...]]:
    """Picture, hints and targets of the trace."""
    given = [] if trace.result is None else trace.result.targets
    try:
        image, hints = codec.decode_image(trace.image), codec.decode_hints(trace.hints)
        targets = tuple(
            Target(Box(*t.box), t.phrase, t.confidence, None if t.within is None else decode_mask(t.within))
            for t in given
        )
        for one in (hints, *(Hints(box=target.box) for target in targets)):
            one.check(image.size)
    except (ValueError, ToolError, GeoSegError) as error:
        raise TraceCorrupt(f"the trace {trace.id}: image, hints or targets: {error}") from error
    if live is None:
        return image, hints, targets
    if live.image.sha256 != image.sha256:
        raise TraceError(
            f"{live.image.name} is not the picture of the trace {trace.id}: its sha256 is {live.image.sha256}, "
            f"the trace says {image.sha256}",
            hint=f"it was {image.path or image.name}",
        )
    return live.image, hints, targets


def _memory(trace: Trace, live: Live | None, method: Method, *, own: bool) -> MemoToolbox:
    """The memory of the trace over the tools that answer a text prompt of this method."""
    edition = text_edition(method)
    tools = None if live is None else live.tools if own else live.text_tools.get(edition)
    if tools is None and not own:
        raise ConfigError(
            f"text_mode={edition[0]} with text_threshold={edition[1]} is applied inside the tools, and none were "
            "given that were built for it",
            hint="give them as text_tools, or record such a run",
        )
    built: Mapping[str, Any] = getattr(tools, "fixed", {})
    wrong = next((name for name, value in built.items() if getattr(method, name) != value), None)
    if wrong is not None:
        raise ConfigError(
            f"live tools were built with {wrong}={built[wrong]!r}, and {getattr(method, wrong)!r} is asked for",
            hint="build them from the settings in the trace, with what the variation changes",
        )
    return MemoToolbox(trace, tools, text=own)


def _whole(image: Image, trace: Trace, hints: Hints) -> Target:
    """The one target of a variation that grounds nothing, as the Agent has it.

    Raises:
        QueryError: the query is no phrase.
    """
    phrase = hints.phrase or clean_phrase(trace.query[:MAX_PHRASE], error=QueryError)
    return Target(hints.box or whole(image.size), phrase)


def _groups(rows: Sequence[_Row], image: Image) -> dict[tuple[MemoToolbox, Crop], list[_Job]]:
    """Everything that is to be asked, by tools and crop; crops of one region lie side by side."""
    groups: dict[tuple[MemoToolbox, Crop], list[_Job]] = {}
    for row in rows:
        method = row.method
        for number, target in enumerate(row.targets, start=1):
            roi = refine(
                target.box,
                image.size,
                method.alpha,
                method.beta,
                rounding=method.rounding,
                min_side=method.min_crop,
            )
            crop = image.crop(roi, target.box, number)
            groups.setdefault((row.tools, crop), []).append(_Job(row, number, target))
    order = list(dict.fromkeys(tools for tools, _ in groups))
    return dict(sorted(groups.items(), key=lambda item: (order.index(item[0][0]), tuple(item[0][1].roi))))


async def _run(job: _Job, image: Image, hints: Hints) -> None:
    row, number, target = job
    if row.error is not None:
        return
    before = row.tools.calls
    try:
        with first_error():
            row.found[number] = await segment_target(row.tools, row.method, image, target, hints, number)
    except ToolFailed as error:
        row.error = error
    row.ran += row.tools.calls - before


def _outcome(row: _Row, trace: Trace, image: Image, base: Method) -> Outcome:
    error = None if row.error is None else codec.encode_error(row.error)
    result, grounds = trace.result, row.method.plan.grounds
    if grounds and result is None:
        left = trace.error
        error = (
            ErrorRecord(type="Interrupted", code=codec.INTERRUPTED, message="the query has no result", hint=None)
            if left is None
            else ErrorRecord(type=left.type, code=left.code, message=left.message, hint=left.hint)
        )
    if error is not None:
        return Outcome(row.variation, row.method, None, error, row.ran)
    targets = tuple(row.found[number] for number in sorted(row.found))
    grounded = result if grounds else None
    answer = Segmentation(
        image=image,
        query=trace.query,
        status="found" if grounded is None else grounded.status,
        targets=targets,
        confidence=None if grounded is None or _steady(trace) else grounded.confidence,
        engine=row.tools.engine if grounded is None else grounded.engine,
        reasoning="" if grounded is None else grounded.reasoning,
        notes=tuple(dict.fromkeys(note for target in targets for note in target.notes)),
        trace_id=trace.id,
    )
    if row.method == base:
        _as_recorded(answer, trace)
    return Outcome(row.variation, row.method, answer, None, row.ran)


def _steady(trace: Trace) -> bool:
    """Whether the confidence is of copies of the image, which no variation was run on."""
    return any(step.seam == "stability" for step in trace.steps)


def _as_recorded(answer: Segmentation, trace: Trace) -> None:
    """Refuse an answer of the recorded method that is not the recorded answer."""
    recorded = [] if trace.result is None else trace.result.targets
    found = codec.encode_result(answer, trace.method, trace.id).targets
    for number, (there, here) in enumerate(zip(recorded, found, strict=True), start=1):
        fields = [name for name in type(there).model_fields if getattr(there, name) != getattr(here, name)]
        if fields:
            raise ReplayMismatch(
                f"target {number} of the trace {trace.id} does not come out of its recorded answers any more: "
                f"{', '.join(fields)} differ",
                hint="record the run again with this version",
            )
