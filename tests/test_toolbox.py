"""Local tools behind lanes: built once, entered by one thread, spread over seats."""

import asyncio
import threading

import numpy as np
import pytest
from counting_tools import CROP, IMAGE, Counting, Slow, pairs

from geoseg_agent import (
    WeightsMissing,
)
from geoseg_agent.guard import GuardedToolbox
from geoseg_agent.toolbox import LocalToolbox, Makers
from geoseg_tools import Box, MemoryExhausted, WeightsError


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
