"""Make the examples: python traces/make_examples.py, with what the tests need.

Those called model are of the loopback server of the tests, which sees coloured rectangles; the others are of the
offline default on a drawn scene. They show the format and what replays, not how well anything grounds or segments.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import numpy as np  # noqa: E402 - the order of the others
from asking import BLUE, picture  # noqa: E402 - found only now
from mllm_server import MllmServer  # noqa: E402

from geoseg_agent import Agent, GeoSegError, Hints, Image, Settings  # noqa: E402
from geoseg_agent.errors import TraceIncomplete  # noqa: E402
from geoseg_agent.samples import scene  # noqa: E402
from geoseg_agent.trace.recover import recover  # noqa: E402
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


WHOLE = (0, 0, 512, 384)
FIELD = Hints(box=(20, 20, 120, 110), points=((60, 60), (25, 25, False)), phrase="field")
OFFLINE = {
    "one-target": ("Segment the lake.", None, {}),
    "many-targets": ("Segment all buildings.", None, {}),
    "implicit": ("Where could ducks swim?", None, {}),
    "not-found": ("Where is the hospital?", None, {}),
    "hints": ("the field here", FIELD, {}),
    "both": ("Segment the largest field.", None, {}),
    "points": ("Segment the trees.", Hints(box=WHOLE, phrase="tree"), {"gamma": 0.35}),
    "text": ("the thing in the box", Hints(box=(0, 89, 217, 384)), {}),
    "none": ("Segment the largest field.", None, {"gamma": 1.0}),
    "clicked": (None, Hints(points=((60, 60), (25, 25, False))), {}),
    "steady": ("Segment the lake.", None, {"stability": 2}),
    "variant": ("Segment the lake.", None, {"variant": "points"}),
    "failed": ("the hall", None, {"grounder": "scripted:script.json"}),
}
OVER = {"image": "*", "query": "the hall", "status": "found"}
OVER["targets"] = [{"box": [300, 300, 900, 380], "phrase": "hall"}]
KILLED = """
import asyncio, os
import make_examples
from geoseg_agent.toolbox import LocalToolbox
LocalToolbox.from_text = lambda *_: os._exit(9)
asyncio.run(make_examples.ask("Segment the fields.", None, {}))
"""


def lakeside():
    """The drawn scene, small."""
    return Image.from_array(scene(7, (384, 512)).pixels, name="lakeside-7")


async def ask(query, hints, values):
    """One query to the offline default, its trace in ./traces."""
    async with Agent(Settings(**{"traces": "traces", **values})) as agent:
        try:
            await agent.segment(lakeside(), query, hints=hints)
        except GeoSegError as error:
            print(f"{type(error).__name__}: {error}")


async def make_offline(name, query, hints, values, folder):
    Path("script.json").write_text(json.dumps({"replies": [OVER]}))
    await ask(query, hints, values)
    await keep(name, folder)


async def make_corrected(folder):
    """A point where the answer to a query should not be."""
    async with Agent(Settings(traces="none")) as quiet:
        first = await quiet.segment(lakeside(), "Segment the largest field.")
    y, x = (int(middle) for middle in np.argwhere(first.mask).mean(axis=0))
    async with Agent(Settings(traces="traces")) as agent:
        await agent.segment(lakeside(), previous=first, hints=Hints(points=((x, y, False), (60, 60))))
    await keep("corrected", folder)


async def make_interrupted(folder):
    """A process that is gone in the middle of a query, and what recovery makes of its journal."""
    here = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "traces"), os.environ.get("PYTHONPATH", "")))}
    subprocess.run([sys.executable, "-c", KILLED], check=False, env=here)
    recover(Path("traces"))
    try:
        await keep("interrupted", folder)
    except TraceIncomplete as error:
        print(error)


async def keep(name, folder):
    """Move the one trace that was made to the examples; it must replay, as far as it goes."""
    path = next(Path("traces").glob("*.json"))
    kept = path.replace(folder / f"{name}.json")
    print(kept)
    await replay(kept)


async def make(name, server_values, values, query, folder):
    """One query in a folder of its own; its trace becomes the example."""
    async with MllmServer("sglang", **server_values) as server:
        known = {"grounder": "openai", "base_url": server.base_url, "dialect": "json_schema", "traces": "traces"}
        async with Agent(Settings(**{**known, **values})) as agent:
            try:
                await agent.segment(picture(), query)
            except GeoSegError as error:
                print(f"{name}: {type(error).__name__}: {error}")
    await keep(name, folder)


async def main():
    folder = ROOT / "traces" / "examples"
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        for name, case in CASES.items():
            await make(name, *case, folder)
        for name, case in OFFLINE.items():
            await make_offline(name, *case, folder)
        await make_corrected(folder)
        await make_interrupted(folder)


if __name__ == "__main__":
    asyncio.run(main())
