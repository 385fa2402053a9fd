"""`geoseg batch` over 500 scenes, one in twenty broken: kills, memory and pace, one process beside Ray.

    python benchmarks/batch.py [--scenes 500] [--side 256] [--engines local,ray] [--skip-kills]
    PYTHONPATH=tests/support python benchmarks/batch.py --paid --engines ''     the kills, with a model on loopback

Scenes are windows of the samples that the project draws. Each engine answers all of them in a process of its own,
whose memory, children included, is sampled. Then a batch is killed with SIGKILL at five moments and gone on with: it
must come to the same, have one ended trace per line, and with `--paid` ask nobody again for a reply that was on the
disk. Figures go to benchmarks/results, batch.json and batch.png; the exit status is 1 where something is not right.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import rasterio

from geoseg_agent.batch.results import ItemResult, load_results
from geoseg_agent.samples import KINDS, scene
from geoseg_agent.trace.recover import recover
from geoseg_agent.trace.resume import paid_replies
from geoseg_agent.trace.store import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from geoseg_agent.trace.model import Trace

QUERY = "buildings"
RESULTS = Path(__file__).parent / "results"
KILLS = (0.1, 0.3, 0.5, 0.7, 0.9)
BROKEN_EVERY = 20


def draw(folder: Path, count: int, side: int) -> int:
    """`count` scenes of `side` pixels, every twentieth broken; how many are good."""
    folder.mkdir()
    pictures = [scene(seed, kind=kind).pixels for seed, kind in product(range(2), KINDS)]
    random, good = np.random.default_rng(7), 0
    for number in range(count):
        path = folder / f"scene-{number:05d}.tif"
        pixels = pictures[number % len(pictures)]
        height, width = pixels.shape[:2]
        top, left = (int(random.integers(0, max(1, length - side))) for length in (height, width))
        window = pixels[top : top + side, left : left + side]
        if window.shape[0] < side:  # a larger scene than is drawn: the same, once more beside itself
            window = np.tile(window, (side // height + 1, side // width + 1, 1))[:side, :side]
        place = rasterio.Affine(0.5, 0, 400_000 + number * side, 0, -0.5, 5_600_000)
        profile = {"driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8"}
        with rasterio.open(path, "w", crs="EPSG:32633", transform=place, compress="deflate", **profile) as data:
            data.write(np.moveaxis(window, 2, 0))
        if number % BROKEN_EVERY == BROKEN_EVERY - 1:
            whole = path.read_bytes()
            path.write_bytes((whole[: len(whole) // 2], b"", b"no picture")[number // BROKEN_EVERY % 3])
        else:
            good += 1
    return good


def command(source: Path, out: Path, *more: str) -> list[str]:
    main = "from geoseg_agent.cli import main; main()"
    return [sys.executable, "-c", main, "batch", str(source), QUERY, "--out", str(out), *more]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GEOSEG_")}
    return kept | {"OMP_NUM_THREADS": "1"} | more


def lines_in(out: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return (out / "batch.jsonl").read_bytes().count(b"\n")
    return 0


def memory(process: psutil.Process) -> dict[str, float]:
    """MiB resident: of the process that was started, and of workers below it."""
    found = {"driver": process.memory_info().rss / 2**20, "workers": 0.0}
    for one in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if one.cmdline() and one.cmdline()[0].startswith("ray::Worker"):
                found["workers"] += one.memory_info().rss / 2**20
    return found


async def whole(source: Path, out: Path, engine: str, workers: int) -> dict[str, Any]:
    """One batch from start to end: seconds, samples of memory, pace once it runs."""
    more = () if engine == "local" else ("--engine", "ray", "--workers", str(workers))
    began = time.perf_counter()
    child = await asyncio.create_subprocess_exec(
        *command(source, out, *more), env=environment(), stdout=asyncio.subprocess.DEVNULL
    )
    samples: list[dict[str, float]] = []
    process = psutil.Process(child.pid)
    while child.returncode is None:
        with contextlib.suppress(psutil.Error):
            samples.append({"seconds": time.perf_counter() - began, "done": lines_in(out), **memory(process)})
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), 0.5)
    seconds = time.perf_counter() - began
    busy = [one for one in samples if 0 < one["done"] < samples[-1]["done"]]
    span = busy[-1]["seconds"] - busy[0]["seconds"] if len(busy) > 1 else 0
    rate = (busy[-1]["done"] - busy[0]["done"]) / span if span else None
    return {"code": child.returncode, "seconds": seconds, "per_second": rate, "samples": samples, **sizes(out)}


def sizes(out: Path) -> dict[str, float]:
    """Bytes per line of what a batch writes."""
    count = max(1, lines_in(out))
    kinds = {"traces": out / "traces", "outlines": out / "objects"}
    found = {
        f"bytes_{name}": sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) / count
        for name, path in kinds.items()
    }
    for name in ("batch.jsonl", "objects.gpkg"):
        path = out / name
        found[f"bytes_{name}"] = path.stat().st_size / count if path.exists() else 0
    return found


async def killed(source: Path, out: Path, count: int, **variables: str) -> AsyncIterator[int]:
    """The batch, killed at five moments and then left alone; yields after each start how often it was killed."""
    kills = 0
    quiet = asyncio.subprocess.DEVNULL
    for share in (*KILLS, None):
        child = await asyncio.create_subprocess_exec(
            *command(source, out), env=environment(**variables), stdout=quiet, stderr=quiet
        )
        if share is not None:
            while lines_in(out) < share * count and child.returncode is None:  # noqa: ASYNC110 - a disk has no bell
                await asyncio.sleep(0.02)
            if child.returncode is None:
                child.send_signal(signal.SIGKILL)
                kills += 1
        await child.wait()
        yield kills


def plain(out: Path) -> dict[str, ItemResult]:
    """The lines without what depends on when they were made."""
    apart = {"trace": None, "seconds": None, "objects": None}
    return {one.id: one.model_copy(update=apart) for one in load_results(out / "batch.jsonl")}


def ended(out: Path) -> int:
    """Traces that have ended, interrupted ones not counted."""
    return sum(load(path).status != "interrupted" for path in (out / "traces").glob("*/*.json"))


def figure(runs: dict[str, dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415 - only where something is drawn

    drawn = Figure(figsize=(9, 4), layout="constrained")
    axes = drawn.subplots(1, len(runs), squeeze=False)[0]
    for plot, (name, run) in zip(axes, runs.items(), strict=True):
        for kind in ("driver", "workers"):
            values = [one[kind] for one in run["samples"]]
            if any(values):
                plot.plot([one["done"] for one in run["samples"]], values, label=kind)
        plot.set(title=name, xlabel="items with a line", ylabel="resident memory, MiB", ylim=(0, None))
        plot.legend()
    drawn.savefig(path)


def recovered(out: Path) -> list[Trace]:
    """Every trace of a batch that nobody writes, journals of killed queries included."""
    for part in (out / "traces").glob("*"):
        recover(part)
    return [load(path) for path in (out / "traces").glob("*/*.json")]


def judged(out: Path, count: int, kills: int) -> list[str]:
    """What is wrong with a batch after its kills."""
    lines = list(load_results(out / "batch.jsonl"))
    traced, over = sum(one.trace is not None for one in lines), ended(out)
    print(f"killed {kills} times: {len(lines)} lines, {traced} with a trace, {over} ended traces")
    fine = kills == len(KILLS) and over == traced and len(lines) == count
    return [] if fine else ["after the kills something was computed twice, or is missing"]


async def paid(source: Path, folder: Path, count: int) -> list[str]:
    """The kills with a model on loopback, every scene with a question of its own: what is wrong."""
    from mllm_server import MllmServer  # noqa: PLC0415 - of the tests; only with --paid

    table, out = source / "t.csv", folder / "paid"
    queries = [f"the buildings of scene {number:05d}" for number in range(count)]
    rows = [f"scene-{number:05d}.tif,{query}" for number, query in enumerate(queries)]
    table.write_text("\n".join(["image,query", *rows]) + "\n")
    reply = '{"status": "found", "targets": [{"bbox_2d": [200, 200, 800, 800], "label": "building"}]}'
    on_disk: set[str] = set()
    again = begin = kills = 0
    async with MllmServer(script=lambda _: reply, delay=0.05) as server:
        variables = {"GEOSEG_BASE_URL": server.base_url, "GEOSEG_DIALECT": "json_schema"}
        async for kills in killed(table, out, count, **variables):  # noqa: B007 - the last one counts
            fresh = [one.raw.decode() for one in server.requests[begin:] if one.kind == "completion"]
            asked = [
                text[at : at + len(queries[0])] for text in fresh for at in [text.index("the buildings of scene")]
            ]
            again += sum(query in on_disk for query in asked)
            begin = len(server.requests)
            on_disk = {trace.query for trace in recovered(out) if paid_replies(trace)}
    print(f"paid: {server.completions} requests for {len(on_disk)} questions, {again} of a reply on the disk")
    return judged(out, count, kills) + (["paid: replies on the disk were asked for again"] if again else [])


async def measure(options: argparse.Namespace, folder: Path) -> int:
    source, runs, wrong = folder / "scenes", {}, []
    good = draw(source, options.scenes, options.side)
    for engine in filter(None, options.engines.split(",")):
        run = runs[engine] = await whole(source, folder / engine, engine, options.workers)
        found = Counter(one.status for one in load_results(folder / engine / "batch.jsonl"))
        rate = run["per_second"]
        peak = {kind: max(one[kind] for one in run["samples"]) for kind in ("driver", "workers")}
        pace = rate and round(rate, 2)
        print(f"{engine}: {run['seconds']:.1f} s, {pace} items a second, peak MiB {peak}, {dict(found)}")
        print("   bytes per item:", {name: round(value) for name, value in run.items() if name.startswith("bytes")})
        if run["code"] or found["failed"] != options.scenes - good or found.total() != options.scenes:
            wrong.append(f"{engine}: {dict(found)}, exit code {run['code']}")
    if {"local", "ray"} <= runs.keys() and plain(folder / "local") != plain(folder / "ray"):
        wrong.append("ray and local differ")
    if options.paid:
        wrong += await paid(source, folder, options.scenes)
    elif not options.skip_kills:
        async for kills in killed(source, folder / "killed", options.scenes):  # noqa: B007 - the last one counts
            recovered(folder / "killed")
        wrong += judged(folder / "killed", options.scenes, kills)
        if "local" in runs and plain(folder / "killed") != plain(folder / "local"):
            wrong.append("after the kills the batch is another")
    RESULTS.mkdir(exist_ok=True)
    if runs:
        figure(runs, RESULTS / "batch.png")
        (RESULTS / "batch.json").write_text(
            json.dumps({"scenes": options.scenes, "side": options.side, "runs": runs}, indent=1)
        )
    print("\n".join(wrong) or "all as it must be")
    return bool(wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--engines", default="local,ray")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--paid", action="store_true")
    parser.add_argument("--skip-kills", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(asyncio.run(measure(options, Path(folder))))


if __name__ == "__main__":
    main()
