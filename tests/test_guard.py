"""The guard in front of every backend: what comes out of it is checked, and what it raises has a type."""

from contextlib import asynccontextmanager

import numpy as np
import pytest
from counting_tools import CROP, IMAGE

from geoseg_agent import (
    ConfigError,
    InvalidReply,
    OutOfMemory,
    ToolFailed,
    WeightsMissing,
)
from geoseg_agent.guard import GuardedGrounder, GuardedToolbox
from geoseg_agent.types import GroundingReply, Query, Target
from geoseg_tools import Box, DeviceError, Masks, MemoryExhausted, ModelError, ToolError, WeightsError


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
    box = GuardedToolbox(Faulty(Masks.of(np.ones((2, 10, 20), dtype=bool), np.array([0.5, 0.6]), ("a note",))))
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


@pytest.mark.parametrize("outcome", [None, np.ones((1, 10, 20), dtype=bool), (1, 2)])
async def test_what_is_no_masks_is_a_tool_failure(outcome):
    box = GuardedToolbox(Faulty(outcome))
    async with box.encode(CROP) as handle:
        for call in (box.from_text(handle, "x"), box.from_points(handle, None, None)):
            with pytest.raises(ToolFailed, match="not Masks"):
                await call


async def test_an_object_on_nodata_alone_is_gone_with_its_score():
    stack = np.zeros((2, 10, 20), dtype=bool)
    stack[0, :, :5], stack[1, :, 15:] = True, True
    box = GuardedToolbox(Faulty(Masks.of(stack, np.array([0.9, 0.1]))))
    async with box.encode(CROP) as handle:
        masks = await box.from_text(handle, "x")

    assert masks.scores.tolist() == [0.9]
    assert len(masks) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (MemoryExhausted("cuda:0 ran out of memory", hint="smaller"), OutOfMemory),
        (DeviceError("there is no device 'tpu'", hint="this machine has cpu"), ConfigError),
        (ModelError("no such model", hint="known are"), ConfigError),
        (WeightsError("no weights", hint="set it"), WeightsMissing),
        (ToolError("NaN in the masks", hint="float32"), ToolFailed),
    ],
)
async def test_what_a_tool_says_keeps_its_words_and_its_remedy(fault, error):
    with pytest.raises(error, match=str(fault)) as caught:
        await GuardedToolbox(Faulty(fault)).similarity(CROP, "x")
    assert type(caught.value) is error
    assert caught.value.hint == fault.hint


async def test_nodata_is_cut_from_masks_of_another_resolution_too():
    box = GuardedToolbox(Faulty(Masks.of(np.ones((1, 5, 10), dtype=bool))))
    async with box.encode(CROP) as handle:
        masks = await box.from_points(handle, None, None)

    assert masks.size == CROP.size
    assert np.array_equal(masks.union(), CROP.valid)
