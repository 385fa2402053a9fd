"""What margins do to boxes that are wrong in a known way, on real masks: the tables and figures of docs/mechanism.md.

    python benchmarks/mechanism.py [--data ../shared/data] [--out docs/mechanism] [--no-tools]

Every true box of the data set is shifted, scaled, jittered, or misread (0..1000 taken for pixels), widened by Eq. 2
of GeoSeg, and compared with the real mask: no model is asked, and nothing here is anyone's accuracy. Two oracles
segment perfectly inside the region; one knows which object is meant, the other takes everything of its class. Beside
them the offline tools get the same wrong boxes, on a part of the pairs. Figures show curves only, no image.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import PIL.Image

from geoseg_agent import Agent, Settings, read_image
from geoseg_agent.calibrate.offsets import size_class
from geoseg_agent.types import GroundingReply, Target
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from geoseg_agent import Image
    from geoseg_agent.types import Query

    Numbers = NDArray[np.float64]

HERE = Path(__file__).resolve()
DATA = HERE.parents[2] / "shared" / "data"
AGAIN = "images/oem_koeln_50_wgs84.tif"
"""The same scene as another, warped; not counted twice."""

NONE, PAPER = (0.0, 0.0), (0.2, 0.1)
GRID = tuple(round(0.05 * step, 2) for step in range(11))
CLASSES = ("small", "medium", "large")
DRAWS = 8
Error = Callable[["Numbers", "Numbers", np.random.Generator], "Numbers"]


class Record(NamedTuple):
    """One image-query pair.

    Attributes:
        id: of the manifest.
        size: (H, W).
        boxes: (n, 4) true boxes.
        sums: (H + 1, W + 1) number of pixels of the mask above and left: any rectangle in four look-ups.
        classes: of each box, by its share of the image.
        neighbours: whether the mask is a whole class, so that other objects of it are known.
    """

    id: str
    size: tuple[int, int]
    boxes: Numbers
    sums: NDArray[np.int64]
    classes: tuple[str, ...]
    neighbours: bool


class Measured(NamedTuple):
    """Means over boxes of a pair, then over pairs.

    Attributes:
        coverage: share of the true object inside the region: the IoU of an oracle that knows the object.
        crowd: IoU of an oracle that takes everything of the class inside the region; whole-class masks only.
        precision: share of the region that is the object.
    """

    coverage: float
    crowd: float
    precision: float


def load(folder: Path) -> list[Record]:
    found = []
    for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        if one["image"] == AGAIN:
            continue
        mask = np.asarray(PIL.Image.open(folder / one["mask"])) > 0
        sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.int64)
        sums[1:, 1:] = mask.cumsum(0).cumsum(1)
        boxes = np.array([box for box in one["boxes"] if mask[box[1] : box[3], box[0] : box[2]].any()], dtype=float)
        classes = tuple(size_class(Box(*map(int, box)), mask.shape) for box in boxes)
        found.append(Record(one["id"], mask.shape, boxes, sums, classes, one["mask_kind"] != "component"))
    return found


def shift(share: float) -> Error:
    """Right and down by a share of the box."""
    return lambda boxes, size, rng: boxes + share * _sides(boxes)


def scale(factor: float) -> Error:
    """About its centre."""
    return lambda boxes, size, rng: boxes + (factor - 1) / 2 * _sides(boxes) * np.array([-1, -1, 1, 1])


def jitter(spread: float) -> Error:
    """Each side on its own, normally distributed, in shares of the box."""
    return lambda boxes, size, rng: boxes + rng.normal(0, spread, boxes.shape) * _sides(boxes)


def unit(side: float) -> Error:
    """Said in 0..1000, read as pixels, had the longer side of the image `side` pixels."""
    return lambda boxes, size, rng: boxes * (1000 * size.max() / (side * size))[[1, 0, 1, 0]]


LEVELS: dict[str, tuple[Callable[[float], Error], tuple[float, ...], str]] = {
    "shift": (shift, (-0.4, -0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3, 0.4), "right and down by, shares of the box"),
    "scale": (scale, (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5), "side of the box, times the true one"),
    "jitter": (jitter, (0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3), "standard deviation of a side, shares of the box"),
    "unit": (unit, (512, 640, 800, 900, 950, 1000, 1024, 1100, 1280, 1536, 2048), "image side, px"),
}
CASES: dict[str, Error] = {
    "no error": shift(0),
    "shift 0.2": shift(0.2),
    "shift -0.2": shift(-0.2),
    "scale 0.7": scale(0.7),
    "scale 1.3": scale(1.3),
    "jitter 0.15": jitter(0.15),
    "unit, 810 px": unit(810),
    "unit, 1024 px": unit(1024),
}
SHOWN = ("no error", "shift 0.2", "scale 0.7", "jitter 0.15", "unit, 810 px")
LABEL = "Mechanism: made-up errors on real masks, perfect segmenters. Nobody's accuracy."
"""On every figure, for figures travel without their text."""

TOOL_CASES = ("no error", "shift 0.2", "unit, 810 px")
TOOL_MARGINS = (NONE, PAPER, (0.4, 0.2))
TOOL_BOXES, TOOL_PIXELS = 1, 600_000


def _sides(boxes: Numbers) -> Numbers:
    return np.tile(boxes[:, 2:] - boxes[:, :2], 2)


def regions(boxes: Numbers, size: tuple[int, int], alpha: float, beta: float) -> NDArray[np.int64]:
    """Eq. 2 on many boxes, as `geoseg_tools.geometry.refine` does it on one; outside of the image they are empty."""
    limits = np.array([size[1], size[0], size[1], size[0]])
    inside = np.clip(np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], axis=1), 0, limits)
    sides, tiny = np.maximum(inside[:, 2:] - inside[:, :2], 0), 1e-9
    low = np.floor(inside[:, :2] - alpha * sides + tiny)
    high = np.ceil(inside[:, 2:] + beta * sides - tiny)
    high = np.where((sides > 0).all(axis=1, keepdims=True), high, low)
    return np.clip(np.concatenate([low, high], axis=1), 0, limits).astype(np.int64)


def count(sums: NDArray[np.int64], boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pixels of the mask in each box; 0 in an inverted one."""
    x1, y1, x2, y2 = boxes.T
    x2, y2 = np.maximum(x1, x2), np.maximum(y1, y2)
    return sums[y2, x2] - sums[y1, x2] - sums[y2, x1] + sums[y1, x1]


def overlaps(record: Record, found: NDArray[np.int64]) -> tuple[Numbers, Numbers, Numbers]:
    """Coverage, crowd and precision of each region."""
    true = record.boxes.astype(np.int64)
    both = np.concatenate([np.maximum(found[:, :2], true[:, :2]), np.minimum(found[:, 2:], true[:, 2:])], axis=1)
    common, own, taken = (count(record.sums, boxes) for boxes in (both, true, found))
    area = (found[:, 2:] - found[:, :2]).prod(axis=1)
    return common / own, common / (own + taken - common), common / np.maximum(area, 1)


def measure(
    records: Sequence[Record], error: Error, margins: tuple[float, float], kind: str | None = None, draws: int = 1
) -> Measured:
    """All pairs under one error, the mean of so many draws; `kind` takes the boxes of one size class only."""
    rows, crowds = [], []
    for number, record in enumerate(records):
        which = np.array([kind in {None, one} for one in record.classes], dtype=bool)
        if not which.any():
            continue
        rng, size = np.random.default_rng(number), np.array(record.size, dtype=float)
        found = (regions(error(record.boxes, size, rng), record.size, *margins) for _ in range(draws))
        parts = [[part[which].mean() for part in overlaps(record, boxes)] for boxes in found]
        coverage, crowd, precision = np.mean(parts, axis=0)
        rows.append((coverage, precision))
        if record.neighbours:
            crowds.append(crowd)
    coverage, precision = np.mean(rows, axis=0)
    return Measured(float(coverage), float(np.mean(crowds)), float(precision))


def surface(records: Sequence[Record], name: str) -> dict[tuple[float, float], Measured]:
    draws = _draws(name)
    return {(a, b): measure(records, CASES[name], (a, b), None, draws) for a in GRID for b in GRID}


def _draws(name: str) -> int:
    return DRAWS if name.startswith("jitter") else 1


class Given:
    """A Grounder that answers with wrong boxes."""

    engine = "given-boxes"

    def __init__(self, boxes: Numbers, size: tuple[int, int], phrase: str) -> None:
        found = regions(boxes, size, 0, 0)
        kept = [Box(*map(int, box)) for box in found if box[2] > box[0] and box[3] > box[1]]
        self.targets = tuple(Target(box, phrase) for box in kept)

    async def ground(self, image: Image, query: Query) -> GroundingReply:
        return GroundingReply("found" if self.targets else "not_found", self.targets)

    async def aclose(self) -> None:
        pass


def with_tools(folder: Path, records: Sequence[Record]) -> tuple[dict[tuple[str, tuple[float, float]], float], int]:
    """Mean IoU of the offline tools by case and margins; and on how many pairs."""
    known = {record.id: record for record in records}
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    small = [one for one in lines if len(one["boxes"]) <= TOOL_BOXES and one["width"] * one["height"] <= TOOL_PIXELS]
    chosen = [one for one in small if one["id"] in known]
    images = {one["image"]: read_image(folder / one["image"]) for one in chosen}
    scores: dict[tuple[str, tuple[float, float]], list[float]] = defaultdict(list)

    async def run() -> None:
        for case in TOOL_CASES:
            for margins in TOOL_MARGINS:
                settings = Settings(traces="none", alpha=margins[0], beta=margins[1])
                for number, one in enumerate(chosen):
                    record, truth = known[one["id"]], np.asarray(PIL.Image.open(folder / one["mask"])) > 0
                    rng = np.random.default_rng([1, number])
                    boxes = CASES[case](record.boxes, np.array(record.size, dtype=float), rng)
                    grounder = Given(boxes, record.size, one["phrase"])
                    async with Agent(settings, grounder=grounder) as agent:
                        mask = (await agent.segment(images[one["image"]], one["query"])).mask
                    scores[case, margins].append(float((mask & truth).sum() / max((mask | truth).sum(), 1)))

    asyncio.run(run())
    return {key: float(np.mean(values)) for key, values in scores.items()}, len(chosen)


class Study(NamedTuple):
    """Everything computed."""

    records: list[Record]
    surfaces: dict[str, dict[tuple[float, float], Measured]]
    curves: dict[tuple[str, str], list[tuple[Measured, Measured]]]
    tools: dict[tuple[str, tuple[float, float]], float]
    tool_pairs: int


def study(folder: Path, *, tools: bool = True) -> Study:
    records = load(folder)
    surfaces = {name: surface(records, name) for name in CASES}
    curves = {
        (name, kind): [
            tuple(measure(records, make(level), margins, kind, _draws(name)) for margins in (NONE, PAPER))
            for level in levels
        ]
        for name, (make, levels, _) in LEVELS.items()
        for kind in CLASSES
    }
    scores, pairs = with_tools(folder, records) if tools else ({}, 0)
    return Study(records, surfaces, curves, scores, pairs)


def tables(made: Study) -> dict[str, str]:
    """Name to markdown, as the document quotes them."""
    rows = []
    for name, found in made.surfaces.items():
        best = max(found, key=lambda margins: found[margins].crowd)
        none, paper = found[NONE], found[PAPER]
        rows.append(
            [
                name,
                f"{none.coverage:.2f} / {none.crowd:.2f}",
                f"{paper.coverage:.2f} / {paper.crowd:.2f}",
                f"{none.precision:.2f} / {paper.precision:.2f}",
                f"{best[0]:g}, {best[1]:g}",
                f"{found[best].coverage:.2f} / {found[best].crowd:.2f}",
            ]
        )
    head = ["error", "no margins", "0.2, 0.1", "precision", "best margins for the crowd", "with them"]
    result = {"cases": _markdown(head, rows)}
    for name, (_, levels, label) in LEVELS.items():
        rows = [
            [
                kind,
                *(f"{b.coverage - a.coverage:+.2f} / {b.crowd - a.crowd:+.2f}" for a, b in made.curves[name, kind]),
            ]
            for kind in CLASSES
        ]
        result[name] = _markdown([label, *(f"{level:g}" for level in levels)], rows)
    if made.tools:
        rows = [[case, *(f"{made.tools[case, margins]:.3f}" for margins in TOOL_MARGINS)] for case in TOOL_CASES]
        result["tools"] = _markdown(["error", *(f"{a:g}, {b:g}" for a, b in TOOL_MARGINS)], rows)
    return result


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def draw(made: Study, folder: Path) -> Iterator[Path]:
    """Write the figures as PNG into `folder`, and say which."""
    from matplotlib import rc_context  # noqa: PLC0415 - the numbers do not need it

    folder.mkdir(parents=True, exist_ok=True)
    with rc_context({"axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10}):
        figures = {"surfaces": _surfaces(made), "gain": _gain(made)}
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png", dpi=85, metadata={"Software": None})
            yield folder / f"{name}.png"


def _figure(rows: int, columns: int, size: tuple[float, float], **options: str | bool) -> tuple[Figure, np.ndarray]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - as above
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def _surfaces(made: Study) -> Figure:
    figure, axes = _figure(2, len(SHOWN), (12.5, 5.4), sharex=True, sharey=True)
    for column, name in enumerate(SHOWN):
        for row, field in enumerate(("coverage", "crowd")):
            axis = axes[row, column]
            values = [[getattr(made.surfaces[name][alpha, beta], field) for alpha in GRID] for beta in GRID]
            drawn = axis.contourf(GRID, GRID, values, levels=np.linspace(0.2, 1, 33), cmap="cividis", extend="min")
            lines = axis.contour(GRID, GRID, values, levels=8, colors="white", linewidths=0.7)
            axis.clabel(lines, fmt="%.2f", fontsize=7)
            axis.plot(*PAPER, "o", color="#D55E00", markersize=6)
            if row == 0:
                axis.set_title(name)
            else:
                axis.set_xlabel("alpha (left, top)")
        axes[0, 0].set_ylabel("coverage\nbeta (right, bottom)")
        axes[1, 0].set_ylabel("IoU, all of the class taken\nbeta (right, bottom)")
    figure.colorbar(drawn, ax=axes, ticks=np.linspace(0.2, 1, 5))
    figure.suptitle(LABEL, fontsize=9)
    return figure


def _gain(made: Study) -> Figure:
    figure, axes = _figure(2, len(LEVELS), (12.5, 5.6), sharey="row", sharex="col")
    looks = zip(CLASSES, ("#0072B2", "#009E73", "#D55E00"), ("-", "--", "-."), strict=True)
    for kind, colour, line in looks:
        for column, (name, (_, levels, label)) in enumerate(LEVELS.items()):
            for row, field in enumerate(("coverage", "crowd")):
                axis = axes[row, column]
                gains = [getattr(b, field) - getattr(a, field) for a, b in made.curves[name, kind]]
                axis.plot(levels, gains, line, color=colour, marker=".", label=kind)
                axis.axhline(0, color="0.5", linewidth=0.8)
                axis.set_title(name if row == 0 else "")
                if row == 1:
                    axis.set_xlabel(label, fontsize=8)
    axes[0, 0].set_ylabel("coverage gained by 0.2, 0.1")
    axes[1, 0].set_ylabel("IoU gained (all of the class taken)")
    axes[0, -1].legend(title="objects", fontsize=9)
    figure.suptitle(LABEL, fontsize=9)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the manifest")
    parser.add_argument("--out", type=Path, help="folder for the figures; without it only the tables are printed")
    parser.add_argument("--no-tools", action="store_true", help="leave out the offline tools")
    args = parser.parse_args()
    if not (args.data / "manifest.jsonl").is_file():
        print(f"skipped: {args.data} holds no manifest.jsonl; name the folder with --data")
        return
    began = time.perf_counter()
    made = study(args.data, tools=not args.no_tools)
    boxes = sum(len(record.boxes) for record in made.records)
    print(f"{len(made.records)} pairs, {boxes} boxes; offline tools on {made.tool_pairs} pairs")
    for name, table in tables(made).items():
        print(f"\n{name}\n\n{table}")
    if args.out is not None:
        print("\n" + "\n".join(f"{path}: {path.stat().st_size} bytes" for path in draw(made, args.out)))
    print(f"\n{time.perf_counter() - began:.0f} seconds")


if __name__ == "__main__":
    main()
