"""Local tools behind lanes, and the guard in front of every backend."""

import asyncio
import gc
import threading
import time
import weakref
from contextlib import asynccontextmanager
from functools import partial

import numpy as np
import pytest

from geoseg_agent import (
    Agent,
    ConfigError,
    GeoSegError,
    Hints,
    Image,
    ImageError,
    InvalidReply,
    OutOfMemory,
    Overloaded,
    Settings,
    ToolFailed,
    WeightsMissing,
)
from geoseg_agent.guard import GuardedGrounder, GuardedToolbox
from geoseg_agent.toolbox import LocalToolbox, Makers
from geoseg_agent.types import GroundingReply, Query, Target
from geoseg_tools import Box, DeviceError, Masks, MemoryExhausted, ModelError, ToolError, WeightsError

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
        return Masks.of(np.ones((1, *encoded.size), dtype=bool))

    def from_text(self, encoded, phrase):
        self._enter()
        return Masks.of(np.ones((1, *encoded.size), dtype=bool))


async def test_one_instance_is_entered_by_one_thread_only():
    tools = Counting()

    def made():
        return tools

    box = LocalToolbox("counting", [Makers(made, made)], defaults={})

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
    box = LocalToolbox("counting", [Makers(Counting, Counting)], defaults={}, max_encoded=3)
    alive, most = 0, 0

    async def use(number):
        nonlocal alive, most
        async with box.encode(IMAGE.crop(Box(number % 15, number // 15, 25, 15))):
            alive += 1
            most = max(most, alive)
            await asyncio.sleep(0.001)
            alive -= 1

    async with asyncio.TaskGroup() as group:
        for number in range(30):
            group.create_task(use(number))
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


class Slow(Counting):
    """A tool that takes its time and counts what it encoded."""

    def __init__(self):
        super().__init__()
        self.encoded = []
        self.weights = {"slow": "1" * 64}

    def encode(self, crop):
        time.sleep(0.01)
        self.encoded.append(crop.roi)
        return crop


def pairs(count):
    """Seats with a matcher and a segmenter of their own, and the instances once they are built."""
    built = []

    def make():
        built.append(Slow())
        return built[-1]

    return [Makers(partial(make), partial(make)) for _ in range(count)], built


async def test_nothing_is_built_before_it_is_needed_and_then_once():
    seats, built = pairs(2)
    box = LocalToolbox("slow", seats, defaults={})
    assert built == []
    assert box.weights == {}

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(box.warm_up())
    await box.warm_up()
    assert box.weights == {"slow": "1" * 64}
    await box.aclose()

    assert len(built) == 4


async def test_one_that_cannot_be_built_is_tried_again_by_the_next_query():
    tries = []

    def make():
        tries.append(1)
        if len(tries) == 1:
            raise WeightsError("there is no file", hint="set GEOSEG_SAM3_CHECKPOINT")
        return Slow()

    box = GuardedToolbox(LocalToolbox("slow", [Makers(make, make)], defaults={}))
    with pytest.raises(WeightsMissing, match="there is no file") as caught:
        await box.warm_up()
    assert caught.value.hint == "set GEOSEG_SAM3_CHECKPOINT"
    await box.warm_up()
    await box.aclose()


async def test_when_memory_runs_out_what_is_idle_is_let_go():
    class Full(Slow):
        def from_text(self, encoded, phrase):
            raise MemoryExhausted("cuda:0 ran out of memory")

    seats = [Makers(Full, Full)]
    box = LocalToolbox("full", seats, defaults={}, max_encoded=2, keep=True)
    async with box.encode(IMAGE.crop(Box(0, 0, 9, 9))):
        pass
    store = box._seats[0].encodings
    async with box.encode(CROP) as handle:
        assert IMAGE.crop(Box(0, 0, 9, 9)) in store
        with pytest.raises(MemoryExhausted):
            await box.from_text(handle, "x")
        assert CROP in store
    await box.aclose()

    assert IMAGE.crop(Box(0, 0, 9, 9)) not in store


class Loading:
    """Makers that take a moment, and what they made."""

    def __init__(self):
        self.made = []

    def __call__(self):
        time.sleep(0.2)
        self.made.append(Slow())
        return self.made[-1]

    def toolbox(self, **options):
        return LocalToolbox("slow", [Makers(self, partial(self))], defaults={}, **options)


HERE = Hints(box=(0, 0, 9, 9))
QUIET = Settings(traces="none")


async def test_closing_while_the_models_are_loaded_ends_those_who_wait_and_keeps_nothing():
    loading = Loading()
    box = loading.toolbox()
    agent = Agent(QUIET, toolbox=box)
    waiting = [asyncio.create_task(agent.segment(IMAGE, "x", hints=HERE)) for _ in range(3)]
    await asyncio.sleep(0.05)
    await agent.aclose()

    for task in waiting:
        with pytest.raises(ConfigError, match="this Agent is closed"):
            await asyncio.wait_for(task, 1)
    await asyncio.sleep(0.5)  # what is being loaded cannot be interrupted
    left = [weakref.ref(one) for one in loading.made]
    loading.made.clear()
    await asyncio.sleep(0.1)
    gc.collect()
    assert [one() for one in left] == [None, None]


async def test_a_closed_agent_says_so_with_tools_of_its_own():
    agent = Agent(QUIET)
    await agent.aclose()
    for call in (agent.segment(IMAGE, "the lake"), agent.warm_up()):
        with pytest.raises(ConfigError, match="this Agent is closed"):
            await call


async def test_tools_that_another_agent_closed_say_so():
    box = LocalToolbox("slow", pairs(1)[0], defaults={})
    async with Agent(QUIET, toolbox=box) as agent:
        await box.aclose()
        with pytest.raises(ToolFailed, match="these tools are closed"):
            await agent.segment(IMAGE, "x", hints=HERE)


async def test_loading_does_not_count_in_the_deadline_and_comes_after_the_door_and_the_image():
    loading = Loading()
    async with Agent(Settings(traces="none", max_running=1, max_queued=0), toolbox=loading.toolbox()) as agent:
        with pytest.raises(ImageError):
            await agent.segment("nowhere.tif", "x", hints=HERE)
        assert loading.made == []
        first = asyncio.create_task(agent.segment(IMAGE, "x", hints=HERE, deadline=0.15))
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded):
            await agent.segment(IMAGE, "x", hints=HERE)
        assert (await first).status == "found"


async def test_an_agent_with_other_constants_than_its_tools_is_refused():
    box = LocalToolbox("slow", pairs(1)[0], defaults={}, fixed={"text_threshold": 0.25})
    with pytest.raises(ConfigError, match=r"text_threshold 0.25, the settings say 0.5"):
        Agent(QUIET, toolbox=box)
    async with Agent(Settings(traces="none", text_threshold=0.25), toolbox=box) as agent:
        assert agent.method.text_threshold == 0.25


class Held:
    """An encoding that can be watched, of a tool that fails at the phrase."""

    def __init__(self, fault):
        self.fault = fault
        self.alive = weakref.WeakSet()

    def encode(self, crop):
        made = type("Encoded", (), {})()
        self.alive.add(made)
        return made

    def similarity(self, crop, phrase):
        return np.zeros((2, 2), dtype=np.float32)

    def from_points(self, encoded, points, positive):
        return Masks.of(np.ones((1, 9, 9), dtype=bool))

    def from_text(self, encoded, phrase):
        if isinstance(self.fault, float):
            time.sleep(self.fault)
        raise self.fault


@pytest.mark.parametrize("fault", [MemoryExhausted("full"), ToolError("NaN"), RuntimeError("kernel died"), 0.1])
@pytest.mark.parametrize("keep", [True, False])
async def test_who_keeps_an_error_keeps_no_encoding(fault, keep):
    tools = Held(fault)

    def make():
        return tools

    box = LocalToolbox("held", [Makers(make, make)], defaults={}, max_encoded=2, keep=keep)
    errors = []
    async with Agent(QUIET, toolbox=box) as agent:
        for x in range(6):
            with pytest.raises(GeoSegError) as caught:
                await agent.segment(IMAGE, "x", hints=Hints(box=(x, 0, x + 9, 9)), deadline=0.05 if keep else None)
            errors.append(caught.value)
        await asyncio.sleep(0.15)
        gc.collect()
        assert len(tools.alive) <= (2 if keep else 0)


async def test_an_idle_encoding_does_not_keep_the_picture_it_was_made_of():
    class Numbers(Slow):
        def encode(self, crop):
            return np.zeros(3)

        def from_text(self, encoded, phrase):
            return Masks.of(np.ones((1, 9, 9), dtype=bool))

        def from_points(self, encoded, points, positive):
            return Masks.of(np.ones((1, 9, 9), dtype=bool))

    box = LocalToolbox("numbers", [Makers(Numbers, Numbers)], defaults={}, keep=True, identity=lambda crop: crop.roi)
    picture = Image.from_array(np.zeros((20, 30, 3), dtype=np.uint8))
    async with Agent(QUIET, toolbox=box) as agent:
        await agent.segment(picture, "x", hints=HERE)
        pixels = weakref.ref(picture.scene.pixels)
        del picture
        gc.collect()
        assert len(box._seats[0].encodings._entries) == 1
        assert pixels() is None


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


async def test_matcher_and_segmenter_work_beside_each_other():
    seats, _ = pairs(1)
    box = LocalToolbox("slow", seats, defaults={})
    await box.warm_up()
    inside = threading.Barrier(2, timeout=5)

    def meet(*_):
        inside.wait()
        return np.zeros((2, 2), dtype=np.float32)

    seat = box._seats[0]
    async with asyncio.TaskGroup() as group:
        group.create_task(seat.matcher.run(meet))
        group.create_task(seat.segmenter.run(meet))
    await box.aclose()


async def test_work_is_spread_over_the_seats_and_a_crop_stays_where_it_is_encoded():
    seats, built = pairs(2)
    box = LocalToolbox("slow", seats, defaults={}, place="load", identity=lambda crop: crop.roi, keep=True)

    async def use(x):
        async with box.encode(IMAGE.crop(Box(x, 0, 25, 15))) as handle:
            await box.from_text(handle, "x")

    async with asyncio.TaskGroup() as group:
        for x in (0, 1, 2, 3, 0, 1, 2, 3):
            group.create_task(use(x))
    await box.aclose()

    encoded = [sorted(roi.x1 for roi in tool.encoded) for tool in built if tool.encoded]
    assert len(encoded) == 2
    assert sorted(encoded[0] + encoded[1]) == [0, 1, 2, 3]
    assert len(encoded[0]) == 2


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
