"""What a unit error would do to boxes: the tables and figures of docs/coordinates.md.

    python benchmarks/coordinates.py --out docs/coordinates

A model that is right, but answers in 0..1000, is read as if it spoke of pixels. For square boxes at every place of
square images: how much of the true box is left in the box read, and in the region after the margins of GeoSeg Eq. 2
(`geoseg_tools.geometry.refine`). Two other errors stand beside it: a constant translation, and a shift in
proportion to the size of the box. Nothing is random; no model is asked. Writes the figures, prints the tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geoseg_agent.grounding.frames import TOLERATED
from geoseg_tools.errors import GeometryError
from geoseg_tools.geometry import Box, refine

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Spans = tuple[Numbers, Numbers]

SCALE = 1000
SIDES = (512, 640, 800, 900, 1000, 1024, 1280, 1536, 2048)
SIZES = (0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
STEPS = 201
"""Places along each axis, equally spaced; with both axes 40,401 places for each box."""

PROPORTIONAL = 0.2
RECALL_WITHOUT, RECALL_WITH = 64.3, 65.7
"""GeoSeg-Bench, arXiv 2603.03983, ablation: without and with box refinement, per cent."""

RECALL_REACHED = 71.5
"""The same table, without Route A but in the same regions: at least so much of the targets lies in them."""

PARTS = {"3-10 %": (0.03, 0.1), "10-30 %": (0.1, 0.3), "30-90 %": (0.3, 0.9)}
BANDS = (*PARTS, "3-90 %")
BOUND_SIDES = (512, 640, 700, 800, 900, 950, 1024, 1100, 1280, 1536)
LOSSES = (0.0, 0.02, 0.05, 0.1)
TICKS = (3, 5, 10, 20, 30, 50, 90)

Reading = Callable[["Numbers", float, int], "Spans"]


class Kept(NamedTuple):
    """Means over all places: share of the true box that is inside, IoU with it, share noticed by the 2 % rule."""

    coverage: float
    iou: float
    noticed: float


def as_pixels(low: Numbers, length: float, side: int) -> Spans:
    """Ends of a span that a model gives in whole numbers of 0..1000, taken for pixels."""
    return np.rint(SCALE * low / side), np.rint(SCALE * (low + length) / side)


def translated(low: Numbers, length: float, side: int) -> Spans:
    """Ends of a span shifted by as much as `as_pixels` shifts boxes on average."""
    return low + mean_shift(side), low + length + mean_shift(side)


def in_proportion(low: Numbers, length: float, _side: int) -> Spans:
    """Ends of a span shifted right by a fifth of its length, what the left margin of Eq. 2 makes up for."""
    return low + PROPORTIONAL * length, (1 + PROPORTIONAL) * length + low


def mean_shift(side: int) -> float:
    """Displacement of a box in pixels, mean over all places: (1000/W - 1) * W/2."""
    return (SCALE - side) / 2


@lru_cache(maxsize=4096)
def kept(side: int, share: float, reading: Reading, margins: bool, steps: int = STEPS) -> Kept:
    """What is left of boxes of `share` of the `side`, over all places.

    The axes of a square box in a square image are read, clamped and widened independently, so one axis is worked
    out and the two are combined.
    """
    length = max(1, round(share * side))
    true = np.rint(np.linspace(0, side - length, steps))
    read_low, read_high = reading(true, length, side)
    low, high = _regions(read_low, read_high, side, margins)
    common = np.clip(np.minimum(high, true + length) - np.maximum(low, true), 0, None)
    both = np.outer(common, common)
    union = length**2 + np.outer(high - low, high - low) - both
    over = (read_high > (1 + TOLERATED) * side) | (read_low < -TOLERATED * side)
    return Kept(float(common.mean() / length) ** 2, float((both / union).mean()), 1 - float((~over).mean()) ** 2)


def _regions(low: Numbers, high: Numbers, side: int, margins: bool) -> Spans:
    """The spans clamped, with the paper's margins or none; (0, 0) where nothing of a span is inside."""
    spans = []
    for first, last in zip(low, high, strict=True):
        x1, x2 = max(round(first), 0), round(last)
        try:
            region = refine(Box(x1, x1, x2, x2), (side, side)) if margins else Box(x1, x1, x2, x2).clamp((side, side))
            spans.append((region.x1, region.x2))
        except GeometryError:
            spans.append((0, 0))
    found = np.array(spans, dtype=np.float64)
    return found[:, 0], found[:, 1]


def coverage_formula(side: float, share: float) -> float:
    """Coverage of `as_pixels` without margins in closed form, on a continuous scale.

    Along one axis a box at x loses a strip: (1000/W - 1) x on its left where W < 1000, (1 - 1000/W) (x + w) on its
    right where W > 1000. The mean of 1 - strip/w (never below 0) over x = 0..W-w, squared for two axes.
    """
    slope = SCALE / side - 1
    if slope >= 0:
        most = slope * (1 - share) / share  # the largest loss, as a share of the box
        along = 1 - most / 2 if most <= 1 else 1 / (2 * most)
    else:
        least, most = -slope, -slope / share
        reach = min(most, 1.0)  # beyond, nothing is left
        along = ((reach - least) - (reach**2 - least**2) / 2) / (most - least)
    return along**2


@lru_cache(maxsize=4096)
def band_coverage(side: int, band: str, margins: bool) -> float:
    """Coverage of misread boxes, mean over sizes that are equally spread on a logarithmic scale."""
    if band not in PARTS:
        weights = [np.log(high / low) for low, high in PARTS.values()]
        return float(np.average([band_coverage(side, part, margins) for part in PARTS], weights=weights))
    shares = np.geomspace(*PARTS[band], 13)
    values = [kept(side, float(share), as_pixels, margins, 101).coverage for share in shares]
    return float(np.trapezoid(values, np.log(shares)) / np.log(shares[-1] / shares[0]))


class Bound(NamedTuple):
    """What the paper's recalls say about one image side and band of box sizes.

    Attributes:
        without, with_margins: coverage of misread boxes.
        gain: points of recall that the margins would bring were every image misread, at 65.7 with margins; None
            where 71.5 could then not be reached.
        share: the largest share of misread images that the recalls leave room for.
    """

    without: float
    with_margins: float
    gain: float | None
    share: float


def bound(side: int, band: str, loss: float = 0.0) -> Bound:
    """The bound, if recall is what the segmenter finds of a fully covered target times the coverage.

    With f the share of misread images, c and c' their coverage without and with margins, r and r' what is found on
    the others: r (1 - f (1 - c)) = 64.3 and r' (1 - f (1 - c')) = 65.7. `loss` is 1 - r'/r, the share of recall
    that the margins cost where nothing was wrong; solved for f. And 1 - f (1 - c') is at least 71.5 %.
    """
    bare, wide = band_coverage(side, band, margins=False), band_coverage(side, band, margins=True)
    gain = None if wide < RECALL_REACHED / 100 else RECALL_WITH * (1 - bare / wide)
    ratio = RECALL_WITHOUT / RECALL_WITH * (1 - loss)
    limits = [1.0]
    if wide < 1:
        limits.append((1 - RECALL_REACHED / 100) / (1 - wide))
    if (room := (1 - bare) - ratio * (1 - wide)) > 0:
        limits.append((1 - ratio) / room)
    return Bound(bare, wide, gain, min(limits))


def indistinct(band: str) -> tuple[int, int]:
    """The image sides around 1000 px at which the margins bring 1.4 points or less, were every image misread."""

    def last(step: int) -> int:
        side = SCALE
        while (gain := bound(side + step, band).gain) is not None and gain <= RECALL_WITH - RECALL_WITHOUT:
            side += step
        return side

    return last(-1), last(1)


def tables() -> dict[str, str]:
    """Name to markdown, as the document quotes them."""
    heads, found = [f"{100 * share:g} %" for share in SIZES], {}
    for name, margins, field in (
        ("coverage", False, "coverage"),
        ("coverage with margins", True, "coverage"),
        ("iou", False, "iou"),
        ("iou with margins", True, "iou"),
    ):
        rows = [
            [str(side), *(f"{getattr(kept(side, s, as_pixels, margins), field):.2f}" for s in SIZES)]
            for side in SIDES
        ]
        found[name] = _markdown(["image side, px", *heads], rows)
    models = {"0..1000 read as pixels": as_pixels, "translation": translated, "proportional": in_proportion}
    rows = [[name, *(_both(800, share, reading) for share in SIZES)] for name, reading in models.items()]
    found["models"] = _markdown(["error, image side 800 px", *heads], rows)
    rows = [[str(side), *(f"{kept(side, s, as_pixels, False).noticed:.2f}" for s in SIZES)] for side in SIDES[:6]]
    found["noticed"] = _markdown(["image side, px", *heads], rows)
    found["bound"] = _markdown(["image side, px", *BANDS], [_bound_row(side) for side in BOUND_SIDES])
    rows = [
        [f"{100 * loss:g} %", *(f"{bound(side, '3-90 %', loss).share:.2f}" for side in BOUND_SIDES)]
        for loss in LOSSES
    ]
    found["bound with losses"] = _markdown(["recall lost to margins", *(f"{side} px" for side in BOUND_SIDES)], rows)
    return found


def _both(side: int, share: float, reading: Reading) -> str:
    return " / ".join(f"{kept(side, share, reading, margins).coverage:.2f}" for margins in (False, True))


def _bound_row(side: int) -> list[str]:
    cells = []
    for band in BANDS:
        one = bound(side, band)
        gain = "impossible" if one.gain is None else f"{one.gain:+.1f}"
        cells.append(f"{gain}, {one.share:.2f}")
    return [str(side), *cells]


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(folder: Path, steps: int = 101) -> list[Path]:
    """Write the figures as PNG into `folder`, and say which."""
    from matplotlib import rc_context  # noqa: PLC0415 - the numbers do not need it

    folder.mkdir(parents=True, exist_ok=True)
    style = {"axes.grid": True, "grid.alpha": 0.3, "axes.spines.top": False, "axes.spines.right": False}
    made = []
    with rc_context(style):
        for name, figure in (
            ("displacement", _displacement()),
            ("coverage", _curves("coverage", "share of the true box inside", steps)),
            ("iou", _curves("iou", "IoU with the true box", steps)),
            ("models", _models(steps)),
            ("map", _map(steps)),
            ("recall", _recall()),
        ):
            made.append(folder / f"{name}.png")
            figure.savefig(made[-1], dpi=110, metadata={"Software": None})
    return made


def _colours() -> dict[int, tuple[float, ...]]:
    """Side to colour: orange under 1000 px, purple over it, the paler the nearer; told apart by all kinds of eyes."""
    from matplotlib import colormaps  # noqa: PLC0415 - as above

    places = [*np.linspace(0.05, 0.3, 4), *np.linspace(0.7, 0.98, 4)]
    found = dict(zip((side for side in SIDES if side != SCALE), map(colormaps["PuOr"], places), strict=True))
    return {side: found.get(side, (0, 0, 0)) for side in SIDES}


def _panels(count: int, width: float = 9.6, height: float = 4.0, **options: bool) -> tuple[Figure, list]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - as above
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, count, **options))


def _displacement() -> Figure:
    figure, (unit, shift, share) = _panels(3, 10.5, 4.2)
    colours = _colours()
    for side in SIDES:
        centre = np.array([0.0, side])
        unit.plot(centre, (SCALE / side - 1) * centre, color=colours[side], label=f"{side}")
    unit.set_title("0..1000 read as pixels")
    unit.legend(title="image side, px", fontsize=8, title_fontsize=8, ncol=2, loc="upper right")
    unit.set_xlim(0, 2100)
    for side in (512, 800, 1536):
        shift.plot([0, side], [mean_shift(side)] * 2, color=colours[side], label=f"{side}")
    shift.set_title("constant translation")
    shift.legend(title="image side, px", fontsize=8, title_fontsize=8, loc="upper right")
    for part, line in ((0.1, ":"), (0.3, "--"), (0.5, "-")):
        ends, shift_by = [400 * part, 800 - 400 * part], PROPORTIONAL * 800 * part
        share.plot(ends, [shift_by, shift_by], line, color="#0072B2", label=f"{100 * part:g} %")
    share.set_title("in proportion to the box")
    share.legend(title="box, share of 800 px", fontsize=8, title_fontsize=8, loc="upper right")
    unit.set_ylabel("displacement of the box centre, px\n(positive: right, down)")
    for axis, limits in ((unit, (-1100, 720)), (shift, (-320, 320)), (share, (0, 130))):
        axis.set_xlabel("true centre from the left or top edge, px")
        axis.set_ylim(*limits)
        axis.axhline(0, color="0.4", linewidth=0.8)
    return figure


def _curves(field: str, label: str, steps: int) -> Figure:
    figure, axes = _panels(2, sharey=True)
    shares = np.geomspace(0.03, 0.9, 30)
    for axis, margins in zip(axes, (False, True), strict=True):
        for side, colour in _colours().items():
            values = [getattr(kept(side, float(share), as_pixels, margins, steps), field) for share in shares]
            line = "-" if side <= SCALE else "--"
            axis.plot(100 * shares, values, line, color=colour, linewidth=1.7, label=str(side))
        axis.set_title("region with the paper's margins" if margins else "box as read")
        _share_axis(axis)
    axes[0].set_ylabel(label)
    axes[0].set_ylim(0, 1.03)
    axes[1].legend(title="image side, px", loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def _share_axis(axis) -> None:  # noqa: ANN001 - matplotlib is untyped
    axis.set_xscale("log")
    axis.set_xticks(TICKS, [str(tick) for tick in TICKS])
    axis.minorticks_off()
    axis.set_xlabel("side of the box, % of the image side")


def _models(steps: int) -> Figure:
    figure, axes = _panels(3, 11, 4.0, sharey=True)
    shares = np.geomspace(0.03, 0.9, 30)
    kinds = (
        ("0..1000 read as pixels", as_pixels, "#D55E00", "-"),
        ("translation by the same mean", translated, "#009E73", "--"),
        ("right and down by 20 % of the box", in_proportion, "#0072B2", ":"),
    )
    for axis, side in zip(axes, (800, 900, 1280), strict=True):
        for name, reading, colour, line in kinds:
            for margins, width, note in ((False, 1.2, "as read"), (True, 2.8, "with margins")):
                values = [kept(side, float(share), reading, margins, steps).coverage for share in shares]
                axis.plot(100 * shares, values, line, color=colour, linewidth=width, label=f"{name}, {note}")
        axis.set_title(f"image side {side} px (mean shift {mean_shift(side):+.0f} px)", fontsize=10)
        _share_axis(axis)
    axes[0].set_ylabel("share of the true box inside")
    axes[0].set_ylim(0, 1.03)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncol=3, fontsize=9, frameon=False)
    return figure


def _map(steps: int) -> Figure:
    figure, axes = _panels(2, sharey=True)
    sides = np.unique(np.concatenate([np.arange(512, 2049, 32), np.arange(960, 1041, 8)]))
    shares = np.geomspace(0.03, 0.9, 40)
    for axis, margins in zip(axes, (False, True), strict=True):
        values = [[kept(int(side), float(s), as_pixels, margins, steps).coverage for side in sides] for s in shares]
        drawn = axis.contourf(sides, 100 * shares, values, levels=np.linspace(0, 1, 21), cmap="cividis")
        levels, colours = (0.25, 0.5, 0.75, 0.95), ("white", "white", "black", "black")
        lines = axis.contour(sides, 100 * shares, values, levels=levels, colors=colours, linewidths=1)
        axis.clabel(lines, fmt="%.2f", fontsize=8)
        axis.set_yscale("log")
        axis.set_yticks(TICKS, [str(tick) for tick in TICKS])
        axis.minorticks_off()
        axis.set_xlabel("image side, px")
        axis.set_title("region with the paper's margins" if margins else "box as read")
        axis.grid(visible=False)
    axes[0].set_ylabel("side of the box, % of the image side")
    figure.colorbar(drawn, ax=axes, label="share of the true box inside", ticks=np.linspace(0, 1, 5))
    return figure


def _recall() -> Figure:
    figure, (gain, share) = _panels(2)
    sides = [512, 576, 640, 700, 750, 800, 850, 900, 925, 950, 975, 1000, 1024, 1050, 1100, 1200, 1280, 1400, 1536]
    looks = (("#D55E00", ":"), ("#009E73", "--"), ("#0072B2", "-."), ("black", "-"))
    for name, (colour, line) in zip(BANDS, looks, strict=True):
        found = [bound(side, name) for side in sides]
        points = [np.nan if one.gain is None else one.gain for one in found]
        gain.plot(sides, points, line, color=colour, label=name)
        share.plot(sides, [one.share for one in found], line, color=colour, label=name)
    gain.axhline(RECALL_WITH - RECALL_WITHOUT, color="0.4", linewidth=1)
    gain.text(520, RECALL_WITH - RECALL_WITHOUT + 0.3, "observed: 1.4", color="0.3", fontsize=9)
    gain.set_ylabel("points of recall that margins would bring\nif every image were misread")
    gain.set_title("a line ends where 71.5 is out of reach", fontsize=10)
    share.set_ylabel("largest share of misread images that\nthe paper's recalls leave room for")
    share.set_title("margins assumed to cost no recall", fontsize=10)
    share.set_ylim(0, 1.03)
    for axis in (gain, share):
        axis.set_xlabel("image side, px")
        axis.set_xlim(500, 1550)
        axis.axvline(SCALE, color="0.8", linewidth=1)
    share.legend(title="box, % of the side")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for the figures; without it only the tables are printed")
    args = parser.parse_args()
    for name, table in tables().items():
        print(f"\n{name}\n\n{table}")
    if args.out is not None:
        print("\n" + "\n".join(f"{path}: {path.stat().st_size} bytes" for path in draw(args.out)))


if __name__ == "__main__":
    main()
