"""How fast masks of another system are scored, and whether memory stays flat.

    python benchmarks/score.py [--pairs 2000] [--side 512] [--workers 1 2]

Pairs are generated: blobs as truth, a shifted and gnawed copy as the prediction, four pairs to an image. Each size of
run is a child process of its own, so that its peak memory is its own. Truths and predictions are PNG files; reading
them, and starting the workers, is part of what is timed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from geoseg_agent.bench.pairs import Pair
from geoseg_agent.bench.records import dump
from geoseg_agent.bench.scoring import score_folder
from geoseg_agent.bench.summary import summarise

WHOSE = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
KINDS = 40  # distinct masks; the files differ by name


class PngTruth:
    """An answer in a PNG file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> np.ndarray:
        return cv2.imread(str(self.path), cv2.IMREAD_UNCHANGED) > 0


def blobs(random: np.random.Generator, side: int) -> np.ndarray:
    noise = cv2.GaussianBlur(random.standard_normal((side, side)), (0, 0), side / random.uniform(12, 40))
    return noise > np.quantile(noise, random.uniform(0.6, 0.98))


def generate(folder: Path, pairs: int, side: int) -> None:
    random = np.random.default_rng(0)
    for name in ("truth", "prediction"):
        (folder / name).mkdir()
    kinds = []
    for _ in range(min(KINDS, pairs)):
        truth = blobs(random, side)
        moved = np.roll(truth, random.integers(-6, 7, 2), (0, 1)) & (random.random((side, side)) > 0.01)
        kinds.append([cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes() for mask in (truth, moved)])
    for number in range(pairs):
        truth, prediction = kinds[number % len(kinds)]
        (folder / "truth" / f"{number:05d}.png").write_bytes(truth)
        (folder / "prediction" / f"{number:05d}.png").write_bytes(prediction)


def measure(folder: Path, pairs: int, workers: int) -> dict[str, float]:
    asked = [
        Pair(
            id=f"{number:05d}",
            image=Path(f"{number // 4}.png"),
            query="the blobs",
            truth=PngTruth(folder / "truth" / f"{number:05d}.png"),
        )
        for number in range(pairs)
    ]
    started = time.perf_counter()
    results = []
    with (folder / f"results-{pairs}.jsonl").open("w", encoding="utf-8") as stream:
        for result in score_folder(asked, folder / "prediction", workers=workers):
            stream.write(dump(result))
            results.append(result)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    cpu = sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, WHOSE))
    started = time.perf_counter()
    mean = summarise(results).overall.metrics["iou"].value
    return {
        "pairs": len(results),
        "workers": workers,
        "pairs per second": round(len(results) / seconds, 1),
        "peak MiB": round(peak, 1),
        "largest worker MiB": round(children, 1) if workers > 1 else 0,
        "cpu ms per pair": round(1e3 * cpu / len(results), 1),
        "seconds to sum up": round(time.perf_counter() - started, 2),
        "mean IoU": round(mean, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        folder, pairs, workers = given.child
        print(json.dumps(measure(Path(folder), int(pairs), int(workers))))
        return
    with tempfile.TemporaryDirectory() as name:
        generate(Path(name), given.pairs, given.side)
        for workers in given.workers:
            for pairs in sorted({given.pairs // 4, given.pairs}):
                child = [sys.executable, __file__, "--child", name, str(pairs), str(workers)]
                print(subprocess.run(child, check=True, capture_output=True, text=True).stdout.strip())


if __name__ == "__main__":
    main()
