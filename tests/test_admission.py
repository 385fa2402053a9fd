"""The gate: who waits, who is refused, and when time is up."""

import asyncio

import pytest

from geoseg_agent.admission import Gate
from geoseg_agent.errors import ConfigError, DeadlineExceeded, Overloaded


async def hold(gate, release, entered, deadline=None):
    async with gate.enter(deadline):
        entered.append(1)
        await release.wait()


async def test_no_more_run_than_allowed_and_all_get_their_turn():
    gate, most, running, done = Gate(3), 0, 0, []

    async def one(number):
        nonlocal most, running
        async with gate.enter(None):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            done.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(one(number))

    assert most == 3
    assert done == list(range(50))
    assert (gate.running, gate.waiting) == (0, 0)


@pytest.mark.parametrize("max_queued", [0, 1, 7])
async def test_with_max_queued_exactly_the_rest_is_refused(max_queued):
    gate, release, entered = Gate(4, max_queued), asyncio.Event(), []
    tasks = [asyncio.create_task(hold(gate, release, entered)) for _ in range(20)]
    for _ in range(5):
        await asyncio.sleep(0)
    release.set()
    outcomes = []
    for task in tasks:
        try:
            await task
            outcomes.append("answered")
        except Overloaded:
            outcomes.append("refused")

    assert outcomes == ["answered"] * (4 + max_queued) + ["refused"] * (16 - max_queued)
    assert (gate.running, gate.waiting) == (0, 0)


async def test_the_deadline_counts_from_admission():
    gate, release, entered = Gate(1), asyncio.Event(), []
    first = asyncio.create_task(hold(gate, release, entered))
    second = asyncio.create_task(hold(gate, release, entered, deadline=0.2))
    await asyncio.sleep(0.4)
    release.set()

    await first
    await second
    assert len(entered) == 2


async def test_a_deadline_names_its_length_and_frees_the_place():
    gate = Gate(1)
    with pytest.raises(DeadlineExceeded, match=r"0\.05 s"):
        async with gate.enter(0.05):
            await asyncio.sleep(5)

    async with gate.enter(1):
        assert gate.running == 1


async def test_a_timeout_that_is_not_ours_passes_through():
    gate = Gate(1)
    with pytest.raises(TimeoutError, match="somebody else's"):
        async with gate.enter(5):
            raise TimeoutError("somebody else's")
    assert gate.running == 0


async def test_cancelling_who_waits_leaves_no_trace():
    gate, release, entered = Gate(1), asyncio.Event(), []
    first = asyncio.create_task(hold(gate, release, entered))
    second = asyncio.create_task(hold(gate, release, entered))
    await asyncio.sleep(0)
    second.cancel()
    release.set()
    await first

    with pytest.raises(asyncio.CancelledError):
        await second
    assert (gate.running, gate.waiting, entered) == (0, 0, [1])


async def test_closing_ends_who_runs_and_refuses_who_waits():
    gate = Gate(max_running=2)
    ended = []

    async def query(name):
        try:
            async with gate.enter(60):
                await asyncio.sleep(60)
        except ConfigError as error:
            ended.append((name, str(error)))

    tasks = [asyncio.create_task(query(name)) for name in range(4)]
    await asyncio.sleep(0.01)
    assert (gate.running, gate.waiting) == (2, 2)
    await gate.close()
    assert gate.running == 0
    await asyncio.wait(tasks)
    assert sorted(name for name, _ in ended) == [0, 1, 2, 3]
    assert all("this Agent is closed" in said for _, said in ended)
    await gate.close()


async def test_closing_waits_for_what_cannot_be_hurried():
    gate, tidy = Gate(max_running=1), []

    async def query():
        async with gate.enter(None):
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.02)
                tidy.append("done")

    task = asyncio.create_task(query())
    await asyncio.sleep(0.01)
    await gate.close()
    assert tidy == ["done"]
    with pytest.raises(ConfigError):
        await task
