"""The cache of grounding replies: exact, shared between processes, never half-written, damage is a miss."""

import asyncio
import os
import subprocess
import sys

import numpy as np
import pytest

from geoseg_agent.grounding.cache import FileCache, key_of
from geoseg_agent.types import GroundingReply, Target
from geoseg_tools.geometry import Box

REPLY = GroundingReply(
    "found", (Target(Box(1, 2, 30, 40), "lake", 0.75, np.eye(38, 29, dtype=bool)),), "it is blue", ("a note",)
)
KEY = key_of({"query": "the lake"})


@pytest.fixture
async def cache(tmp_path):
    made = FileCache(tmp_path / "cache")
    yield made
    await made.aclose()


def same(a, b):
    return (
        (a.status, a.reasoning, a.notes) == (b.status, b.reasoning, b.notes)
        and [(t.box, t.phrase, t.confidence) for t in a.targets]
        == [(t.box, t.phrase, t.confidence) for t in b.targets]
        and all(np.array_equal(s.within, t.within) for s, t in zip(a.targets, b.targets, strict=True))
    )


async def test_what_is_put_comes_back(cache):
    assert await cache.get(KEY) is None
    await cache.put(KEY, REPLY)
    assert same(await cache.get(KEY), REPLY)


@pytest.mark.parametrize("damage", [b"", b"{", b"{}", b"null", b"\xff\xfe", b'{"schema_version": 2}'])
async def test_a_damaged_file_is_a_miss_and_can_be_replaced(cache, damage):
    await cache.put(KEY, REPLY)
    next(cache.folder.glob("*.json")).write_bytes(damage)
    assert await cache.get(KEY) is None
    await cache.put(KEY, REPLY)
    assert same(await cache.get(KEY), REPLY)


async def test_a_file_under_another_key_is_not_believed(cache):
    await cache.put(KEY, REPLY)
    other = key_of({"query": "the river"})
    next(cache.folder.glob("*.json")).rename(cache.folder / f"{other}.json")
    assert await cache.get(other) is None


async def test_a_folder_that_cannot_be_written_loses_the_reply_and_nothing_else(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = FileCache(tmp_path / "file" / "cache")
    await cache.put(KEY, REPLY)
    assert await cache.get(KEY) is None
    await cache.aclose()


def test_the_key_depends_on_every_part_and_not_on_their_order():
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert len({key_of({"a": 1}), key_of({"a": 2}), key_of({"b": 1}), key_of({})}) == 4


WRITER = """
import asyncio, sys
from pathlib import Path
from geoseg_agent.grounding.cache import FileCache
from geoseg_agent.types import GroundingReply, Target
from geoseg_tools.geometry import Box

async def main():
    cache = FileCache(Path(sys.argv[1]))
    for turn in range(60):
        targets = tuple(Target(Box(k, k, k + 9, k + 9), f"writer {sys.argv[2]}") for k in range(40))
        await cache.put(sys.argv[3], GroundingReply("found", targets))
        seen = await cache.get(sys.argv[3])
        assert seen is not None and len({t.phrase for t in seen.targets}) == 1, seen
    await cache.aclose()

asyncio.run(main())
"""


def test_processes_share_a_folder_and_never_see_half_a_reply(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    children = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(n), KEY], env=environment)
        for n in range(3)
    ]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


async def test_many_at_once_in_one_process(cache):
    async with asyncio.TaskGroup() as together:
        for _ in range(50):
            together.create_task(cache.put(KEY, REPLY))
    assert same(await cache.get(KEY), REPLY)
