"""How long things live: models that load or are closed, encodings behind errors, pictures behind encodings."""

import asyncio
import gc
import time
import weakref
from functools import partial

import numpy as np
import pytest
from counting_tools import IMAGE, Slow, pairs

from geoseg_agent import (
    Agent,
    ConfigError,
    GeoSegError,
    Hints,
    Image,
    ImageError,
    Overloaded,
    Settings,
    ToolFailed,
)
from geoseg_agent.toolbox import LocalToolbox, Makers
from geoseg_tools import Masks, MemoryExhausted, ToolError


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
