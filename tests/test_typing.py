"""User code against the public API type-checks, and misuse does not."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

GOOD = """
import asyncio
from pathlib import Path

import numpy as np

from geoseg_agent import Agent, GeoSegError, Hints, Segmentation, Settings, read_image, segment
from geoseg_tools import Box, fuse, refine, topk_nms


async def ask() -> Segmentation:
    image = read_image("scene.tif", bands=(4, 3, 2))
    hints = Hints(box=Box(0, 0, 10, 10), phrase="hall")
    async with Agent(Settings(k=8, traces=Path("traces"))) as agent:
        first = await agent.segment(image, "the halls", hints=hints, deadline=3.0)
    second = await segment(np.zeros((8, 8, 3), dtype=np.uint8), "water", settings=Settings(profile="paper"))
    confidence: float | None = second.confidence
    print(first.mask.sum(), confidence, [t.box.area for t in first.targets], first.save("out"))
    return second


def tools() -> Box:
    heat = np.zeros((4, 4), dtype=np.float32)
    points = topk_nms(heat, (80, 80), k=3).points
    fused = fuse(np.zeros((2, 2), bool), np.zeros((2, 2), bool), has_keypoints=bool(len(points)))
    print(fused.rule, fused.mask.dtype)
    return refine(Box(1, 2, 3, 4), (10, 10))


try:
    asyncio.run(ask())
except GeoSegError as error:
    print(error.code, error.hint, error.retryable, error.trace_id)
"""
BAD = """
from geoseg_agent import Settings, segment
from geoseg_tools import Box, refine

Settings(profile="papers")
refine((0, 0, 1, 1), (10, 10))
segment(5, "water")
"""

pytestmark = pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")


def checked(tmp_path, code):
    (tmp_path / "user.py").write_text(code, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--cache-dir",
        str(tmp_path),
        "user.py",
    ]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout.splitlines()


def test_good_code_type_checks(tmp_path):
    assert checked(tmp_path, GOOD) == []


def test_misuse_is_caught(tmp_path):
    lines = [line.split(":")[1] for line in checked(tmp_path, BAD) if ": error:" in line]

    assert {"5", "6", "7"} <= set(lines)
