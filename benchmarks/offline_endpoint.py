"""What a model's boxes are worth with the offline tools: an endpoint on loopback that knows the answers, nearly.

    PYTHONPATH=tests/support python benchmarks/offline_endpoint.py [--data ../shared/data] [--json FILE]

The server of the tests answers every query with the pair's boxes, each side moved by up to a tenth of its length, in
the frame that the model speaks, and calls each of them by a word that no lexicon holds. All else is the product:
grounder, parsing, frames, tools. Beside the answer stand the moved boxes filled. A query that fails counts 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllm_answers import decode
from mllm_server import MllmServer
from offline_ask import UNKNOWN, ask
from offline_sets import Row, filled, iou, load, records, shaken
from offline_tables import by_way, mean, over_sources
from rich.console import Console
from rich.progress import track
from rich.table import Table

if TYPE_CHECKING:
    from offline_sets import Pair

    from geoseg_tools import Box

HERE = Path(__file__).resolve()
SHARE = 0.1
MOST = 64
"""Most targets that an answer may have; of a pair with more boxes the largest are said."""


class Knowing:
    """A model that has seen the answers to the pair at hand."""

    def __init__(self) -> None:
        self.server = MllmServer(answer=self.say)
        self.size = (1, 1)
        self.boxes: list[Box] = []

    def say(self, asked: Any) -> dict[str, Any]:
        """Boxes of the image in pixels of the picture that was sent, and those in the frame that is spoken."""
        sent = decode(asked.picture).shape[:2]
        across, down = sent[1] / self.size[1], sent[0] / self.size[0]
        spoken = [
            self.server.speaks.say((x1 * across, y1 * down, x2 * across, y2 * down), sent)
            for x1, y1, x2, y2 in self.boxes
        ]
        targets = [{"bbox_2d": numbers, "label": UNKNOWN} for numbers in spoken]
        return {"status": "found", "targets": targets, "reasoning": "These are the ones."}


async def measure(pair: Pair, knowing: Knowing) -> list[Row]:
    said = sorted(shaken(pair, "jitter", SHARE, 0), key=lambda box: -box.area)[:MOST]
    knowing.size, knowing.boxes = pair.image.size, said
    answer = await ask(pair, grounder="openai", base_url=knowing.server.base_url, max_targets=MOST)
    more = {"answered": float(answer.answered), "said": len(said), "boxes": len(pair.boxes)}
    rows = {"asked": answer.mask, "the same boxes filled": filled(said, pair.image.size)}
    return [Row(way, pair.id, pair.source, iou(mask, pair.truth), more) for way, mask in rows.items()]


async def run(folder: Path, side: int | None, console: Console) -> list[Row]:
    knowing = Knowing()
    async with knowing.server:
        found = track(records(folder), "asking", console=console, transient=True)
        return [row for record in found for row in await measure(load(folder, record, side), knowing)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=HERE.parents[2] / "shared" / "data", help="folder of the manifest"
    )
    parser.add_argument("--side", type=int, help="reduce images to this long side; full size without it")
    parser.add_argument("--json", type=Path, help="also write every row and figure to this file")
    given = parser.parse_args()
    if not (given.data / "manifest.jsonl").is_file():
        parser.error(f"{given.data} holds no manifest.jsonl; name the folder with --data")
    console = Console(width=150)
    rows = asyncio.run(run(given.data, given.side, console))
    table = Table("mask", "n", "mean IoU", "over sources", title="boxes of an endpoint, off by up to 10 %, no phrase")
    ways = by_way(rows)
    figures = {way: {"mean": mean(part), "over sources": over_sources(part)} for way, part in ways.items()}
    for way, values in figures.items():
        table.add_row(way, str(len(ways[way])), *(f"{value:.3f}" for value in values.values()))
    console.print(table)
    asked = ways["asked"]
    answered = sum(row.more["answered"] for row in asked)
    cut = sum(row.more["said"] < row.more["boxes"] for row in asked)
    console.print(
        f"answered {answered:.0f} of {len(asked)}; {cut} pairs have more than {MOST} boxes, the largest were said"
    )
    if given.json:
        given.json.write_text(json.dumps({"figures": figures, "rows": [row._asdict() for row in rows]}, indent=1))


if __name__ == "__main__":
    main()
