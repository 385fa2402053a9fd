"""A run of a benchmark as one page: what was measured, how sure it is, and what the answers look like.

The page is one file. It loads nothing, runs nothing, and its content policy forbids both. Its size is bounded
whatever the run: pictures are thumbnails of the gallery only, tables and texts are cut where the page says so, and
the whole stays under about `MOST_BYTES`. What is left out stands in `results.jsonl`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from geoseg_agent.bench.compare_table import TITLES
from geoseg_agent.bench.gallery import EACH, Case, cases, choose
from geoseg_agent.bench.plots import MOST_DOTS, MOST_STAGES, plots
from geoseg_agent.bench.report_facts import facts, known_of, settings_of
from geoseg_agent.bench.strata import SIZES, UNSTATED
from geoseg_agent.errors import DatasetError
from geoseg_agent.grounding.keep_file import keep_file
from geoseg_agent.trace.jsontext import compact
from geoseg_agent.trace.pages import template_of
from geoseg_agent.versions import versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from jinja2 import Template

    from geoseg_agent.bench.costs import Spread
    from geoseg_agent.bench.groups import Estimate, Group
    from geoseg_agent.bench.pairs import Pair
    from geoseg_agent.bench.plan import Plan
    from geoseg_agent.bench.records import PairResult
    from geoseg_agent.bench.summary import Summary

MOST_BYTES: Final = 4_000_000
"""What the page stays under, about."""

MOST_PARTS: Final = 30
"""Rows of one stratum: its largest parts."""

MOST_ERRORS: Final = 100
"""Rows of the table of failed pairs."""

MOST_TEXT: Final = 300
"""Characters of a query or message."""

_NAME = 80


class Shown(NamedTuple):
    """A figure at the head of the page.

    Attributes:
        value: the figure itself, as text.
        unit: after it, smaller.
        estimate: the same with its interval, for a bar of 0..1; or None.
        says: one line below.
    """

    name: str
    value: str
    unit: str
    estimate: Estimate | None
    says: str


class Stratum(NamedTuple):
    """The parts of the pairs by one property.

    Attributes:
        parts: by name, at most `MOST_PARTS`.
        more: parts that are not shown.
        stated: whether the data set says anything of the property.
    """

    name: str
    parts: dict[str, Group]
    more: int
    stated: bool


def write_report(
    folder: Path,
    name: str,
    results: list[PairResult],
    summary: Summary,
    pairs: Sequence[Pair],
    *,
    told: Callable[[int, int], None] = lambda _done, _all: None,
) -> Path:
    """Write `report.html` into the folder of a run, in one step; an older one is replaced.

    Args:
        folder: of the run, with its `run.json` and traces, or the masks that it names, where there are any.
        name: of the run, the title.
        results: all of them.
        summary: of these results; every figure on the page is one of its.
        pairs: of the data set, for pictures and answers.
        told: called with the number of pictures made so far, and of all.

    Returns:
        The path of the page.

    Raises:
        DatasetError: the page cannot be written.
    """
    page = _page(folder, name, results, summary, pairs, told).encode("utf-8", "replace")
    out = folder / "report.html"
    try:
        keep_file(out, page)
    except OSError as error:
        raise DatasetError(
            f"the report cannot be written to {out}: {error.strerror or error}",
            hint="choose a folder with space that you may write",
        ) from error
    return out


def _page(
    folder: Path,
    name: str,
    results: Sequence[PairResult],
    summary: Summary,
    pairs: Sequence[Pair],
    told: Callable[[int, int], None],
) -> str:
    known = known_of(folder, results)
    failed = sorted((one for one in results if one.error is not None), key=lambda one: one.id)
    return _template().render(
        name=name,
        summary=summary,
        overall=summary.overall,
        titles=TITLES,
        facts=facts(known, summary),
        key=_key(summary),
        strata=[_stratum(kind, summary.strata[kind]) for kind in summary.strata],
        plots=plots(results, summary),
        gallery=_gallery(folder, results, pairs, known.plan, told),
        failed=failed[:MOST_ERRORS],
        known=known,
        settings={} if known.plan is None else settings_of(known.plan),
        written_by=versions()["geoseg-agent"],
        limits={
            "each": EACH,
            "errors": MOST_ERRORS,
            "text": MOST_TEXT,
            "name": _NAME,
            "dots": MOST_DOTS,
            "stages": MOST_STAGES,
        },
    )


def _key(summary: Summary) -> list[Shown]:
    overall, risk, costs = summary.overall, summary.risk, summary.costs
    metrics, ended = overall.metrics, overall.outcomes
    answered = ended.found + ended.not_found + ended.ambiguous
    shown = [
        Shown("Mean IoU", _cent(metrics["iou"].value), "%", metrics["iou"], "of all pairs; also called gIoU"),
        Shown("Dice", _cent(metrics["dice"].value), "%", metrics["dice"], "mean of all pairs"),
        Shown(
            "Boundary F",
            _cent(metrics["boundary_pixels"].value),
            "%",
            metrics["boundary_pixels"],
            f"within {summary.protocol.boundary_pixels:g} px, mean of all pairs",
        ),
    ]
    whole = overall.cumulative_iou
    if whole is not None:
        shown.append(
            Shown("Cumulative IoU", _cent(whole.value), "%", whole, "pooled: large targets outweigh small ones")
        )
    shown.append(
        Shown("Answered", f"{answered:,}", f"of {overall.n:,}", None, "pairs with a mask, be it an empty one")
    )
    if risk.aurc is not None:
        shown.append(
            Shown(
                "AURC",
                f"{risk.aurc:.3f}",
                "",
                None,
                f"lower is better; {risk.chance:.3f} by chance, {risk.oracle:.3f} at best",
            )
        )
    if costs.seconds is not None:
        spent = costs.seconds.per_pair
        shown.append(
            Shown("Seconds a query", _seconds(spent.median), "s", None, f"median; 95 % under {_seconds(spent.p95)} s")
        )
    return shown


def _stratum(name: str, groups: dict[str, Group]) -> Stratum:
    names = list(groups)
    if len(names) > MOST_PARTS:
        largest = set(sorted(names, key=lambda part: (-groups[part].n, part))[:MOST_PARTS])
        names = [part for part in names if part in largest]
    parts = {part: groups[part] for part in names}
    return Stratum(name, parts, len(groups) - len(parts), list(groups) != [UNSTATED])


def _gallery(
    folder: Path,
    results: Sequence[PairResult],
    pairs: Sequence[Pair],
    plan: Plan | None,
    told: Callable[[int, int], None],
) -> dict[str, list[Case]]:
    shelf = choose(results)
    known = {pair.id: pair for pair in pairs}
    total, done = sum(map(len, shelf)), 0

    def one() -> None:
        nonlocal done
        done += 1
        told(done, total)

    return {kind: cases(chosen, known, folder, plan, one) for kind, chosen in shelf._asdict().items()}


def _cent(share: float) -> str:
    """A share in per cent, as the paper prints it."""
    return f"{100 * share:.1f}"


def _seconds(value: float) -> str:
    if value >= 0.1:
        return f"{value:,.1f}" if value >= 100 else f"{value:.2f}"
    return f"{value:.4f}" if value >= 0.0001 or not value else "< 0.0001"


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.3g}"


def _cells(spread: Spread, *, timed: bool) -> list[str]:
    """The spread as a row of a table."""
    written = _seconds if timed else _amount
    return [f"{spread.n:,}", *(written(value) for value in (spread.median, spread.mean, spread.p95, spread.total))]


def _cut(text: str, most: int = MOST_TEXT) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _plain(value: object) -> str:
    """A setting for people."""
    return _cut(value if isinstance(value, str) else compact(value).decode("utf-8").strip())


def _classes(limits: Iterable[tuple[str, float]] = SIZES) -> str:
    return ", ".join(f"{name} under {100 * limit:g} %" for name, limit in limits) + ", large from there"


@cache
def _template() -> Template:
    filters: dict[str, Callable[..., str]] = {"cent": _cent, "cut": _cut, "plain": _plain}
    functions: dict[str, Callable[..., str | list[str]]] = {"cells": _cells, "classes": _classes}
    return template_of("geoseg_agent.bench", filters, functions)
