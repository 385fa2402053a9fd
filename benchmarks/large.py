"""One question on rasters of 10k, 20k and 40k pixels a side: seconds, memory, calls. Each query in a new process.

    PYTHONPATH=tests/support python benchmarks/large.py [--folder DIR] [--sides 10240 20480 40960] [--json FILE]

The rasters are drawn (`large_raster.py`) into a folder and kept there. Asked are: the lake, with the offline default;
the lake again with its box given, so that all sizes segment the very same region; the lake through an endpoint on
loopback, which knows where it is; and a hall of 240 x 150 px through an endpoint that sees it in the overview as a
few pixels, looks closer, and boxes it there: "off" is how far its box is from the truth, in pixels of the raster.
Time to open and answer is apart from the time that the files of the answer take; "core" is the processor time of
the answer. Sizes take turns, `--times` times, and the median of each is shown: other programs make one run uncertain.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from large_raster import HALL, box_mask, lake_mask, make
from mllm_answers import decode
from mllm_frames import Speaks
from mllm_server import MllmServer
from rich.console import Console
from rich.table import Table
from zoom_policy import Looker

from geoseg_agent import Agent, Hints, Settings
from geoseg_tools import Box

if TYPE_CHECKING:
    from collections.abc import Callable

    from large_raster import Made
    from numpy.typing import NDArray

    from geoseg_agent import Segmentation

WAYS = ("offline", "box given", "endpoint", "closer look")
SIDES = (10240, 20480, 40960)
HERE = Path(__file__).resolve()


async def ask(path: Path, lake: Box, way: str, base_url: str | None) -> dict[str, float]:
    """One query and its files, with what they took."""
    values: dict[str, Any] = {"grounder": "classical", "tools": "classical", "deadline": 3600.0}
    query = "Segment the lake."
    if way in {"endpoint", "closer look"}:
        values |= {"grounder": "openai", "base_url": base_url}
    if way == "closer look":
        query = "Segment the magenta hall."
    hints = Hints(box=Box(lake.x1 - 40, lake.y1 - 30, lake.x2 + 20, lake.y2 + 50)) if way == "box given" else None
    with tempfile.TemporaryDirectory() as folder:
        began, busy = time.perf_counter(), time.process_time()
        async with Agent(Settings(traces=Path(folder) / "traces", **values)) as agent:
            found = await agent.segment(path, query, hints=hints)
            answered, busy = time.perf_counter() - began, time.process_time() - busy
            peak_answer = _peak()
            began = time.perf_counter()
            files = found.save(Path(folder) / "out")
            saved = time.perf_counter() - began
        size = sum(file.stat().st_size for file in files.values())
    return {
        "seconds": answered,
        "core": busy,
        "saving": saved,
        "answer MB": peak_answer,
        "MB": _peak(),
        "files MB": size / 1e6,
        "IoU": _iou(found, (lambda box: box_mask(box, HALL)) if way == "closer look" else lake_mask, lake),
        "off": max(abs(a - b) for a, b in zip(found.targets[0].box, HALL, strict=True))
        if way == "closer look"
        else 0,
    }


def _iou(found: Segmentation, truth_in: Callable[[Box], NDArray[np.bool_]], extent: Box) -> float:
    """Against a thing that lies in `extent`, counted there and in the targets' regions: nowhere a whole canvas."""
    both = hit = 0
    for target in found.targets:
        both += int((truth_in(target.roi) & target.mask).sum())
        hit += int(target.mask.sum())
    total = int(truth_in(extent).sum())
    return both / (hit + total - both) if found.targets else 0.0


def _peak() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (1 << 20 if sys.platform == "darwin" else 1 << 10)


class Knowing:
    """A model that knows where the lake is, in the picture that it is sent."""

    def __init__(self) -> None:
        self.server = MllmServer(answer=self.say)
        self.side, self.lake = 1, Box(0, 0, 1, 1)

    def say(self, asked: Any) -> dict[str, Any]:
        sent = decode(asked.picture).shape[:2]
        scale = sent[1] / self.side
        numbers = self.server.speaks.say(tuple(scale * value for value in self.lake), sent)
        return {"status": "found", "targets": [{"bbox_2d": numbers, "label": "lake"}], "reasoning": "It is there."}


async def measure(made: Made, way: str) -> dict[str, float]:
    """One query in a process of its own; the endpoint is in this one."""
    knowing = Knowing()
    knowing.side, knowing.lake = made.side, made.lake
    server = knowing.server
    if way == "closer look":
        server = MllmServer(script=Looker(Speaks("norm1000"), widths=(12,), colour="magenta"))
    extent = made.hall if way == "closer look" else made.lake
    async with server:
        case = {"path": str(made.path), "lake": list(extent), "way": way, "base_url": server.base_url}
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            str(HERE),
            "--case",
            json.dumps(case),
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        said, _ = await child.communicate()
        if child.returncode:
            raise SystemExit(f"the query {case} failed")
        return {**json.loads(said.splitlines()[-1]), "calls": float(server.completions)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=HERE.parent / "results" / "large", help="for the rasters")
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES, help="pixels a side, at least 6000")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="how to ask")
    parser.add_argument("--times", type=int, default=3, help="how often each is asked")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        case = json.loads(given.case)
        print(json.dumps(asyncio.run(ask(Path(case["path"]), Box(*case["lake"]), case["way"], case["base_url"]))))
        return
    console = Console(width=130)
    for side in given.sides:
        with console.status(f"drawing {side} x {side}"):
            make(given.folder, side)
    runs: dict[tuple[int, str], list[dict[str, float]]] = defaultdict(list)
    for _ in range(given.times):
        for way in given.ways:
            for side in given.sides:
                with console.status(f"asking {side} x {side}, {way}"):
                    runs[side, way].append(asyncio.run(measure(make(given.folder, side), way)))
    rows: list[dict[str, Any]] = [
        {"side": side, "way": way, **{name: float(np.median([run[name] for run in found])) for name in found[0]}}
        for (side, way), found in sorted(runs.items(), key=lambda one: one[0][0])
    ]
    names = ("seconds", "core", "saving", "answer MB", "MB", "files MB", "IoU", "off", "calls")
    table = Table("side", "way", *names, title="one question on a large raster")
    for row in rows:
        table.add_row(str(row["side"]), row["way"], *(f"{row[name]:.2f}" for name in names))
    console.print(table)
    for way in given.ways:
        ratios = []
        for name in ("seconds", "core"):
            spent = np.array([row[name] for row in rows if row["way"] == way])
            ratios.append(f"{name} {spent.max() / spent.min():.2f}")
        console.print(f"{way}: slowest over fastest size, without the files: {', '.join(ratios)}")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
