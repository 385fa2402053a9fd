"""The store of encoded crops: each crop once, never more than allowed, nothing stuck whatever is cancelled."""

import asyncio
import random

import pytest

from geoseg_agent.encodings import Encodings


class Making:
    """Counts what is alive: an encoding lives from the start of its job until the store lets go of it."""

    def __init__(self, most, *, keep):
        self.store = Encodings(most, keep=keep)
        self.made = []
        self.running = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def encode(self, crop):
        self.running += 1
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            self.made.append(crop)
            return f"encoded {crop}"
        finally:
            self.running -= 1

    async def use(self, crop, turns=3):
        async with self.store.of(crop, lambda: self.encode(crop)) as encoded:
            for _ in range(turns):
                await asyncio.sleep(0)
            return encoded


@pytest.mark.parametrize("keep", [True, False])
async def test_those_who_ask_for_one_crop_at_once_share_its_encoding(keep):
    making = Making(2, keep=keep)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(making.use("a")) for _ in range(50)]

    assert making.made == ["a"]
    assert {task.result() for task in tasks} == {"encoded a"}


async def test_a_kept_encoding_serves_the_next_query_until_its_place_is_wanted():
    making = Making(2, keep=True)
    for crop in ("a", "b", "a", "c", "a", "b"):
        await making.use(crop)

    # c takes the place of b, which was idle the longest; then b takes that of c.
    assert making.made == ["a", "b", "c", "b"]


async def test_without_keeping_nothing_outlives_its_last_user():
    making = Making(2, keep=False)
    await making.use("a")
    assert "a" not in making.store
    await making.use("a")

    assert making.made == ["a", "a"]


async def test_no_more_are_alive_than_allowed_and_all_are_served():
    making = Making(3, keep=True)
    alive, most = set(), 0

    async def use(crop):
        nonlocal most
        async with making.store.of(crop, lambda: making.encode(crop)):
            alive.add(crop)
            most = max(most, len(alive))
            await asyncio.sleep(0.001)
            alive.discard(crop)

    async with asyncio.TaskGroup() as group:
        for crop in range(128):
            group.create_task(use(crop))

    assert most == 3
    assert sorted(making.made) == list(range(128))


async def test_who_gives_up_takes_nothing_away_from_those_who_wait():
    making = Making(1, keep=False)
    making.gate.clear()
    first, second = asyncio.create_task(making.use("a")), asyncio.create_task(making.use("a"))
    await asyncio.sleep(0.01)
    first.cancel()
    making.gate.set()

    assert await second == "encoded a"
    assert making.made == ["a"]


async def test_what_nobody_waits_for_any_more_is_not_made_and_gives_its_place_back():
    making = Making(1, keep=True)
    making.gate.clear()
    doomed = [asyncio.create_task(making.use(crop)) for crop in ("a", "a", "b")]
    await asyncio.sleep(0.01)
    for task in doomed:
        task.cancel()
    await asyncio.wait(doomed)
    making.gate.set()

    assert await asyncio.wait_for(making.use("c"), 1) == "encoded c"
    assert making.made == ["c"]


async def test_one_that_fails_fails_for_all_who_wait_and_is_made_again_for_the_next():
    making = Making(1, keep=True)

    async def broken():
        await asyncio.sleep(0.01)
        raise MemoryError("no room")

    async def use():
        async with making.store.of("a", broken):
            pass

    outcomes = await asyncio.wait([asyncio.create_task(use()) for _ in range(3)])
    assert {str(task.exception()) for task in outcomes[0]} == {"no room"}
    assert await asyncio.wait_for(making.use("a"), 1) == "encoded a"


async def test_what_is_idle_can_be_let_go_and_what_is_used_stays():
    making = Making(2, keep=True)
    await making.use("idle")
    async with making.store.of("used", lambda: making.encode("used")):
        making.store.forget_idle()
        assert "idle" not in making.store
        assert "used" in making.store
        assert await asyncio.wait_for(making.use("third"), 1) == "encoded third"


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_is_cancelled_or_fails_every_place_comes_back(seed):
    rng = random.Random(seed)
    making = Making(2, keep=bool(seed % 2))

    async def encode(crop):
        if rng.random() < 0.2:
            raise ValueError(crop)
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(0)
        return await making.encode(crop)

    async def use(crop):
        async with making.store.of(crop, lambda: encode(crop)):
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            assert making.running <= 2

    tasks = [asyncio.create_task(use(rng.randrange(6))) for _ in range(60)]
    for task in rng.sample(tasks, 25):
        for _ in range(rng.randrange(3)):
            await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait(tasks)
    faults = [task.exception() for task in tasks if not task.cancelled()]
    assert all(fault is None or isinstance(fault, ValueError) for fault in faults)

    x, y = making.store.of("x", lambda: making.encode("x")), making.store.of("y", lambda: making.encode("y"))
    async with asyncio.timeout(1), x, y:
        assert making.store.wanted == 2
