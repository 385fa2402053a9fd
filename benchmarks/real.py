"""How good the configured grounder and tools are on real, labelled aerial images.

    python benchmarks/real.py [--data ../shared/data] [--json FILE]

Every record of `manifest.jsonl` is asked end to end through the public API (traces off), and once more with the
record's own boxes and phrase in place of the grounder. A query that fails or finds nothing counts as IoU 0. Beside
them stand trivial answers: the whole image, the centre box of half the side, and the given boxes filled.
Parameters are never tuned here. Means over records are dominated by the largest source, so the mean over sources and
the mean without water stand first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import spearmanr

from geoseg_agent import Agent, GeoSegError, Settings, read_image
from geoseg_agent.types import GroundingReply, Target
from geoseg_tools import Box

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geoseg_agent import Image
    from geoseg_agent.types import Query

HERE = Path(__file__).resolve()
COVERAGES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


@dataclass(frozen=True)
class Row:
    """One record's outcome; IoU per way of answering."""

    id: str
    level: int
    domain: str
    source: str
    water: bool
    megapixels: float
    seconds: float
    status: str
    confidence: float
    end_to_end: float
    given_boxes: float
    boxes_filled: float
    centre_box: float
    whole_image: float


class GivenBoxes:
    """A Grounder that answers with the boxes and the phrase of one record."""

    engine = "given-boxes"

    def __init__(self, boxes: list[list[int]], phrase: str) -> None:
        self.targets = tuple(Target(Box(*box), phrase) for box in boxes)

    async def ground(self, image: Image, query: Query) -> GroundingReply:
        return GroundingReply("found", self.targets)

    async def aclose(self) -> None:
        pass


def iou(a: np.ndarray, b: np.ndarray) -> float:
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 0.0


def filled(boxes: Iterable[list[int]], size: tuple[int, int]) -> np.ndarray:
    canvas = np.zeros(size, dtype=bool)
    for x1, y1, x2, y2 in boxes:
        canvas[y1:y2, x1:x2] = True
    return canvas


async def measure(record: dict[str, Any], folder: Path, agent: Agent) -> Row:
    truth = np.asarray(PIL.Image.open(folder / record["mask"])) > 0
    height, width = truth.shape
    started = time.perf_counter()
    try:
        answer = await agent.segment(folder / record["image"], record["query"])
        status, confidence, found = answer.status, answer.confidence or 0.0, answer.mask
    except GeoSegError as error:
        status, confidence, found = error.code, 0.0, np.zeros_like(truth)
    seconds = time.perf_counter() - started
    async with Agent(Settings(traces="none"), grounder=GivenBoxes(record["boxes"], record["phrase"])) as boxed:
        given = (await boxed.segment(read_image(folder / record["image"]), record["query"])).mask
    return Row(
        id=record["id"],
        level=record["level"],
        domain=record["domain"],
        source=record["source"],
        water="water" in record["phrase"] or record["phrase"] in {"lake", "pond"} or "pond" in record["phrase"],
        megapixels=height * width / 1e6,
        seconds=seconds,
        status=status,
        confidence=confidence,
        end_to_end=iou(found, truth),
        given_boxes=iou(given, truth),
        boxes_filled=iou(filled(record["boxes"], truth.shape), truth),
        centre_box=iou(filled([[width // 4, height // 4, width * 3 // 4, height * 3 // 4]], truth.shape), truth),
        whole_image=float(truth.mean()),
    )


WAYS = ("end_to_end", "given_boxes", "boxes_filled", "centre_box", "whole_image")


def means(rows: list[Row]) -> list[str]:
    return [f"{fmean(getattr(row, way) for row in rows):.3f}" for way in WAYS]


def groups(rows: list[Row]) -> Iterable[tuple[str, list[Row]]]:
    yield "all", rows
    yield "without water", [row for row in rows if not row.water]
    for field in ("level", "domain", "source"):
        parts: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            parts[str(getattr(row, field))].append(row)
        for name in sorted(parts):
            yield f"{field} {name[:44]}", parts[name]


def source_mean(rows: list[Row], way: str) -> float:
    parts: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        parts[row.source].append(getattr(row, way))
    return fmean(fmean(values) for values in parts.values())


def figures(rows: list[Row]) -> dict[str, float]:
    """The numbers that a bar can be set on."""
    small = [row.seconds for row in rows if row.megapixels <= 1.05]
    rank = spearmanr([row.confidence for row in rows], [row.end_to_end for row in rows]).statistic
    return {
        "mean IoU": fmean(row.end_to_end for row in rows),
        "mean over sources": source_mean(rows, "end_to_end"),
        "without water": fmean(row.end_to_end for row in rows if not row.water),
        "given boxes and phrases": fmean(row.given_boxes for row in rows),
        "given boxes, mean over sources": source_mean(rows, "given_boxes"),
        "Spearman of confidence": float(rank),
        "seconds, mean up to 1 Mpx": fmean(small),
        "seconds, worst up to 1 Mpx": max(small),
    }


def show(rows: list[Row], console: Console) -> None:
    table = Table("group", "n", *(way.replace("_", " ") for way in WAYS), title="mean IoU")
    for name, part in groups(rows):
        table.add_row(name, str(len(part)), *means(part))
    table.add_row("mean over sources", "", *(f"{source_mean(rows, way):.3f}" for way in WAYS))
    console.print(table)
    curve = Table("answered, by confidence", *(f"{share:.0%}" for share in COVERAGES), title="risk and coverage")
    ranked = sorted(rows, key=lambda row: -row.confidence)
    kept = [ranked[: max(1, round(share * len(rows)))] for share in COVERAGES]
    curve.add_row("mean IoU", *(f"{fmean(row.end_to_end for row in part):.3f}" for part in kept))
    curve.add_row("share under 0.2", *(f"{fmean(row.end_to_end < 0.2 for row in part):.2f}" for part in kept))
    console.print(curve)
    for name, value in figures(rows).items():
        console.print(f"{name:<32} {value:.3f}")
    console.print(f"{'not answered':<32} {sum(row.status != 'found' for row in rows)} of {len(rows)}")


async def run(folder: Path, console: Console) -> list[Row]:
    records = [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    async with Agent(Settings(traces="none")) as agent:
        return [await measure(record, folder, agent) for record in track(records, "asking", console=console)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=HERE.parents[2] / "shared" / "data", help="folder of the manifest"
    )
    parser.add_argument("--json", type=Path, help="also write every row and figure to this file")
    given = parser.parse_args()
    console = Console(width=150)
    if not (given.data / "manifest.jsonl").is_file():
        parser.error(f"{given.data} holds no manifest.jsonl; name the folder with --data")
    rows = asyncio.run(run(given.data, console))
    show(rows, console)
    if given.json:
        given.json.write_text(json.dumps({"figures": figures(rows), "rows": [asdict(row) for row in rows]}, indent=1))


if __name__ == "__main__":
    main()
