"""`geoseg bench run` killed with its replies in the air: nothing that was paid for is asked for again."""

import asyncio
import json
import random

from bench_data import two_boxes
from command_line import here
from killing import asked, child, replies
from mllm_server import MllmServer

from geoseg_agent.bench.datasets import open_pairs
from geoseg_agent.trace.recover import recover
from geoseg_agent.trace.resume import paid_replies
from geoseg_agent.trace.store import load

KILLS = 3


def untimed(value):
    """A summary without anything in seconds."""
    if isinstance(value, dict):
        return {name: untimed(one) for name, one in value.items() if name not in {"seconds", "stages"}}
    return value


def command(data, folder, server):
    """The arguments and the environment of a run."""
    environment = {"GEOSEG_BASE_URL": server.base_url, "GEOSEG_DIALECT": "json_schema"}
    return ("bench", "run", str(data), "--out", str(folder), "--concurrency", "2"), environment


async def started(data, folder, server):
    """A run in a process that can be killed."""
    return await child(*command(data, folder, server), data.parent)


async def ended(data, folder, server):
    """A run that nobody kills: what it did is in its folder, and it needs no process of its own."""
    arguments, environment = command(data, folder, server)
    done = await asyncio.to_thread(here, *arguments, **environment)
    assert done.returncode == 0, done.stderr


def traces(folder):
    return [load(path) for path in (folder / "traces").glob("*.json")]


async def test_after_kills_the_summary_is_the_same_and_no_reply_is_paid_for_twice(tmp_path):
    data, chance = two_boxes(tmp_path / "data", pictures=6), random.Random(3)
    queries = [pair.query for pair in open_pairs(data)]
    run, in_vain = tmp_path / "run", 0
    async with MllmServer(delay=0.2) as server:
        await ended(data, tmp_path / "whole", server)
        assert sorted(asked(server, queries, 0)) == sorted(queries)
        paid = set()
        for _ in range(KILLS):
            begin, before = len(server.requests), replies(run / "traces")
            child = await started(data, run, server)
            while replies(run / "traces") <= before and child.returncode is None:  # noqa: ASYNC110 - a disk has no bell
                await asyncio.sleep(0.01)
            await asyncio.sleep(chance.uniform(0, 0.1))
            child.kill()
            await child.communicate()
            assert not paid & set(asked(server, queries, begin))
            if (run / "traces").is_dir():
                recover(run / "traces")
                paid = {trace.query for trace in traces(run) if paid_replies(trace)}
            in_vain += len(set(asked(server, queries, begin)) - paid)
        begin = len(server.requests)
        await ended(data, run, server)
        assert sorted(asked(server, queries, begin)) == sorted(set(queries) - paid)
    assert 0 < len(paid) < len(queries)
    assert in_vain <= 2 * KILLS
    one, other = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("whole", "run"))
    assert untimed(one) == untimed(other)
    complete = [trace.query for trace in traces(run) if trace.status != "interrupted"]
    assert sorted(complete) == sorted(queries)
    assert not list((run / "traces").glob("*.journal"))
