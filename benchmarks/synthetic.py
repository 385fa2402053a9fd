"""How the configured grounder and tools do on the sample scenes, whose answers are known exactly.

    python benchmarks/synthetic.py [--seeds 3] [--kinds lakeside village farmland airport] [--json FILE]

Drawn scenes are not photographs: a number from here shows whether the pipeline runs and what moved, never how good it
is on imagery. For that there is `real.py`. A query that fails or finds nothing counts as IoU 0; beside the answer
stands the whole image as the trivial one.
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
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from geoseg_agent import Agent, GeoSegError, Settings
from geoseg_agent.samples import KINDS, scene

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geoseg_agent.samples import Kind, SampleQuery, SampleScene


@dataclass(frozen=True)
class Row:
    """One query's outcome."""

    scene: str
    query: str
    kind: str
    level: int
    status: str
    confidence: float
    iou: float
    whole_image: float
    seconds: float


async def measure(agent: Agent, made: SampleScene, query: SampleQuery) -> Row:
    started = time.perf_counter()
    status: str
    try:
        answer = await agent.segment(made.pixels, query.text)
        status, confidence, found = answer.status, answer.confidence or 0.0, answer.mask
    except GeoSegError as error:
        status, confidence, found = error.code, 0.0, np.zeros(made.size, dtype=np.bool_)
    seconds = time.perf_counter() - started
    overlap = np.count_nonzero(found & query.mask) / np.count_nonzero(found | query.mask)
    return Row(
        made.name,
        query.id,
        made.kind,
        query.level,
        status,
        confidence,
        overlap,
        float(query.mask.mean()),
        seconds,
    )


def groups(rows: list[Row]) -> Iterable[tuple[str, list[Row]]]:
    yield "all", rows
    for field in ("level", "kind", "query"):
        parts: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            parts[str(getattr(row, field))].append(row)
        for name in sorted(parts):
            yield f"{field} {name}", parts[name]


def show(rows: list[Row], console: Console) -> None:
    table = Table("group", "n", "mean IoU", "whole image", "answered", "seconds", title="sample scenes")
    for name, part in groups(rows):
        table.add_row(
            name,
            str(len(part)),
            f"{fmean(row.iou for row in part):.3f}",
            f"{fmean(row.whole_image for row in part):.3f}",
            f"{fmean(row.status == 'found' for row in part):.0%}",
            f"{fmean(row.seconds for row in part):.2f}",
        )
    console.print(table)


async def run(seeds: int, kinds: list[Kind], console: Console) -> list[Row]:
    wanted = [(seed, kind) for seed in range(seeds) for kind in kinds]
    rows = []
    async with Agent(Settings(traces="none")) as agent:
        for seed, kind in track(wanted, "asking", console=console):
            made = scene(seed, kind=kind)
            rows += [await measure(agent, made, query) for query in made.queries]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="scenes of each kind")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--json", type=Path, help="also write every row to this file")
    given = parser.parse_args()
    if given.seeds < 1:
        parser.error("--seeds must be at least 1")
    console = Console(width=110)
    rows = asyncio.run(run(given.seeds, given.kinds, console))
    show(rows, console)
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
