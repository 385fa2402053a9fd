"""Lanes: one at a time, in order, and what is cancelled before it starts never runs."""

import asyncio
import threading
import time

import pytest

from geoseg_agent.lanes import Lane, timed


@pytest.fixture
def lane():
    lane = Lane("test")
    yield lane
    lane.close()


async def test_jobs_run_one_at_a_time_in_order_on_one_thread(lane):
    log, inside = [], []

    def job(number):
        inside.append(1)
        assert len(inside) == 1
        log.append((number, threading.get_ident()))
        inside.pop()

    async with asyncio.TaskGroup() as group:
        for number in range(100):
            group.create_task(lane.run(job, number))

    assert [number for number, _ in log] == list(range(100))
    assert {thread for _, thread in log} != {threading.get_ident()}
    assert len({thread for _, thread in log}) == 1


async def test_a_job_cancelled_before_it_starts_is_never_run(lane):
    gate, ran = threading.Event(), []
    blocker = asyncio.create_task(lane.run(gate.wait))
    waiting = asyncio.create_task(lane.run(ran.append, "waited"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.set()
    await blocker
    await lane.run(ran.append, "next")

    assert ran == ["next"]


async def test_errors_of_a_job_reach_the_caller_and_spare_the_lane(lane):
    with pytest.raises(ZeroDivisionError):
        await lane.run(lambda: 1 // 0)

    assert await lane.run(lambda: 42) == 42


async def test_waiting_and_running_are_told_apart(lane):
    blocker = asyncio.create_task(lane.run(time.sleep, 0.1))
    await asyncio.sleep(0)
    with timed() as timing:
        await lane.run(time.sleep, 0.05)
    await blocker

    assert timing.waited >= 0.05
    assert 0.05 <= timing.took < timing.waited + 0.1


def test_closing_twice_is_safe():
    lane = Lane("once")
    lane.close()
    lane.close()
