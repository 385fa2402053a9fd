"""A region as large as a raster costs what lies in it, where that is possible; where not, it is refused in time."""

import tracemalloc

import numpy as np
import pytest
import rasterio
import rasters
from fakes import WordGrounder, WordToolbox, ask, scene

from geoseg_agent import Hints, ImageError
from geoseg_agent.imagery import Image, read_image
from geoseg_agent.instances import instances_of
from geoseg_agent.lanes import Lane
from geoseg_agent.method import Method
from geoseg_agent.regions import MOST_REGION, check_region
from geoseg_agent.routes import AT_ONCE, segment_target
from geoseg_agent.trace.replay import replay
from geoseg_agent.trace.tape import grounder_from_trace
from geoseg_agent.types import GroundingReply, Query, Target
from geoseg_tools import Box, Masks, Part, fuse

SIDE = 4000
WIDE = 12_000


@pytest.fixture
def mask():
    """Two small objects in a large region."""
    made = np.zeros((SIDE, SIDE), bool)
    made[3000:3050, 2000:2080] = True
    made[3100:3120, 2100:2110] = True
    return made


def test_objects_of_a_large_region_cost_no_labels_of_the_whole_of_it(mask):
    roi = Box(10, 20, 10 + SIDE, 20 + SIDE)
    tracemalloc.start()
    try:
        found = instances_of(mask, Masks(mask.shape), roi, 0.5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < mask.size / 4
    assert [one.box for one in found] == [Box(2010, 3020, 2090, 3070), Box(2110, 3120, 2120, 3140)]
    assert all(one.pixels.all() for one in found)


@pytest.mark.parametrize("rule", ["both", "points", "text"])
def test_a_fused_mask_is_a_new_array_with_the_pixels_of_the_rule(mask, rule):
    other = np.zeros_like(mask)
    other[3020:3110, 2000:2100] = True
    empty = np.zeros_like(mask)
    points, text = {"both": (mask, other), "points": (mask, empty), "text": (empty, mask)}[rule]
    fused = fuse(points, text, has_keypoints=True, gamma=0)
    assert fused.rule == rule
    assert np.array_equal(fused.mask, points & text if rule == "both" else mask)
    assert not any(np.shares_memory(fused.mask, given) for given in (points, text))


@pytest.fixture
def raster(tmp_path):
    """The path of a GeoTIFF of 144 megapixels of nothing, in a file of some kilobytes."""
    path = tmp_path / "wide.tif"
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "sparse_ok": True}
    layout |= {"crs": "EPSG:32632", "transform": rasters.UTM}
    rasterio.open(path, "w", driver="GTiff", width=WIDE, height=WIDE, count=3, dtype="uint8", **layout).close()
    return path


class NoTools(WordToolbox):
    def encode(self, crop):
        raise AssertionError(f"asked of {crop.roi}")


async def refused(folder, raster, hints, tools):
    query = None if hints.points else "both"
    error = await ask(str(folder), query, hints=hints, image=raster, toolbox=tools)
    assert isinstance(error, ImageError)
    assert "target 1 in wide.tif has 12000 x 12000 = 144,000,000 pixels" in error.message
    assert "give a box" in error.hint
    assert str((await replay(folder / f"{error.trace_id}.json")).error) == str(error)


async def test_a_region_too_large_is_refused_before_a_tool_is_asked_and_its_trace_replays(tmp_path, raster):
    await refused(tmp_path, raster, Hints(box=Box(0, 0, WIDE, WIDE), phrase="both"), NoTools())


async def test_what_a_grounder_said_of_a_region_too_large_is_had_again_without_asking(tmp_path, raster):
    class Once(WordGrounder):
        times = 0

        async def ground(self, image, query):
            self.times += 1
            return GroundingReply("found", (Target(Box(0, 0, 10_400, 11_500), "both"),))

    grounder = Once()
    error = await ask(str(tmp_path), "both", image=raster, toolbox=NoTools(), grounder=grounder)
    assert "its box (0, 0, 10400, 11500) with margins has 11440 x 12000 = 137,280,000 pixels" in error.message
    assert "set GEOSEG_MAX_PIXELS=137280000 where" in error.hint
    assert "GEOSEG_GROUNDER=replay:FILE" in error.hint
    again = grounder_from_trace(str(tmp_path / f"{error.trace_id}.json"))
    said = await again.ground(read_image(raster, max_pixels=137_280_000), Query("both"))
    assert (said.targets[0].box, grounder.times) == (Box(0, 0, 10_400, 11_500), 1)


async def test_a_correction_over_too_large_a_raster_says_what_goes_without_it(raster):
    hints = Hints(points=[(9, 9)], earlier=np.zeros((WIDE, WIDE), bool))
    error = await ask("none", None, hints=hints, image=raster, toolbox=NoTools())
    assert error.hint.startswith("leave the earlier mask out, and give the points with a box")


class Clicked(WordToolbox):
    """Answers a click with a square of a side."""

    def __init__(self, side):
        super().__init__()
        self.side = side

    async def from_points(self, handle, points, positive, earlier=None):
        box = Box(0, 0, self.side, self.side)
        return Masks(handle.size, (Part(box, np.ones(box.size, bool)),), np.array([0.5]))


async def test_a_click_is_answered_by_what_its_mask_reaches_over(tmp_path, raster):
    hints = Hints(points=[(9, 9)])
    answer = await ask("none", None, hints=hints, image=raster, toolbox=Clicked(30))
    assert answer.targets[0].areas.mask == 900
    await refused(tmp_path, raster, hints, Clicked(WIDE))


@pytest.mark.parametrize(("opened", "side", "max_pixels", "refused"), [
    (True, WIDE, 1, True),
    (True, WIDE, WIDE * WIDE, False),
    (True, 11_585, 1, False),
    (False, WIDE, 1, False),
])  # fmt: skip
def test_the_limit_is_of_rasters_that_are_opened_and_the_setting_raises_it(opened, side, max_pixels, refused):
    assert 11_585**2 <= MOST_REGION < WIDE**2
    image = Image.replayed((WIDE, WIDE), "0" * 64, opened=opened)
    try:
        check_region(image, Box(0, 0, side, side), 1, max_pixels)
    except ImageError:
        assert refused
    else:
        assert not refused


class CountingLane(Lane):
    """Counts its jobs."""

    def __init__(self):
        super().__init__("counting")
        self.jobs = 0

    async def run(self, job, *args, **kwargs):
        self.jobs += 1
        return await super().run(job, *args, **kwargs)


@pytest.mark.parametrize(("side", "pixels", "jobs"), [(2100, True, 1), (2000, True, 0), (2100, False, 0)])
async def test_a_large_region_is_fused_off_the_event_loop_with_the_same_result(side, pixels, jobs):
    assert 2000**2 < AT_ONCE < 2100**2
    image = scene(size=(side, side)) if pixels else Image.replayed((side, side), "0" * 64)
    asked = Method(), image, Target(Box(0, 0, side, side), "both"), Hints(), 1
    lane = CountingLane()
    try:
        apart, here = await segment_target(WordToolbox(), *asked, lane), await segment_target(WordToolbox(), *asked)
    finally:
        lane.close()
    assert lane.jobs == jobs
    assert here.areas == apart.areas
    assert np.array_equal(here.mask, apart.mask)
    assert [one.box for one in here.instances] == [one.box for one in apart.instances]
