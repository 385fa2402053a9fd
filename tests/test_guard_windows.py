"""Nodata in a large region of an opened raster: looked for where masks are, and taken out of them all the same."""

import numpy as np
import pytest
from fakes import WordToolbox

from geoseg_agent.guard import WIDE, GuardedToolbox
from geoseg_tools import Box, Masks
from geoseg_tools.crop import Crop, Scene

SIDE = 2100
COARSE = 300


class Told(Scene):
    """An opened scene that says where its validity was asked for."""

    def __init__(self, *what):
        super().__init__(*what, opened=True)
        self.asked = []

    def seen(self, window):
        self.asked.append(window)
        return super().seen(window)


class Answers(WordToolbox):
    def __init__(self, masks):
        super().__init__()
        self.masks = masks

    async def from_text(self, handle, phrase):
        return self.masks


def a_scene(hole):
    valid = np.ones((SIDE, SIDE), bool)
    valid[hole.slices] = False
    return Told((SIDE, SIDE), "0" * 64, np.broadcast_to(np.uint8(9), (SIDE, SIDE, 3)).copy(), valid)


def stack(side, *boxes):
    masks = np.zeros((len(boxes), side, side), bool)
    for mask, box in zip(masks, boxes, strict=True):
        mask[box.slices] = True
    return masks


async def checked(scene, masks):
    assert SIDE**2 > WIDE
    tools = GuardedToolbox(Answers(masks))
    roi = Box(0, 0, SIDE, SIDE)
    try:
        async with tools.encode(Crop(scene, roi, roi)) as handle:
            return await tools.from_text(handle, "x")
    finally:
        await tools.aclose()


@pytest.mark.parametrize("side", [SIDE, COARSE])
async def test_only_what_masks_reach_is_looked_at(side):
    part = Box(10, 20, 110, 60)
    scene = a_scene(Box(2000, 2000, 2100, 2100))
    masks = Masks.of(stack(side, part))
    assert await checked(scene, masks) is masks
    assert scene.asked == [Box(*(value * SIDE // side for value in part))]


@pytest.mark.parametrize("side", [SIDE, COARSE])
async def test_nodata_under_a_mask_is_cut_out_and_an_object_on_nothing_else_is_gone(side):
    scene = a_scene(Box(0, 0, 70 * SIDE // side, 40 * SIDE // side))
    parts = Box(10, 20, 110, 60), Box(0, 0, 4, 4), Box(200, 200, 203, 203)
    found = await checked(scene, Masks.of(stack(side, *parts), np.array([0.9, 0.1, 0.5])))
    expected = stack(SIDE, *(Box(*(value * SIDE // side for value in parts[n])) for n in (0, 2))) & scene.valid
    assert np.array_equal(found.masks, expected)
    assert found.scores.tolist() == [0.9, 0.5]
    assert sum(window.area for window in scene.asked) < SIDE**2 / 5


async def test_masks_over_most_of_a_region_are_looked_at_as_a_whole():
    scene = a_scene(Box(0, 0, 500, 300))
    found = await checked(scene, Masks.of(stack(COARSE, Box(0, 0, COARSE, COARSE))))
    assert np.array_equal(found.union(), scene.valid)
    assert scene.asked == [Box(0, 0, SIDE, SIDE)]
