"""A comparison as Markdown: the rank table, then every two runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from geoseg_agent.bench.metrics import METRICS
from geoseg_agent.bench.published import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geoseg_agent.bench.compare import Comparison, Difference, Ranked, Standing

TITLES: Final = {
    **{figure: head for figure, head in COLUMNS.items() if figure != "boundary"},
    "boundary_pixels": "BF 3 px",
    "boundary_diagonal": "BF 0.75 %",
}
"""Heads of columns, in the paper's order and shorthand."""


def markdown(comparison: Comparison) -> str:
    """The comparison for people; scores in per cent, as the paper prints them."""
    heads = [TITLES[metric] for metric in METRICS]
    left_out = ", ".join(f"{_plain(run.name)} {run.left_out}" for run in comparison.runs if run.left_out)
    lines = [
        f"{comparison.pairs} pairs of {comparison.images} images are common to all runs"
        + (f"; left out: {left_out}." if left_out else "."),
        "",
        "Mean score in per cent; in brackets the mean rank over pairs, 1 is best.",
        "",
        *_table(["run", "no answer", *heads, "mean rank"], [_row(run) for run in comparison.runs]),
    ]
    if any(run.all_empty for run in comparison.runs):
        lines += ["", "*: every mask is empty, so it has no rank in Acc and Spec."]
    for versus in comparison.versus:
        lines += [
            "",
            f"{_plain(versus.first)} minus {_plain(versus.second)}, in points, 95 % intervals resampled by image:",
            "",
            *_table(
                ["metric", "difference", "interval", "better", "worse", "equal"],
                [[TITLES[metric], *_cells(versus.metrics[metric])] for metric in METRICS],
            ),
        ]
    return "\n".join(lines) + "\n"


def _table(heads: list[str], rows: Iterable[list[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows)]


def _row(run: Ranked) -> list[str]:
    name = _plain(run.name) + (" *" if run.all_empty else "")
    return [name, str(run.failed), *(_standing(run.metrics[metric]) for metric in METRICS), f"{run.overall:.2f}"]


def _standing(standing: Standing) -> str:
    return f"{100 * standing.mean:.1f} ({'-' if standing.mean_rank is None else f'{standing.mean_rank:.2f}'})"


def _cells(difference: Difference) -> list[str]:
    mean = difference.mean
    interval = "-" if mean.low is None or mean.high is None else f"{100 * mean.low:+.1f} .. {100 * mean.high:+.1f}"
    value = f"{100 * mean.value:+.1f}"
    return [
        f"**{value}**" if difference.clear else value,
        interval,
        str(difference.better),
        str(difference.worse),
        str(difference.equal),
    ]


def _plain(name: str) -> str:
    return " ".join(name.split()).replace("\\", "\\\\").replace("|", "\\|")
