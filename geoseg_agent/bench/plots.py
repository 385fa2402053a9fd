"""The plots of a report: how good, how sure, at which size, how fast. Each is an inline SVG, or None without data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from geoseg_agent.bench.coverage import running_mean
from geoseg_agent.bench.plots_svg import ACCENT, BAD, INK, LINE, SOFT, WARN, plain_style, svg_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from geoseg_agent.bench.records import PairResult
    from geoseg_agent.bench.summary import Summary

MOST_DOTS: Final = 1500
"""Pairs drawn one by one; of more, as many at even steps of their size."""

MOST_STAGES: Final = 12

_BINS: Final = 20
_STEPS: Final = 200
_SMALLEST: Final = 1e-6
_LABEL: Final = 20


class Plots(NamedTuple):
    """The plots of a run.

    Attributes:
        iou: histogram and cumulative distribution of the pairs' IoU.
        risk: risk against coverage; None where no pair has a confidence.
        size: IoU against the target's share of the image; None where every target is empty.
        seconds: median and 95th percentile by stage; None where nobody timed the run.
        dots: pairs drawn in `size`, of `sized` that have a target.
        sized: see above.
    """

    iou: str
    risk: str | None
    size: str | None
    seconds: str | None
    dots: int
    sized: int


def plots(results: Sequence[PairResult], summary: Summary) -> Plots:
    """Draw them all.

    Args:
        results: those that were summed up.
        summary: their figures; what a plot shows of them is taken from it.
    """
    sized = sorted((one for one in results if one.truth_area), key=lambda one: (_share(one), one.id))
    shown = sized
    if len(sized) > MOST_DOTS:
        shown = [sized[i] for i in np.linspace(0, len(sized) - 1, MOST_DOTS).round().astype(int)]
    with plain_style():
        return Plots(
            iou=_iou(results, summary),
            risk=_risk(results, summary) if summary.risk.curve else None,
            size=_size(shown, summary) if shown else None,
            seconds=_seconds(summary) if summary.costs.seconds is not None else None,
            dots=len(shown),
            sized=len(sized),
        )


def _iou(results: Sequence[PairResult], summary: Summary) -> str:
    figure, axes = _axes("share of pairs, %", "IoU, %", above=0.47)
    iou = np.array([one.scores.iou for one in results])
    answered = np.array([one.answered for one in results])
    bins = np.minimum((iou * _BINS + 1e-9).astype(int), _BINS - 1)
    left, width = np.arange(_BINS) * 100 / _BINS, 100 / _BINS
    silent = np.bincount(bins[~answered], minlength=_BINS) * 100 / len(iou)
    scored = np.bincount(bins[answered], minlength=_BINS) * 100 / len(iou)
    axes.bar(left + width / 2, silent, width * 0.86, color=BAD)
    axes.bar(left + width / 2, scored, width * 0.86, bottom=silent, color=ACCENT, alpha=0.75)
    at = np.linspace(0, 1, _STEPS + 1)
    axes.step(
        100 * at, np.searchsorted(np.sort(iou), at, side="right") * 100 / len(iou), where="post", color=INK, lw=1.3
    )
    mean = 100 * summary.overall.metrics["iou"].value
    axes.axvline(mean, color=WARN, lw=1.1, dashes=(4, 2.5))
    side = "left" if mean < 8 else "right" if mean > 92 else "center"
    axes.text(mean, 104, f"mean {mean:.1f}", ha=side, va="bottom", color=WARN, fontsize=9)
    _bounds(axes, (0, 100), (0, 100))
    return svg_of(figure, "Histogram and cumulative distribution of IoU over pairs")


def _risk(results: Sequence[PairResult], summary: Summary) -> str:
    figure, axes = _axes("risk: mean of 100 − IoU", "coverage: share of pairs accepted, %")  # noqa: RUF001 - a minus
    iou = np.array([one.scores.iou for one in results])
    best = running_mean(iou, 1 - iou)
    kept = np.unique(np.linspace(0, len(iou) - 1, _STEPS + 1).round().astype(int))
    chance = 100 * summary.risk.chance
    axes.axhline(chance, color=SOFT, lw=1, dashes=(4, 2.5))
    axes.plot(100 * (kept + 1) / len(iou), 100 * best[kept], color=SOFT, lw=1, dashes=(1.2, 1.8))
    covered, risk = (np.array([getattr(p, name) for p in summary.risk.curve]) * 100 for name in ("coverage", "risk"))
    axes.plot(covered, risk, color=ACCENT, lw=1.9, marker="o" if len(covered) == 1 else None, ms=5, clip_on=False)
    top = min(100.0, max(10.0, 1.18 * float(max(risk.max(), chance, 100 * best.max()))))
    _bounds(axes, (0, 100), (0, top))
    return svg_of(figure, "Risk against coverage, answers accepted in the order of their confidence")


def _size(shown: Sequence[PairResult], summary: Summary) -> str:
    figure, axes = _axes("IoU, %", "target's share of the image, %, logarithmic", above=0.47)
    share = 100 * np.array([max(_share(one), _SMALLEST) for one in shown])
    low = 10 ** np.floor(np.log10(min(share.min(), 0.02)))
    edges = [low, *(100 * limit for limit in summary.protocol.sizes.values()), 100]
    names = (*summary.protocol.sizes, "large")
    for name, start, stop in zip(names, edges, edges[1:], strict=False):
        if stop < 100:
            axes.axvline(stop, color=LINE, lw=1)
        if stop > start:
            axes.text(np.sqrt(start * stop), 104, name, ha="center", va="bottom", color=SOFT, fontsize=9)
        group = summary.strata["size"].get(name)
        if group is None:
            continue
        mean = group.metrics["iou"]
        if mean.low is not None and mean.high is not None:
            axes.fill_between([start, stop], 100 * mean.low, 100 * mean.high, color=WARN, alpha=0.13, lw=0)
        axes.plot([start, stop], [100 * mean.value] * 2, color=WARN, lw=1.6, solid_capstyle="butt")
    iou = 100 * np.array([one.scores.iou for one in shown])
    answered = np.array([one.answered for one in shown])
    small = 26 if len(shown) < 200 else 10
    axes.scatter(share[answered], iou[answered], s=small, color=ACCENT, alpha=0.6, lw=0, clip_on=False, zorder=3)
    axes.scatter(share[~answered], iou[~answered], s=small, color=BAD, alpha=0.8, lw=0, clip_on=False, zorder=3)
    axes.set_xscale("log")
    _bounds(axes, (low, 100), (0, 100))
    ticks = [10.0**power for power in range(round(np.log10(low)), 3)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    return svg_of(figure, "IoU of each pair against the size of its target")


def _seconds(summary: Summary) -> str:
    spent = summary.costs.seconds
    stages = sorted(summary.costs.stages.items(), key=lambda item: -item[1].total)[:MOST_STAGES]
    rows = [*([] if spent is None else [("whole query", spent.per_pair)]), *stages]
    figure, axes = _axes("", "seconds per query", height=max(1.9, 0.62 + 0.34 * len(rows)), left=0.23)
    places = np.arange(len(rows))[::-1]
    median = np.array([spread.median for _, spread in rows])
    late = np.array([spread.p95 for _, spread in rows])
    axes.hlines(places, 0, late, color=LINE, lw=7)
    axes.hlines(places, 0, median, color=ACCENT, lw=7)
    axes.scatter(
        [spread.mean for _, spread in rows], places, s=24, marker="D", color=WARN, lw=0, zorder=3, clip_on=False
    )
    for place, (_, spread) in zip(places, rows, strict=True):
        axes.annotate(
            _brief(spread.median),
            (max(spread.p95, spread.mean), place),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            color=SOFT,
            fontsize=9,
        )
    axes.set_yticks(places, [_ascii(name) for name, _ in rows], parse_math=False)
    _bounds(
        axes,
        (0, max(1e-3, 1.16 * float(max(late.max(), *(spread.mean for _, spread in rows))))),
        (-0.7, len(rows) - 0.3),
    )
    axes.grid(visible=False, axis="y")
    axes.spines["bottom"].set_visible(False)
    return svg_of(figure, "Seconds by stage: median, mean and 95th percentile")


def _axes(
    up: str, along: str, *, height: float = 2.9, left: float = 0.085, above: float = 0.3
) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - as in plots_svg

    figure = Figure(figsize=(5.0, height))
    bottom, top = 0.47 / height, (above if up else 0.06) / height
    axes = figure.add_axes((left, bottom, 0.97 - left, 1 - bottom - top))
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(SOFT)
    axes.spines["bottom"].set_linewidth(0.8)
    axes.set_axisbelow(True)
    axes.grid(visible=True, axis="x" if not up else "y", color=LINE, lw=0.8)
    axes.tick_params(length=0, labelcolor=SOFT, labelsize=9, pad=5)
    axes.set_title(up, loc="left", color=SOFT, fontsize=9, pad=72 * above - 13, x=-left / (0.97 - left))
    axes.set_xlabel(along, loc="right", color=SOFT, fontsize=9)
    return figure, axes


def _bounds(axes: Axes, across: tuple[float, float], up: tuple[float, float]) -> None:
    axes.set_xlim(*across)
    axes.set_ylim(*up)


def _share(result: PairResult) -> float:
    return result.truth_area / (result.size[0] * result.size[1])


def _brief(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds >= 10 else f"{seconds:.2f}" if seconds >= 0.005 else "< 0.01"


def _ascii(name: str) -> str:
    """A name in the letters that matplotlib has, on one line."""
    plain = "".join(one if one.isascii() and one.isprintable() else "?" for one in name)
    return plain if len(plain) <= _LABEL else plain[: _LABEL - 2] + ".."
