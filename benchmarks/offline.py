"""How good the offline default is on real, labelled aerial images, by part and with every figure twice.

    python benchmarks/offline.py [--data ../shared/data] [--only boxes shaken clicks confidence cost] [--json FILE]

boxes       the pair's boxes in place of the grounder, with its phrase and with a word that no lexicon holds, beside
            the boxes filled; by either route alone; and single boxes, each against what it alone holds
shaken      the same boxes with their sides moved, without a phrase
clicks      the whole image and no query: each click goes where the largest error is deepest
confidence  end to end: how well the confidence ranks the answers, and what abstaining costs
cost        seconds at 0.8 MP, one query at a time, each in a new process, and the most memory held

All but the clicks ask through the public API. A query that fails counts 0. Parameters are never tuned here, and most
pairs are from one source: the mean over sources stands beside every mean over pairs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
from offline_ask import LASTING, PARTS, Job, costly, run
from offline_sets import Row, records
from offline_tables import SHOWN
from rich.console import Console
from rich.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from offline_ask import Part

HERE = Path(__file__).resolve()


def first_of_each_image(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({record["image"]: record for record in reversed(found)}.values())[::-1]


def in_processes(jobs: Sequence[Job], count: int, each: int | None = None) -> Iterator[tuple[Job, list[Row], float]]:
    """Every job's rows, as they come; a process ends after `each` of them."""
    # A child reads this before it loads numpy; more threads would only take turns.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, cv2.setNumThreads, (1,), max_tasks_per_child=each) as pool:
        for done in as_completed([pool.submit(run, job) for job in jobs]):
            yield done.result()


def measure(
    folder: Path, parts: Sequence[Part], console: Console, *, side: int | None, draws: int, count: int
) -> tuple[dict[Part, list[Row]], dict[Part, float]]:
    """Rows and most memory by part. The cost is measured last, and alone."""
    found = records(folder)
    rows: dict[Part, list[Row]] = {part: [] for part in parts}
    most: dict[Part, float] = defaultdict(float)
    together = [Job(part, folder, record, side, draws) for part in parts if part != "cost" for record in found]
    # The longest first, so that no process is left with one of them at the end.
    together.sort(key=lambda job: -len(job.record["boxes"]) * {"shaken": 20, "boxes": 4}.get(job.part, 0))
    timed = first_of_each_image(found) if "cost" in parts else []
    alone = [Job("cost", folder, record, side, draws, way) for way in costly() for record in timed]
    fresh, lasting = ([job for job in alone if (job.way == LASTING) is last] for last in (False, True))
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("asking", total=len(together) + len(alone))
        for jobs, processes, each in ((together, count, None), (fresh, 1, 1), (lasting, 1, None)):
            for job, new, peak in in_processes(jobs, processes, each) if jobs else ():
                rows[job.part] += new
                most[job.part] = max(most[job.part], peak)
                progress.advance(bar)
    order = {record["id"]: number for number, record in enumerate(found)}
    return {part: sorted(part_rows, key=lambda row: order[row.id]) for part, part_rows in rows.items()}, dict(most)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=HERE.parents[2] / "shared" / "data", help="folder of the manifest"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to measure")
    parser.add_argument("--side", type=int, help="reduce images to this long side; full size without it")
    parser.add_argument("--draws", type=int, default=5, help="how often each box is shaken")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--json", type=Path, help="also write every row and figure to this file")
    given = parser.parse_args()
    if not (given.data / "manifest.jsonl").is_file():
        parser.error(f"{given.data} holds no manifest.jsonl; name the folder with --data")
    if min(given.draws, given.jobs, given.side or 1) < 1:
        parser.error("--draws, --jobs and --side must be at least 1")
    console = Console(width=150)
    parts = [part for part in PARTS if part in given.only]
    rows, most = measure(given.data, parts, console, side=given.side, draws=given.draws, count=given.jobs)
    figures = {part: SHOWN[part](rows[part], console) for part in parts}
    console.print("most memory of a process, MB: " + ", ".join(f"{part} {most[part]:.0f}" for part in parts))
    if given.json:
        held = {part: [row._asdict() for row in part_rows] for part, part_rows in rows.items()}
        given.json.write_text(json.dumps({"figures": figures, "memory": most, "rows": held}, indent=1))


if __name__ == "__main__":
    main()
