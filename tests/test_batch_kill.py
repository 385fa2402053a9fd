"""`geoseg batch` killed with replies in the air: nothing finished is computed again, nothing paid asked again."""

import asyncio
import json
import random
from pathlib import Path

from batch_data import lines, same
from bench_data import two_boxes
from command_line import here
from killing import asked, child, replies
from mllm_server import MllmServer

from geoseg_agent.trace.recover import recover
from geoseg_agent.trace.resume import paid_replies
from geoseg_agent.trace.store import load

KILLS = 2
PICTURES = 5
SUPPORT = Path(__file__).parent / "support"


def command(data, folder, server):
    """The arguments and the environment of a batch over the table of questions."""
    environment = {
        "GEOSEG_BASE_URL": server.base_url,
        "GEOSEG_DIALECT": "json_schema",
        "GEOSEG_TOOLS": "batch_data:tools",
    }
    return ("batch", str(data / "t.csv"), "--out", str(folder), "--concurrency", "2"), environment


def table(tmp_path):
    """Two questions on each picture, numbered, and two pictures that are none."""
    data = two_boxes(tmp_path / "data", pictures=PICTURES)
    (data / "bad.png").write_bytes(b"no picture")
    rows = [
        f"{number}.png,the {name} rectangle of picture {number}"
        for number in range(PICTURES)
        for name in ("red", "blue")
    ]
    rows[4:4] = ["bad.png,anything", "gone.png,anything"]
    (data / "t.csv").write_text("\n".join(["image,query", *rows]) + "\n")
    return data, [row.split(",")[1] for row in rows if "rectangle" in row]


async def started(data, folder, server):
    """A batch in a process that can be killed."""
    return await child(*command(data, folder, server), data.parent)


async def ended(data, folder, server):
    """A batch that nobody kills: it needs no process of its own."""
    arguments, environment = command(data, folder, server)
    done = await asyncio.to_thread(here, *arguments, **environment)
    assert done.returncode == 0, done.stderr
    return done


def paid_for(folder):
    """The queries with a reply on the disk."""
    for part in (folder / "traces").glob("*"):
        recover(part)
    return {one.query for path in (folder / "traces").glob("*/*.json") if paid_replies(one := load(path))}


async def test_after_kills_the_batch_is_the_same_and_no_reply_is_paid_for_twice(tmp_path):
    (data, queries), chance = table(tmp_path), random.Random(3)
    folder, whole = tmp_path / "batch", tmp_path / "whole"
    async with MllmServer(delay=0.15) as server:
        done = await ended(data, whole, server)
        assert f"{2 * PICTURES + 2} of {2 * PICTURES + 2} items: {2 * PICTURES} answered, 2 failed" in done.stdout
        assert "bad.png#" in done.stderr
        assert "(bad_image)" in done.stderr
        paid, finished = set(), {}
        for _ in range(KILLS):
            begin, before = len(server.requests), replies(folder / "traces")
            child = await started(data, folder, server)
            while replies(folder / "traces") <= before and child.returncode is None:  # noqa: ASYNC110 - a disk has no bell
                await asyncio.sleep(0.01)
            await asyncio.sleep(chance.uniform(0, 0.1))
            child.kill()
            await child.communicate()
            assert not paid & set(asked(server, queries, begin))
            paid = paid_for(folder)
            file = folder / "batch.jsonl"
            if file.exists() and not file.read_bytes().endswith(b"\n"):
                continue  # torn, as it may be; the next start cuts it off
            now = lines(folder)
            assert {name: now[name] for name in finished} == finished
            finished = now
        begin = len(server.requests)
        await ended(data, folder, server)
        assert sorted(asked(server, queries, begin)) == sorted(set(queries) - paid)
    assert 0 < len(paid) < len(queries)
    results = lines(folder)
    assert {name: results[name] for name in finished} == finished
    assert same(results) == same(lines(whole))
    one, other = (json.loads((path / "summary.json").read_text()) for path in (whole, folder))
    assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert not list((folder / "traces").glob("*/*.journal"))
