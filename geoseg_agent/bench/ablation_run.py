"""The ablation of a whole run: every variation of every pair, in a folder that a kill does no harm to.

    ablation/lines.jsonl            a line per pair: what each variation came to, and what had to run for it
    ablation/NAME/results.jsonl     the results of one variation, like those of a run: `bench compare` reads them

The model is never asked. A line is on the disk before the next pair begins; what it holds is not computed again, as
long as the run's result is still of the same trace.
"""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Final, NamedTuple

from geoseg_agent.backends import toolbox_of
from geoseg_agent.bench.ablation import Live, ablate
from geoseg_agent.bench.memo import Calls
from geoseg_agent.bench.pair_bounds import mask_problems
from geoseg_agent.bench.records import PairResult, dump, result_of
from geoseg_agent.bench.variations import (
    FULL,
    method_of,
    needs,
    recorded_method,
    settings_of,
    text_edition,
)
from geoseg_agent.errors import DatasetError, ReplayMismatch
from geoseg_agent.imagery import read_whole
from geoseg_agent.lanes import Lane
from geoseg_agent.runs.failure import Failure
from geoseg_agent.runs.lines import append_line, cut, put_file, read_lines
from geoseg_agent.runs.lock import locked
from geoseg_agent.trace.record_base import Record
from geoseg_agent.trace.store import load
from geoseg_agent.trace.tape import recorded_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from geoseg_agent.bench.ablation import Outcome
    from geoseg_agent.bench.opened import Answered, OpenedRun
    from geoseg_agent.bench.variations import Need, TextEdition, Variation
    from geoseg_agent.seams import Toolbox
    from geoseg_agent.trace.model import Trace
    from geoseg_tools.arrays import Mask

LINES: Final = "lines.jsonl"


class Made(Record):
    """What one variation made of a pair.

    Attributes:
        result: its score.
        ran: calls of live tools by kind that no variation before it had asked for, and `hits` of the memory.
    """

    result: PairResult
    ran: dict[str, int]


class Line(Record):
    """A pair under every variation that was asked for at one time; a later line adds to an earlier one.

    Attributes:
        id: of the pair.
        trace: that the variations started from; None where the pair failed before it had one.
        made: by name of the variation.
    """

    id: str
    trace: str | None
    made: dict[str, Made]


class Chosen(NamedTuple):
    """The variations of an ablation.

    Attributes:
        variations: those that are computed.
        needs: by name, what must run for each.
        left_out: by name, what would have had to run for the others.
    """

    variations: tuple[Variation, ...]
    needs: dict[str, Need]
    left_out: dict[str, Need]


class Row(NamedTuple):
    """One variation of the whole run.

    Attributes:
        results: in the order of the run.
        ran: what had to run for it, over all pairs.
    """

    results: list[PairResult]
    ran: Calls

    @property
    def failed(self) -> int:
        """Pairs without an answer because of an error; they count as 0."""
        return sum(result.status == "failed" for result in self.results)


def chosen(run: OpenedRun, variations: Sequence[Variation], *, live: bool) -> Chosen:
    """Those of the variations that can be computed: all of them with tools, else those that need none.

    Raises:
        DatasetError: the run is one of masks, or left no trace.
        TraceError: its first trace is not there, or damaged.
        ConfigError: a variation is impossible, or the run was not recorded with the full method.
    """
    trace = _first_trace(run)
    found = {variation.name: needs(variation, trace) for variation in variations}
    kept = [variation for variation in variations if live or found[variation.name].runs == "nothing"]
    kept = kept or [FULL]
    left = found.keys() - {variation.name for variation in kept}
    return Chosen(tuple(kept), found, {name: need for name, need in found.items() if name in left})


async def ablate_run(
    run: OpenedRun,
    variations: Sequence[Variation],
    out: Path,
    *,
    live: bool = True,
    told: Callable[[int, int], None] = lambda _done, _all: None,
) -> dict[str, Row]:
    """Compute every variation of every pair of a run, and write their results; the folder may hold some already.

    Args:
        run: recorded with the full method by the agent.
        variations: names unique.
        out: the folder of the ablation.
        live: whether tools may run for what the traces do not hold; they are built from the settings in the traces.
        told: called with the number of pairs done, and of all.

    Returns:
        By name, in the order of the variations.

    Raises:
        DatasetError: the run is one of masks, a file cannot be read or written, or another process is writing it.
        ReplayMismatch: `live` is False and a variation needs what a trace does not hold; or masks contradict Eq. 7.
        TraceError: a trace is not there, damaged, or of another picture.
        ConfigError: a variation is impossible, or the tools are not those of the traces.
    """
    first = _first_trace(run)
    lines = out / LINES
    io = Lane("ablation")
    async with AsyncExitStack() as stack:
        stack.callback(io.close)
        stack.callback(os.close, _made_and_locked(out))
        kept = _kept(lines, run)
        tools = await _tools(first, variations, stack) if live else None
        # Queries on one image side by side: its regions may still be encoded.
        for done, one in enumerate(sorted(run.answered, key=lambda one: one.result.image), 1):
            known = kept.setdefault(one.result.id, {})
            missing = [variation for variation in variations if variation.name not in known]
            if missing:
                made = await _made(run, one, missing, tools, io)
                await io.run(append_line, lines, Line(id=one.result.id, trace=one.result.trace, made=made))
                known |= made
            told(done, len(run.answered))
        rows = {}
        for variation in variations:
            of_all = [kept[result.id][variation.name] for result in run.results]
            ran = sum((Calls(**made.ran) for made in of_all), Calls())
            row = rows[variation.name] = Row([made.result for made in of_all], ran)
            file = out / folder_name(variation.name) / "results.jsonl"
            await io.run(put_file, file, "".join(map(dump, row.results)).encode())
    return rows


def folder_name(variation: str) -> str:
    """The folder of a variation's results: its name without blanks."""
    return variation.replace(" ", "_")


def _first_trace(run: OpenedRun) -> Trace:
    if run.plan.masks is not None:
        raise DatasetError(
            f"{run.path} holds scores of masks, which leave nothing to vary", hint="ablate a `geoseg bench run`"
        )
    path = next((path for result in run.results if (path := run.trace(result)) is not None), None)
    if path is None:
        error = run.results[0].error
        why = "" if error is None else f"; the first failed: {error.message}"
        raise DatasetError(
            f"no pair of {run.path} left a trace, so there is nothing to vary{why}",
            hint="`geoseg bench run` with --retry-failed asks again",
        )
    return load(path)


def _made_and_locked(out: Path) -> int:
    try:
        out.mkdir(parents=True, exist_ok=True)
        return locked(out)
    except OSError as error:
        raise DatasetError(f"{out} cannot hold an ablation: {error.strerror or error}") from error


def _kept(lines: Path, run: OpenedRun) -> dict[str, dict[str, Made]]:
    """What earlier starts have made, of the traces that the run still rests on; a torn last line is cut off.

    Failures that are not the recorded ones are not kept: a tool that ran out of memory may have some now.
    """
    results = {result.id: result for result in run.results}
    kept: dict[str, dict[str, Made]] = {}
    if not lines.exists():
        return kept
    for line in read_lines(lines, Line, torn=cut(lines)):
        known = results.get(line.id)
        if known is not None and known.trace == line.trace:
            found = {name: made for name, made in line.made.items() if made.result.error in {None, known.error}}
            kept.setdefault(line.id, {}).update(found)
    return kept


async def _tools(
    trace: Trace, variations: Sequence[Variation], stack: AsyncExitStack
) -> tuple[Toolbox, Mapping[TextEdition, Toolbox]]:
    """The tools of the traces, and others for variations of what tools apply inside; closed with the stack."""
    base = text_edition(recorded_method(trace))
    built: dict[TextEdition, Toolbox] = {}
    for variation in (FULL, *variations):
        method = method_of(trace, variation)
        edition = text_edition(method) if method.plan.text else base
        if edition not in built:
            built[edition] = toolbox_of(settings_of(trace, variation))
            stack.push_async_callback(built[edition].aclose)
    return built.pop(base), built


async def _made(
    run: OpenedRun,
    one: Answered,
    variations: Sequence[Variation],
    tools: tuple[Toolbox, Mapping[TextEdition, Toolbox]] | None,
    io: Lane,
) -> dict[str, Made]:
    path = run.trace(one.result)
    if path is None:  # the pair could not even be asked, which no variation changes
        return {variation.name: Made(result=one.result, ran={}) for variation in variations}
    trace = await io.run(load, path)
    at_hand = None
    if tools is not None:
        bands, most = tuple(trace.image.bands), recorded_settings(trace).max_pixels
        image = await io.run(lambda: read_whole(one.pair.image, bands=bands, max_pixels=most))
        at_hand = Live(image, *tools)
    outcomes = await ablate(trace, variations, at_hand)
    _check_eq_7(one.result.id, outcomes)
    truth = await io.run(one.pair.truth.read)
    return {
        outcome.variation.name: Made(
            result=await io.run(_scored, one, outcome, truth),
            ran={name: count for name, count in asdict(outcome.ran).items() if count},
        )
        for outcome in outcomes
    }


def _check_eq_7(pair: str, outcomes: Sequence[Outcome]) -> None:
    """Refuse masks of the full method that are not what Eq. 7 makes of those of its routes."""
    answers = {outcome.variation.name: outcome.answer for outcome in outcomes}
    full, points, text = (answers.get(name) for name in ("full", "points", "text"))
    if full is not None and points is not None and text is not None:
        problems = mask_problems(full, points, text)
        if problems:
            raise ReplayMismatch(f"pair {pair} contradicts Eq. 7: {'; '.join(problems)}")


def _scored(one: Answered, outcome: Outcome, truth: Mask) -> PairResult:
    """As `geoseg_agent.bench.outcome.outcome_of`; nobody timed it, and nobody was paid."""
    answer, result = outcome.answer, one.result
    refused = answer is not None and answer.status == "ambiguous" and not answer.targets
    error = None if outcome.error is None else Failure(code=outcome.error.code, message=outcome.error.message)
    return result_of(
        one.pair,
        truth,
        None if answer is None or refused else answer.mask,
        status="failed" if answer is None else answer.status,
        engine=result.engine,
        image=result.image,
        error=error,
        trace=result.trace,
        confidence=None if answer is None else answer.confidence,
        rules=() if answer is None else tuple(target.rule for target in answer.targets),
    )
