"""The tables of the offline benchmark: rows in, figures out, and shown on the way."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean
from typing import TYPE_CHECKING

from offline_ask import AFTER, CLICKS
from offline_sets import Row, abstaining, clicks_needed, coverage, over_sources, source_means
from rich.table import Table
from scipy.stats import spearmanr

from geoseg_tools.classical.ground import ABSTAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

Figures = dict[str, float]

COVERED = (0.25, 0.5, 0.75, 1.0)
UNDER = (ABSTAIN, 0.3, 0.5)
CLEARLY = 0.02
"""A difference in IoU that is called one."""


def by_way(rows: Sequence[Row]) -> dict[str, list[Row]]:
    parts: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        parts[row.way].append(row)
    return dict(parts)


def mean(rows: Sequence[Row]) -> float:
    """Over pairs, a pair with several figures counting as often."""
    return fmean(row.iou for row in rows)


def against(rows: Sequence[Row], other: Sequence[Row]) -> dict[str, int]:
    """How often the first is better and worse than the second, at all and clearly."""
    gains = [row.iou - base.iou for row, base in zip(rows, other, strict=True)]
    return {
        "better": sum(gain > 0 for gain in gains),
        "better by over 0.02": sum(gain > CLEARLY for gain in gains),
        "worse": sum(gain < 0 for gain in gains),
        "worse by over 0.02": sum(gain < -CLEARLY for gain in gains),
    }


def boxes(rows: Sequence[Row], console: Console) -> Figures:
    ways = by_way(rows)
    united = [way for way in ways if not way.startswith("single")]
    alone = [way for way in ways if way.startswith("single")]
    figures: Figures = {}
    for title, names in (("the pair's boxes, united", united), ("single boxes", alone)):
        table = Table("group", "n", *(name.removeprefix("single, ") for name in names), title=f"{title}: mean IoU")
        if not names:
            continue
        parts = {name: ways[name] for name in names}
        count = len(parts[names[0]])
        table.add_row("all", str(count), *(f"{mean(parts[name]):.3f}" for name in names))
        table.add_row("mean over sources", "", *(f"{over_sources(parts[name]):.3f}" for name in names))
        means = {name: source_means(parts[name]) for name in names}
        for source in means[names[0]]:
            size = sum(row.source == source for row in parts[names[0]])
            table.add_row(source[:44], str(size), *(f"{means[name][source]:.3f}" for name in names))
        counts = {name: against(parts[name], parts[names[0]]) for name in names}
        for kind in counts[names[0]]:
            table.add_row(f"{kind} than filled", "", *(str(counts[name][kind]) for name in names))
        console.print(table)
        figures |= {name: mean(parts[name]) for name in names}
        figures |= {f"{name}, over sources": over_sources(parts[name]) for name in names}
        figures |= {f"{name}, {kind} than filled": counts[name][kind] for name in names for kind in counts[name]}
        figures |= {
            f"{name}, least gain of a source over filled": min(
                value - means[names[0]][source] for source, value in means[name].items()
            )
            for name in names
        }
    routes = by_way(rows)
    routed = [routes["phrase, A alone"], routes["phrase, B alone"]]
    best = [max(pair, key=lambda row: row.iou) for pair in zip(*routed, strict=True)]
    worse = against(routes["phrase"], best)["worse by over 0.02"]
    console.print(
        f"fused worse than the better of its routes by over 0.02: {worse} of {len(best)}; better: {mean(best):.3f}"
    )
    return figures | {"fused worse than the better route by over 0.02": worse, "the better route": mean(best)}


def shaken(rows: Sequence[Row], console: Console) -> Figures:
    ways = by_way(rows)
    table = Table("boxes", "mask", "over sources", "filled", "over sources", "gain", title="shaken boxes, no phrase")
    figures: Figures = {}
    for way in [name for name in ways if not name.endswith("filled")]:
        found, base = ways[way], ways[f"{way}, filled"]
        values = (mean(found), over_sources(found), mean(base), over_sources(base), mean(found) - mean(base))
        table.add_row(way, *(f"{value:.3f}" for value in values))
        figures |= {way: values[0], f"{way}, over sources": values[1], f"{way}, gain over filled": values[4]}
        figures |= {f"{way}, gain over filled, over sources": values[1] - values[3]}
    console.print(table)
    return figures


def clicks(rows: Sequence[Row], console: Console) -> Figures:
    ways = by_way(rows)
    after = [f"after {count}" for count in AFTER]
    table = Table(
        "target", "", *after, "NoC@80", "never 0.8", "set-up, CPU s", "click, CPU s", "worst", title="clicks"
    )
    figures: Figures = {}
    for way in [name for name in ways if not name.endswith("clicks")]:
        last = ways[way]
        curves = [[row.more[f"{count}"] for count in range(1, CLICKS + 1)] for row in last]
        needed, never = fmean(map(clicks_needed, curves)), fmean(max(curve) < 0.8 for curve in curves)
        times = {
            "seconds of set-up": fmean(row.more["setup"] for row in last),
            "seconds per click": fmean(row.more["click"] for row in last),
            "seconds, worst click": max(row.more["worst"] for row in last),
        }
        counted = [ways[f"{way}, {count} clicks"] for count in AFTER]
        shown = [f"{needed:.1f}", f"{never:.0%}", *(f"{value:.3f}" for value in times.values())]
        table.add_row(way, "mean", *(f"{mean(part):.3f}" for part in counted), *shown)
        table.add_row("", "over sources", *(f"{over_sources(part):.3f}" for part in counted))
        figures |= {f"{way}, {name}": mean(part) for name, part in zip(after, counted, strict=True)}
        figures |= {
            f"{way}, {name}, over sources": over_sources(part) for name, part in zip(after, counted, strict=True)
        }
        figures |= {f"{way}, NoC@80": needed, f"{way}, never 0.8": never}
        figures |= {f"{way}, {name}": value for name, value in times.items()}
    console.print(table)
    return figures


def confidence(rows: Sequence[Row], console: Console) -> Figures:
    ways = by_way(rows)
    held = {row.id: row for row in ways.pop("held back", [])}
    shares = [f"{share:.0%}" for share in COVERED]
    table = Table(
        "judged by", "IoU", "over sources", "Spearman", *(f"IoU at {share}" for share in shares), "poor at 50%",
        title="confidence, risk and coverage",
    )  # fmt: skip
    costs = Table(
        "judged by", "under", "refused", "good lost", "IoU of the rest", "poor", title="what abstaining costs"
    )
    figures: Figures = {}
    for way, part in ways.items():
        rank = float(spearmanr([row.more["confidence"] for row in part], [row.iou for row in part]).statistic)
        poor = fmean(row.iou < 0.2 for row in coverage(part, 0.5))
        kept = [mean(coverage(part, share)) for share in COVERED]
        table.add_row(
            way, *(f"{value:.3f}" for value in (mean(part), over_sources(part), rank, *kept)), f"{poor:.2f}"
        )
        figures |= {way: mean(part), f"{way}, over sources": over_sources(part), f"{way}, Spearman": rank}
        figures |= {f"{way}, IoU at {share}": value for share, value in zip(shares, kept, strict=True)}
        figures |= {f"{way}, under 0.2 in the surest half": poor}
        if "answered" not in part[0].more:
            continue
        # Nothing is lost where nothing would have been found.
        known = [row if row.more["answered"] or row.id not in held else held[row.id] for row in part]
        for threshold in UNDER:
            cost = abstaining(known, threshold)
            lost = f"{cost.lost} of {cost.good}"
            costs.add_row(way, f"{threshold:g}", str(cost.refused), lost, f"{cost.kept:.3f}", f"{cost.poor:.2f}")
            figures |= {f"{way}, good lost under {threshold:g}": cost.lost / max(cost.good, 1)}
            figures |= {f"{way}, refused under {threshold:g}": cost.refused}
    console.print(table)
    console.print(costs)
    return figures


def cost(rows: Sequence[Row], console: Console) -> Figures:
    head = ("query at 0.8 MP", "n", "seconds, mean", "worst", "of one core, mean", "worst", "most memory, MB")
    table = Table(*head, title="cost")
    figures: Figures = {}
    for way, part in by_way(rows).items():
        seconds, busy, peaks = ([row.more[name] for row in part] for name in ("seconds", "busy", "peak"))
        times = (fmean(seconds), max(seconds), fmean(busy), max(busy))
        table.add_row(way, str(len(part)), *(f"{value:.2f}" for value in times), f"{max(peaks):.0f}")
        figures |= {f"{way}, seconds": times[0], f"{way}, worst seconds": times[1], f"{way}, MB": max(peaks)}
        figures |= {f"{way}, seconds of one core": times[2], f"{way}, worst seconds of one core": times[3]}
    console.print(table)
    return figures


SHOWN: dict[str, Callable[[Sequence[Row], Console], Figures]] = {
    "boxes": boxes,
    "shaken": shaken,
    "clicks": clicks,
    "confidence": confidence,
    "cost": cost,
}
