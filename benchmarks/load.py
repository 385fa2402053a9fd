"""Ten thousand queries at once on one Agent: all answered, no trace mixed up, memory bounded.

    python benchmarks/load.py [--queries 10000]

Grounding is scripted and the tools are trivial, so what is measured is the controller. Every trace is read back: its
steps must belong to its own query. The same queries are then asked one after the other and must give the same masks;
and with `max_queued` set, exactly those beyond the places and the queue must be refused.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from geoseg_agent import Agent, Image, Overloaded, Settings
from geoseg_agent.grounding.scripted import ScriptedGrounder
from geoseg_tools import Masks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from geoseg_agent import Segmentation
    from geoseg_tools import Crop

SIDE = 64


class TrivialTools:
    """A Toolbox whose answers are simple functions of the crop, so that a mix-up would show."""

    engine = "trivial"
    defaults: ClassVar[dict[str, Any]] = {}
    weights: ClassVar[dict[str, str]] = {}

    @asynccontextmanager
    async def encode(self, crop: Crop) -> AsyncIterator[Crop]:
        await asyncio.sleep(0)
        yield crop

    async def similarity(self, crop: Crop, phrase: str) -> np.ndarray:
        await asyncio.sleep(0)
        heat = np.zeros((4, 4), dtype=np.float32)
        heat[len(phrase) % 4, crop.roi.x1 % 4] = 1
        return heat

    async def from_points(self, handle: Crop, points: np.ndarray, positive: np.ndarray) -> Masks:
        await asyncio.sleep(0)
        return Masks.of(np.ones((1, *handle.size), dtype=bool), np.array([0.5]))

    async def from_text(self, handle: Crop, phrase: str) -> Masks:
        await asyncio.sleep(0)
        mask = np.zeros((1, *handle.size), dtype=bool)
        mask[:, : 1 + len(phrase) % handle.size[0]] = True
        return Masks.of(mask, np.array([0.5]))

    async def aclose(self) -> None:
        pass


def script(folder: Path, count: int) -> Path:
    """A reply of its own for every query: box and phrase follow from the number."""
    replies = [
        {
            "image": "*",
            "query": f"thing {n}",
            "status": "found",
            "targets": [{"box": [n % 30, n % 20, n % 30 + 20, n % 20 + 30], "phrase": "x" * (1 + n % 50)}],
        }
        for n in range(count)
    ]
    path = folder / "script.json"
    path.write_text(json.dumps({"replies": replies}), encoding="utf-8")
    return path


def foreign_steps(answer: Segmentation, number: int) -> int:
    """How many steps of the answer's trace do not belong to query `number`."""
    trace = json.loads(Path(str(answer.trace_path)).read_text(encoding="utf-8"))
    box = [number % 30, number % 20, number % 30 + 20, number % 20 + 30]
    wrong = trace["query"] != f"thing {number}" or len(trace["steps"]) != 5
    for step in trace["steps"]:
        asked = step["input"]
        wrong += asked.get("query", f"thing {number}") != f"thing {number}"
        wrong += asked.get("box", box) != box
        wrong += asked.get("phrase", "x" * (1 + number % 50)) != "x" * (1 + number % 50)
    return wrong


async def ask(agent: Agent, image: Image, number: int) -> Segmentation:
    return await agent.segment(image, f"thing {number}")


async def together(agent: Agent, image: Image, count: int) -> list[Segmentation | Overloaded]:
    async def one(number: int) -> Segmentation | Overloaded:
        try:
            return await ask(agent, image, number)
        except Overloaded as error:
            return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(count)]
    return [task.result() for task in tasks]


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def run(count: int, folder: Path) -> dict[str, float]:
    image = Image.from_array(np.zeros((SIDE, SIDE, 3), dtype=np.uint8))
    path = script(folder, count)
    settings = Settings(traces=folder / "traces")
    before = peak()
    async with Agent(settings, grounder=ScriptedGrounder(path), toolbox=TrivialTools()) as agent:
        started = time.perf_counter()
        answers = await together(agent, image, count)
        seconds = time.perf_counter() - started
    figures: dict[str, float] = {
        "asked": count,
        "answered": sum(not isinstance(answer, Overloaded) for answer in answers),
        "seconds": seconds,
        "queries a second": count / seconds,
        "peak MiB above start": peak() - before,
        "foreign steps": sum(foreign_steps(a, n) for n, a in enumerate(answers) if not isinstance(a, Overloaded)),
    }
    quiet = Settings(traces="none")
    async with Agent(quiet, grounder=ScriptedGrounder(path), toolbox=TrivialTools()) as agent:
        alone = [await ask(agent, image, number) for number in range(count)]
    figures["unlike the sequential answer"] = sum(
        isinstance(a, Overloaded) or not np.array_equal(a.mask, b.mask) or a.status != b.status
        for a, b in zip(answers, alone, strict=True)
    )
    queued = Settings(traces="none", max_running=64, max_queued=100)
    async with Agent(queued, grounder=ScriptedGrounder(path), toolbox=TrivialTools()) as agent:
        answers = await together(agent, image, count)
    figures["refused with max_running 64, max_queued 100"] = sum(isinstance(a, Overloaded) for a in answers)
    figures["refused by the rule"] = max(0, count - 164)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=10_000)
    count = parser.parse_args().queries
    with tempfile.TemporaryDirectory() as folder:
        for name, value in asyncio.run(run(count, Path(folder))).items():
            print(f"{name:<46} {value:,.1f}")


if __name__ == "__main__":
    main()
