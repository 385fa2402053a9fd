"""Confidence from changed copies: what is run again and what is not, with any tools, in the trace and out of it."""

from pathlib import Path

import numpy as np
import pytest
from fakes import WordGrounder, WordToolbox
from hypothesis import given
from hypothesis import strategies as st

from geoseg_agent import Agent, ConfigError, Hints, Image, Settings
from geoseg_agent.grounding.classical import ClassicalGrounder
from geoseg_agent.samples import scene
from geoseg_agent.trace.replay import replay, replay_live
from geoseg_agent.trace.store import load
from geoseg_agent.types import GroundingReply, Target
from geoseg_tools import Box, Masks, Scene, resize_nearest, whole
from geoseg_tools.stability import CHANGES, Change, changed, overlap, scaled_box, shrunk

EXAMPLES = Path(__file__).parents[1] / "traces" / "examples"
PIXELS = scene(7, (300, 400)).pixels
LAKE = Image.from_array(PIXELS, name="lake")


class Counted(ClassicalGrounder):
    """The offline grounder, and the sizes of what it was asked about."""

    def __init__(self):
        super().__init__()
        self.asked = []

    async def ground(self, image, query):
        self.asked.append(image.size)
        return await super().ground(image, query)


class Paid(WordGrounder):
    """Always the same box; every call costs."""

    def __init__(self):
        self.calls = 0

    async def ground(self, image, query):
        self.calls += 1
        return GroundingReply("found", (Target(Box(20, 10, 320, 240), query.text, 0.9),))


class BoxTools(WordToolbox):
    """The left half of every box; or, for "fickle", that of bright pictures only. Notes the boxes that it saw."""

    def __init__(self):
        super().__init__()
        self.boxes = []

    async def from_text(self, handle, phrase):
        self.boxes.append((handle.scene.size, tuple(handle.box)))
        mask = np.zeros((1, *handle.size), bool)
        if phrase != "fickle" or handle.scene.size != (180, 240):
            mask[0, :, : handle.size[1] // 2] = True
        return Masks.of(mask)


@pytest.mark.parametrize("runs", [2, 4])
async def test_the_offline_default_grounds_every_copy_anew(runs):
    grounder = Counted()
    async with Agent(Settings(traces="none", stability=runs), grounder=grounder) as one:
        answer = await one.segment(LAKE, "Segment the lake.")
    scales = [change.scale for change in CHANGES[runs]]
    assert grounder.asked == [(300, 400), *((round(300 * s), round(400 * s)) for s in scales)]
    assert 0.7 < answer.confidence <= 1


async def test_a_grounder_that_is_paid_is_asked_once_and_its_boxes_move_along():
    grounder, tools = Paid(), BoxTools()
    async with Agent(Settings(traces="none", stability=2), grounder=grounder, toolbox=tools) as one:
        answer = await one.segment(LAKE, "steady")
    assert grounder.calls == 1
    assert tools.boxes == [
        ((300, 400), (20, 10, 320, 240)),
        ((180, 240), (12, 6, 192, 144)),
        ((300, 400), (20, 10, 320, 240)),
    ]
    assert answer.confidence > 0.97
    assert answer.targets[0].target.confidence == 0.9


async def test_the_confidence_is_the_mean_agreement():
    async with Agent(Settings(traces="none", stability=2), grounder=Paid(), toolbox=BoxTools()) as one:
        fickle = await one.segment(LAKE, "fickle")
    assert fickle.confidence == 0.5


async def test_without_the_setting_nothing_is_run_again():
    tools = BoxTools()
    async with Agent(Settings(traces="none"), grounder=Paid(), toolbox=tools) as one:
        answer = await one.segment(LAKE, "steady")
    assert (len(tools.boxes), answer.confidence) == (1, 0.9)


async def test_an_empty_mask_has_no_confidence_and_no_copies():
    class Empty(BoxTools):
        async def from_text(self, handle, phrase):
            self.boxes.append(handle.size)
            return Masks(handle.size)

    tools = Empty()
    async with Agent(Settings(traces="none", stability=4), grounder=Paid(), toolbox=tools) as one:
        answer = await one.segment(LAKE, "anything")
    assert (answer.confidence, len(tools.boxes)) == (0.0, 1)


@pytest.mark.parametrize(
    ("query", "hints"),
    [
        ("Segment the lake.", None),
        (None, Hints(points=((60, 60),))),
        ("the thing", Hints(box=Box(20, 20, 120, 110), points=((60, 60), (25, 25, False)))),
        (None, Hints(points=((60, 60),), earlier=np.tri(300, 400) > 0)),
        ("Where is the hospital?", None),
    ],
)
async def test_one_step_holds_it_and_replays_without_the_image(tmp_path, query, hints):
    async with Agent(Settings(traces=tmp_path, stability=2)) as one:
        answer = await one.segment(LAKE, query, hints=hints)
    steps = [step for step in load(answer.trace_path).steps if step.seam == "stability"]
    again = (await replay(answer.trace_path)).answer
    assert (again.mask == answer.mask).all()
    assert again.confidence == answer.confidence
    if answer.status == "not_found":
        assert steps == []
    else:
        assert np.mean(steps[0].output.agreements) == answer.confidence
        assert load(answer.trace_path).steps[-1] == steps[0]
        assert (await replay_live(answer.trace_path, LAKE)).ious == (1.0,) * len(answer.targets)


async def test_a_tool_that_crashes_on_a_copy_costs_the_confidence_and_not_the_answer(tmp_path):
    class Small(BoxTools):
        async def from_text(self, handle, phrase):
            if handle.scene.size != (300, 400):
                raise ValueError("too small for me")
            return await super().from_text(handle, phrase)

    async with Agent(Settings(traces=tmp_path, stability=2), grounder=Paid(), toolbox=Small()) as one:
        answer = await one.segment(LAKE, "steady")
    assert answer.mask.any()
    assert answer.confidence == 0.9
    assert "could not be measured: text failed: ValueError: too small for me" in answer.notes[-1]
    assert load(answer.trace_path).steps[-1].error.code == "tool"
    assert (await replay(answer.trace_path)).answer.notes == answer.notes


async def test_what_is_lost_on_a_copy_was_not_found_again():
    pixels = np.full((2000, 2000, 3), 90, np.uint8)
    pixels[1000:1003, 1000:1003] = (220, 30, 30)

    class Red(BoxTools):
        working_side = 640

        async def from_text(self, handle, phrase):
            return Masks.of((handle.pixels[..., 0] > 150)[None])

    class Whole(Paid):
        async def ground(self, image, query):
            return GroundingReply("found", (Target(whole(image.size), "dot"),))

    chosen = Settings(traces="none", stability=2, gamma=0, variant="text")
    async with Agent(chosen, grounder=Whole(), toolbox=Red()) as one:
        answer = await one.segment(pixels, "dot")
    assert answer.mask.sum() == 9
    assert answer.confidence == 0.5  # lost on the smaller copy, the same on the darker one


async def test_a_small_region_is_not_shrunk_like_a_whole_image():
    class Side(BoxTools):
        working_side = 640

    tools = Side()
    image = np.zeros((3000, 2000, 3), np.uint8)
    async with Agent(Settings(traces="none", stability=2), grounder=Paid(), toolbox=tools) as one:
        await one.segment(image, "steady")
    assert [size for size, _ in tools.boxes] == [(3000, 2000), (1800, 1200), (3000, 2000)]


@pytest.mark.parametrize("name", ["both", "model", "clicked"])
async def test_a_trace_replays_whatever_the_environment_says(monkeypatch, name):
    monkeypatch.setenv("GEOSEG_STABILITY", "2")
    assert (await replay(EXAMPLES / f"{name}.json")).answer.mask.any()


@pytest.mark.parametrize("value", [1, 3, -2, "many"])
def test_only_2_or_4_copies_can_be_run(value):
    with pytest.raises(ConfigError, match="stability"):
        Settings(stability=value)


def test_the_environment_sets_it(monkeypatch):
    monkeypatch.setenv("GEOSEG_STABILITY", "4")
    assert Settings().stability == 4


# the copies themselves


def test_a_copy_is_smaller_or_has_other_tones_and_says_so_in_its_digest():
    valid = np.ones((300, 400), bool)
    valid[:100] = False
    original = Scene((300, 400), "d" * 64, PIXELS.copy(), valid)
    small, dark = changed(original, Change(scale=0.6)), changed(original, Change(gamma=1.25))
    assert small.size == (180, 240)
    assert (small.valid == shrunk(valid, (180, 240))).all()
    assert not small.valid[:59].any()
    assert small.valid[61:].all()
    assert dark.size == original.size
    assert (dark.pixels == np.round(255 * (original.pixels / 255) ** 1.25)).all()
    assert len({original.digest, small.digest, dark.digest, changed(original, Change(gamma=0.8)).digest}) == 4
    assert changed(original, Change(scale=0.6)).digest == small.digest


def test_tools_that_shrink_every_image_get_the_scale_of_what_they_see():
    large = Scene((1280, 960), "d" * 64, np.zeros((1280, 960, 3), np.uint8))
    assert changed(large, Change(scale=0.6), 0.5).size == (384, 288)
    assert changed(large, Change(gamma=0.8), 0.5).size == (1280, 960)
    assert changed(large, Change(scale=0.6)).size == (768, 576)


def test_the_smallest_image_has_copies():
    one = Scene((1, 2), "d" * 64, np.zeros((1, 2, 3), np.uint8))
    assert changed(one, Change(scale=0.6)).size == (1, 1)


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.3, 1), st.data())
def test_a_moved_box_is_inside_and_covers_its_place(height, width, scale, data):
    x1, y1 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = Box(x1, y1, data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height)))
    to = max(1, round(scale * height)), max(1, round(scale * width))
    moved = scaled_box(box, (height, width), to)
    assert moved.x2 <= to[1]
    assert moved.y2 <= to[0]
    assert moved.x1 * width <= box.x1 * to[1] < (moved.x1 + 1) * width
    assert (moved.x2 - 1) * width < box.x2 * to[1] <= moved.x2 * width


def test_overlap_is_intersection_over_union_at_the_size_of_the_copy():
    mask = np.zeros((60, 60), bool)
    mask[:30] = True
    assert overlap(mask, shrunk(mask, (30, 30))) == 1.0
    assert overlap(mask, ~shrunk(mask, (30, 30))) == 0.0
    assert overlap(mask, np.ones((30, 30), bool)) == 0.5
    assert overlap(mask[30:], np.zeros((10, 10), bool)) == 0.0
    assert overlap(mask, resize_nearest(np.tri(2) > 0, (60, 60))) == pytest.approx(1 / 4)
