"""Local tools behind lanes, and the guard in front of every backend."""

import asyncio
import threading
from contextlib import asynccontextmanager

import numpy as np
import pytest

from geoseg_agent import Image, InvalidReply, OutOfMemory, ToolFailed
from geoseg_agent.guard import GuardedGrounder, GuardedToolbox
from geoseg_agent.toolbox import LocalToolbox
from geoseg_agent.types import GroundingReply, Query, Target
from geoseg_tools import Box, Masks, ToolError

VALID = np.ones((20, 30), dtype=bool)
VALID[:, 15:] = False
IMAGE = Image.from_array(np.zeros((20, 30, 3), dtype=np.uint8), valid=VALID)
CROP = IMAGE.crop(Box(5, 5, 25, 15))


class Counting:
    """Tools that notice when two threads are inside at once."""

    def __init__(self):
        self.inside = 0
        self.threads = set()

    def _enter(self):
        self.inside += 1
        assert self.inside == 1
        self.threads.add(threading.get_ident())
        self.inside -= 1

    def encode(self, crop):
        self._enter()
        return crop

    def similarity(self, crop, phrase):
        self._enter()
        return np.zeros((2, 2), dtype=np.float32)

    def from_points(self, encoded, points, positive):
        self._enter()
        return Masks(np.ones((1, *encoded.size), dtype=bool))

    def from_text(self, encoded, phrase):
        self._enter()
        return Masks(np.ones((1, *encoded.size), dtype=bool))


async def test_one_instance_is_entered_by_one_thread_only():
    tools = Counting()
    box = LocalToolbox("counting", lambda: tools, defaults={})

    async def use():
        async with box.encode(CROP) as handle:
            await box.similarity(CROP, "x")
            await box.from_text(handle, "x")

    async with asyncio.TaskGroup() as group:
        for _ in range(40):
            group.create_task(use())
    await box.aclose()

    assert len(tools.threads) == 1


async def test_no_more_crops_are_encoded_than_allowed():
    box = LocalToolbox("counting", Counting, defaults={}, max_encoded=3)
    alive, most = 0, 0

    async def use():
        nonlocal alive, most
        async with box.encode(CROP):
            alive += 1
            most = max(most, alive)
            await asyncio.sleep(0.001)
            alive -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(30):
            group.create_task(use())
    await box.aclose()

    assert most == 3


class Faulty:
    """A Toolbox that does what it is told, wrongly or not."""

    engine = "faulty"
    defaults = {}
    weights = {}

    def __init__(self, outcome):
        self.outcome = outcome

    def _do(self):
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    @asynccontextmanager
    async def encode(self, crop):
        yield crop

    async def similarity(self, crop, phrase):
        return self._do()

    async def from_points(self, handle, points, positive):
        return self._do()

    async def from_text(self, handle, phrase):
        return self._do()

    async def aclose(self):
        pass


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (RuntimeError("kernel died"), ToolFailed),
        (ToolError("no"), ToolFailed),
        (MemoryError(), OutOfMemory),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), OutOfMemory),
    ],
)
async def test_a_crash_becomes_a_typed_error_with_its_cause(fault, error):
    box = GuardedToolbox(Faulty(fault))
    async with box.encode(CROP) as handle:
        for call in (box.similarity(CROP, "x"), box.from_text(handle, "x"), box.from_points(handle, None, None)):
            with pytest.raises(error) as caught:
                await call
            assert caught.value.__cause__ is fault


@pytest.mark.parametrize(
    "heat",
    [np.zeros(4, dtype=np.float32), np.zeros((0, 4), dtype=np.float32), np.array([[np.nan]], dtype=np.float32)],
)
async def test_a_malformed_grid_is_a_tool_failure(heat):
    with pytest.raises(ToolFailed, match="grid"):
        await GuardedToolbox(Faulty(heat)).similarity(CROP, "x")


async def test_no_mask_keeps_a_nodata_pixel():
    box = GuardedToolbox(Faulty(Masks(np.ones((2, 10, 20), dtype=bool), np.array([0.5, 0.6]), ("a note",))))
    async with box.encode(CROP) as handle:
        masks = await box.from_text(handle, "x")

    expected = np.zeros((10, 20), dtype=bool)
    expected[:, :10] = True
    assert np.array_equal(masks.masks, np.stack([expected, expected]))
    assert masks.notes == ("a note",)


class Outside:
    engine = "outside"

    def __init__(self, box):
        self.box = box

    async def ground(self, image, query):
        return GroundingReply("found", (Target(self.box, "hall"),))

    async def aclose(self):
        pass


async def test_a_box_over_the_edge_is_an_invalid_reply():
    with pytest.raises(InvalidReply, match=r"target 1.*30 x 20"):
        await GuardedGrounder(Outside(Box(0, 0, 31, 20))).ground(IMAGE, Query("x"))
    assert (await GuardedGrounder(Outside(Box(0, 0, 30, 20))).ground(IMAGE, Query("x"))).status == "found"
