"""Paper, released code and default: each difference of docs/deviations.md on a case made for it."""

import numpy as np
import pytest
from fakes import WordGrounder, WordToolbox

from geoseg_agent import Agent, Image, Settings
from geoseg_agent.method import PROFILES
from geoseg_agent.types import GroundingReply, Target
from geoseg_tools import Box, Masks

IMAGE = Image.from_array(np.zeros((100, 100, 3), dtype=np.uint8))
PROFILE_NAMES = tuple(PROFILES)


class Boxed(WordGrounder):
    """One target in a given box."""

    def __init__(self, box):
        self.box = box

    async def ground(self, image, query):
        return GroundingReply("found", (Target(self.box, "hall"),))


class Told(WordToolbox):
    """Tools that give what they were told, and remember with which points they were asked."""

    def __init__(self, heat=None, points_mask=None, text_mask=None):
        super().__init__({})
        self.heat = np.zeros((8, 8), dtype=np.float32) if heat is None else heat
        self.given = points_mask, text_mask
        self.prompts = []

    async def similarity(self, crop, phrase):
        return self.heat

    async def from_points(self, handle, points, positive):
        self.prompts.append(points.tolist())
        return self._masks(handle.size, self.given[0])

    async def from_text(self, handle, phrase):
        return self._masks(handle.size, self.given[1])

    def _masks(self, size, area):
        flat = np.zeros(size[0] * size[1], dtype=bool)
        flat[: 0 if area is None else area] = True
        return Masks.of(flat.reshape(1, *size), np.ones(1))


async def target_of(profile, box=None, tools=None, **values):
    settings = Settings(profile=profile, traces="none", **values)
    async with Agent(settings, grounder=Boxed(box or Box(20, 20, 60, 60)), toolbox=tools or Told()) as agent:
        return (await agent.segment(IMAGE, "x")).targets[0]


def peaks():
    """One peak of 1, and one of 0.6, which is over tau = 0.3 and under the stock picker's 0.8."""
    heat = np.zeros((8, 8), dtype=np.float32)
    heat[2:4, 2:4], heat[6, 6] = 1.0, 0.6
    return heat


@pytest.mark.parametrize(
    ("profile", "roi"),
    [("default", (16, 16, 39, 39)), ("paper", (16, 16, 39, 39)), ("released-code", (16, 16, 38, 38))],
)
async def test_fractions_of_the_margins(profile, roi):
    # Margins of 3.4 and 1.7 px: the region is 16.6 to 38.7.
    assert tuple((await target_of(profile, Box(20, 20, 37, 37))).roi) == roi


@pytest.mark.parametrize(("profile", "side"), [("default", 16), ("paper", 4), ("released-code", 16)])
async def test_the_smallest_region(profile, side):
    assert (await target_of(profile, Box(50, 50, 52, 52))).roi.size == (side, side)


@pytest.mark.parametrize(("profile", "cells"), [("default", 2), ("paper", 2), ("released-code", 1)])
async def test_which_peaks_become_keypoints(profile, cells):
    found = await target_of(profile, tools=Told(peaks()))
    assert len(found.keypoints) == cells


@pytest.mark.parametrize(("profile", "count"), [("default", 0), ("paper", 0), ("released-code", 9)])
async def test_without_a_keypoint_route_a_is_invalid_or_starts_from_nine_points_about_the_centre(profile, count):
    tools = Told(points_mask=100, text_mask=50)
    found = await target_of(profile, tools=tools)

    assert len(found.keypoints) == count
    assert found.rule == ("both" if count else "text")
    if count:
        height, width = found.roi.size
        steps = (-2, 0, 2)
        around = sorted([width // 2 + i, height // 2 + j] for i in steps for j in steps)
        assert sorted(found.keypoints.points.tolist()) == around


@pytest.mark.parametrize(("profile", "calls"), [("default", [2]), ("paper", [2]), ("released-code", [1, 1])])
async def test_one_object_of_all_points_or_one_of_each(profile, calls):
    heat = peaks()
    heat[6:8, 6:8] = 0.9
    tools = Told(heat)
    await target_of(profile, tools=tools)
    assert [len(points) for points in tools.prompts] == calls


@pytest.mark.parametrize(("profile", "rule"), [("default", "none"), ("paper", "none"), ("released-code", "text")])
async def test_how_large_a_mask_must_be_to_count(profile, rule):
    # 0.2 % of the region; gamma is 1 %.
    found = await target_of(profile, tools=Told(text_mask=6))
    assert found.rule == rule


@pytest.mark.parametrize("profile", PROFILE_NAMES)
async def test_routes_that_share_no_pixel_leave_nothing_in_every_profile(profile):
    class Apart(Told):
        async def from_text(self, handle, phrase):
            return Masks.of(~(await super().from_points(handle, np.zeros((0, 2)), None)).masks)

    found = await target_of(profile, tools=Apart(peaks(), points_mask=600))
    assert found.rule == "both"
    assert not found.mask.any()


@pytest.mark.parametrize(("profile", "threshold"), [("default", 0.5), ("paper", 0.5), ("released-code", 0.25)])
def test_from_which_score_an_instance_counts(profile, threshold):
    method = Settings(profile=profile).method({})
    assert method.text_threshold == threshold
    assert method.text_mode == "instances"
    assert Settings(profile=profile, text_threshold=0.4).method({}).text_threshold == 0.4


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_a_toolset_has_a_say_under_the_default_profile_only(profile):
    found = Settings(profile=profile).method({"tau": 0.9, "text_threshold": 0.9})
    assert (found.tau, found.text_threshold) == (
        (0.9, 0.9) if profile == "default" else (PROFILES[profile].tau, PROFILES[profile].text_threshold)
    )
