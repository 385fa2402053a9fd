"""Large regions in tiles: how far the answer is from that of the whole, and how much it depends on where tiles begin.

    PYTHONPATH=tests/support python benchmarks/tiling.py            minutes
    PYTHONPATH=tests/support python benchmarks/tiling.py --offsets 10

"even" is a tool that sees no farther than the margin (tests/support/even_tools.py): in tiles it must give what it
gives on the whole, to the pixel. "models" are the small random CLIP and SAM3 of the tests: they attend to a crop
as a whole, their weights mean nothing, and what is printed for them says how much a network may change with its
crop, not how good a mask is.

Of each: tiles, IoU of the united masks in tiles and on the whole, the objects of both, the worst share of the
region's pixels that changes over random offsets of the grid against the grid as it is, and milliseconds per tile,
encoding and phrase, on this machine.

Exits 1 where "even" differs from the whole by more than 0.005 of IoU, or by more than 0.5 % of the pixels between
two offsets.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from geoseg_agent.guard import GuardedToolbox
from geoseg_agent.settings import Settings
from geoseg_agent.tiles.grid import tiles_of
from geoseg_agent.tiling import TiledToolbox
from geoseg_agent.trace.live import iou

ALIKE, MOVED = 0.995, 0.005
NEEDS = "this needs the folder tests/support on PYTHONPATH"
SIDE = 112


async def figures(name: str, tools: Any, crop: Any, offsets: int) -> dict[str, Any]:
    """What tiles change for one toolset and the route of a phrase."""
    guarded = GuardedToolbox(tools)
    await guarded.warm_up()
    whole = await _asked(guarded, crop)
    began = perf_counter()
    as_is = await _asked(TiledToolbox(guarded, SIDE), crop)
    spent = perf_counter() - began
    count = len(tiles_of(crop.roi, SIDE, SIDE // 8))
    rng = np.random.default_rng(0)
    moved = []
    for origin in rng.integers(0, SIDE, (offsets, 2)):
        other = await _asked(TiledToolbox(guarded, SIDE, origin=(int(origin[0]), int(origin[1]))), crop)
        moved.append(float((other.union() != as_is.union()).mean()))
    return {
        "tools": name,
        "region": f"{crop.size[1]} x {crop.size[0]}",
        "tiles": count,
        "iou": iou(whole.union(), crop.roi, as_is.union(), crop.roi),
        "objects": f"{len(as_is)}, {len(whole)} on the whole",
        "covered": float(as_is.union().mean()),
        "worst": max(moved),
        "per tile": 1e3 * spent / count,
    }


async def _asked(tools: Any, crop: Any) -> Any:
    async with tools.encode(crop) as handle:
        return await tools.from_text(handle, "hall")


def _crops() -> tuple[Any, Any]:
    from even_tools import blobs, things, whole_of  # noqa: PLC0415 - of tests/support

    from geoseg_agent.imagery import Image  # noqa: PLC0415
    from geoseg_agent.samples import scene  # noqa: PLC0415

    large = whole_of(things((1200, 1600), blobs((1200, 1600), 400)))
    return large, whole_of(Image.from_array(np.array(scene(7, (256, 320)).pixels)))


async def _measure(offsets: int) -> list[dict[str, Any]]:
    from even_tools import even  # noqa: PLC0415 - of tests/support
    from small_models import MISSING, toolbox  # noqa: PLC0415

    large, small = _crops()
    rows = [await figures("even", even()[0], large, offsets)]
    if not MISSING:
        models = toolbox(Settings(text_threshold=0.1, traces="none"))
        rows.append(await figures("models", models, small, offsets))
    return rows


def main() -> int:
    """Measure, print, and say by the exit code whether the bounds hold."""
    parser = argparse.ArgumentParser(description="Large regions in tiles.")
    parser.add_argument("--offsets", type=int, default=50, help="random offsets of the grid")
    chosen = parser.parse_args()
    try:
        rows = asyncio.run(_measure(chosen.offsets))
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error}: {NEEDS}") from error
    table = Table(title=f"tiles of {SIDE} px, {chosen.offsets} offsets")
    names = ("tools", "region", "tiles", "IoU with the whole", "objects", "covered", "worst change", "ms per tile")
    for column in names:
        table.add_column(column)
    for one in rows:
        table.add_row(
            one["tools"],
            one["region"],
            str(one["tiles"]),
            f"{one['iou']:.4f}",
            one["objects"],
            f"{one['covered']:.1%}",
            f"{one['worst']:.3%}",
            f"{one['per tile']:.1f}",
        )
    Console().print(table)
    even = rows[0]
    return int(even["iou"] < ALIKE or even["worst"] > MOVED)


if __name__ == "__main__":
    sys.exit(main())
