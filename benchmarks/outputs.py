"""What saving an answer on a large raster takes: seconds and memory, with masks in a few regions of it.

The image is made block by block as it is looked at, as an opened raster would be, so the figures are those of the
outputs alone. Every size runs in a process of its own; growth is peak memory over what stands before, the answer's
own masks among it. Linux only: the peak is reset through /proc.

    python benchmarks/outputs.py [SIDE ...]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from geoseg_agent.answer import as_dict
from geoseg_agent.georeference import Georeference
from geoseg_agent.imagery import Image
from geoseg_agent.instances import instances_of
from geoseg_agent.segmentation import Segmentation
from geoseg_agent.types import Areas, Similarity, Target, TargetMask
from geoseg_tools import Box, Masks, Scene, topk_nms
from geoseg_tools.crop import View

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

UTM = Georeference("EPSG:32632", (0.1, 0.0, 500_000.0, 0.0, -0.1, 5_600_000.0))
SIDES = (10_240, 20_480, 40_960)
ROI = 4096
FORMATS = ("geojson", "gpkg", "fgb")
LIMIT_MB = 400


class Made(Scene):
    """A scene whose pixels are made when they are looked at, with a strip of nodata at the left edge."""

    def view(self, window: Box, at_least: tuple[int, int] | None = None) -> View:
        height, width = window.size if at_least is None else map(min, at_least, window.size)
        columns = window.x1 + np.arange(width) * window.width // width
        row = np.repeat((columns % 251).astype(np.uint8)[None, :, None], 3, axis=2)
        return View(np.repeat(row, height, axis=0), np.broadcast_to(columns >= 300, (height, width)))

    @property
    def has_pixels(self) -> bool:
        return True


def target(box: Box, seed: int) -> TargetMask:
    """Rings and specks on a lattice: holes, hundreds of instances, and blocks without anything."""
    y, x = np.ogrid[: box.height, : box.width]
    radius = np.hypot(y % 256 - 128, x % 256 - 128)
    mask = (radius < 90) & (radius > 30 + seed)
    mask[:, 1000:1010] = True
    area = int(np.count_nonzero(mask))
    return TargetMask(
        target=Target(box, "ring", None),
        roi=box,
        mask=mask,
        instances=instances_of(mask, Masks.of(mask[None]), box, 0.5),
        areas=Areas(area, area, area),
        rule="both",
        score=0.5,
        keypoints=topk_nms(np.zeros((4, 4), np.float32), box.size),
        similarity=Similarity(0.0, 1.0, 0.5),
    )


def corners(side: int) -> list[tuple[int, int]]:
    return [(512, 256), (side // 2, side // 3), (side - ROI, side - ROI)]


def answer(side: int, boxes: list[Box]) -> Segmentation:
    image = Image(Made((side, side), "0" * 64), "made.tif", georeference=UTM)
    targets = tuple(target(box, number) for number, box in enumerate(boxes))
    return Segmentation(image, "Where are the rings?", "found", targets, None, "benchmark", "", (), "0")


def memory(name: str) -> float:
    """VmRSS or VmHWM of this process in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def measured(work: Callable[[], T]) -> tuple[T, float, int]:
    """What `work` returns, its seconds, and how far memory rose above where it stood before, in MB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Linux: forget the peak until now
    before, began = memory("VmRSS"), time.perf_counter()
    done = work()
    return done, round(time.perf_counter() - began, 1), round(memory("VmHWM") - before)


def one(side: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        # The libraries are loaded before anything is counted.
        small = answer(256, [Box(0, 0, 256, 256)])
        small.save(Path(folder) / "small", formats=FORMATS)
        as_dict(small, {}, 0.0)
        given = answer(side, [Box(x, y, x + ROI, y + ROI) for x, y in corners(side)])
        held = memory("VmRSS")
        files, seconds, growth = measured(lambda: given.save(Path(folder) / "large", formats=FORMATS))
        told, json_seconds, json_growth = measured(lambda: as_dict(given, files, seconds))
        sizes = {path.name: path.stat().st_size for path in files.values()}
    return {
        "side": side,
        "answer_mb": round(held),
        "save_s": seconds,
        "save_growth_mb": growth,
        "json_s": json_seconds,
        "json_growth_mb": json_growth,
        "json_mask_chars": len(told["mask"]["counts"]),
        "bytes": sizes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sides", type=int, nargs="*", default=list(SIDES))
    parser.add_argument("--one", action="store_true", help="this size in this process")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.sides[0])))
        return
    failed = False
    for side in given.sides:
        command = [sys.executable, __file__, "--one", str(side)]
        told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        failed |= told["save_growth_mb"] > LIMIT_MB
        print(json.dumps(told), flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
