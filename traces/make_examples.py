"""Make the examples in which a model was asked: python traces/make_examples.py, with what the tests need.

The model is the loopback server of the tests, which sees coloured rectangles: the examples show the format and what
replays, not how well any model grounds. The other examples were made by the offline default and are left alone.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from asking import BLUE, picture  # noqa: E402 - found only now
from mllm_server import MllmServer  # noqa: E402

from geoseg_agent import Agent, GeoSegError, Settings  # noqa: E402
from geoseg_agent.trace.replay import replay  # noqa: E402

FAR_OUT = '{"status": "found", "targets": [{"bbox_2d": [0, 0, 5000, 10], "label": "far out"}], "reasoning": ""}'
ELSEWHERE = '{"status": "found", "targets": [{"bbox_2d": [10, 10, 90, 90], "label": "corner"}], "reasoning": ""}'


def corrections():
    """A reviewer that wants the first target moved to the blue box, and then likes it."""
    scores = [3, 9]
    height, width = picture().size
    ends = [width, height, width, height]
    moved = [round(1000 * side / end) for side, end in zip(BLUE, ends, strict=True)]

    def review(_):
        verdict = {"target": 1, "verdict": "reground", "bbox_2d": moved, "label": "blue rectangle"}
        return {"verdicts": [verdict], "score": scores.pop(0), "reasoning": "It is the blue one that is meant."}

    return review


RED_FIRST = {"bbox_2d": [293, 156, 449, 391], "label": "red rectangle"}
TOLD = {"status": "found", "targets": [RED_FIRST], "reasoning": ""}
CASES = {
    "model": ({}, {}, "the red and the blue rectangle"),
    "model-reasked": ({"script": [f"```json\n{FAR_OUT}\n```"]}, {}, "the red rectangle"),
    "model-retried": ({"faults": {1: "503"}}, {}, "the red rectangle"),
    "model-samples": ({"script": [ELSEWHERE]}, {"samples": 3}, "the red rectangle"),
    "model-reviewed": (
        {"answer": TOLD, "review": corrections()},
        {"verify_rounds": 1},
        "the rectangle that is meant",
    ),
    "model-refused": ({"faults": "401"}, {}, "the red rectangle"),
}


async def make(name, server_values, values, query, folder):
    """One query in a folder of its own; its trace becomes the example."""
    async with MllmServer("sglang", **server_values) as server:
        known = {"grounder": "openai", "base_url": server.base_url, "dialect": "json_schema", "traces": "traces"}
        async with Agent(Settings(**{**known, **values})) as agent:
            try:
                await agent.segment(picture(), query)
            except GeoSegError as error:
                print(f"{name}: {type(error).__name__}: {error}")
    path = next(Path("traces").glob("*.json"))
    await replay(path)
    path.replace(folder / f"{name}.json")
    print(folder / f"{name}.json")


async def main():
    folder = ROOT / "traces" / "examples"
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        for name, case in CASES.items():
            await make(name, *case, folder)


asyncio.run(main())
