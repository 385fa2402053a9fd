"""Boxes that a model is asked for: every record once, what failed is listed, and a kill costs nothing."""

import asyncio
import json
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
from asking import BLUE, RED, picture
from canary import KEY
from mllm_server import MllmServer

from geoseg_agent import Settings
from geoseg_agent.bench.datasets import open_boxes, sample
from geoseg_agent.calibrate.ask import ask_boxes
from geoseg_agent.calibrate.box_pairs import Filled, as_pairs, pair_of, question_of
from geoseg_agent.calibrate.from_traces import read_traces, truths_of
from geoseg_agent.errors import DatasetError
from geoseg_agent.trace.replay import replay
from geoseg_agent.trace.store import load
from geoseg_tools.geometry import Box

ABSENT = '{"status": "not_found", "targets": [], "reasoning": "only fields here"}'
FAR = '{"status": "found", "targets": [{"bbox_2d": [809, 651, 1040, 807], "label": "blue"}], "reasoning": ""}'


@pytest.fixture
def data(tmp_path):
    """Two pictures of a red and a blue box: four records."""
    folder = tmp_path / "data"
    folder.mkdir()
    lines = []
    for name in ("a", "b"):
        pixels = np.array(picture().pixels)
        pixels[0, 0] = ord(name)
        PIL.Image.fromarray(pixels).save(folder / f"{name}.png")
        for kind, box in (("red-rectangle", RED), ("blue_rectangle", BLUE)):
            lines.append({"image": f"{name}.png", "class": kind, "boxes": [list(box)], "width": 1024, "height": 768})
    (folder / "boxes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return open_boxes(folder)


def settings(server, **values):
    return Settings(base_url=server.base_url, api_key=KEY, dialect="json_schema", attempts=3, **values)


async def test_every_record_is_asked_once_and_leaves_one_trace_that_replays(data, tmp_path):
    told = []
    async with MllmServer() as server:
        asked = await ask_boxes(data, list(data), tmp_path / "run", settings(server), told=told.append)
        assert server.completions == 4
        again = await ask_boxes(data, list(data), tmp_path / "run", settings(server))
        assert server.completions == 4
    assert again == asked
    assert [one.true for one in asked.said] == [(RED,), (BLUE,)] * 2
    assert all(one.predicted[0].iou(one.true[0]) > 0.95 and one.model == "qwen3-vl-8b" for one in asked.said)
    assert {(one.size, str(one.read)) for one in asked.said} == {((768, 1024), "norm1000")}
    assert len({one.image for one in asked.said}) == 2
    assert (asked.failed, asked.skipped, told[-1].done, told[-1].calls) == ({}, {}, 4, 4)
    traces = [load(path) for path in (tmp_path / "run" / "traces").glob("*.json")]
    assert len(traces) == 4
    for trace in traces:
        assert trace.engine.endswith("+box-only")
        assert (await replay(trace)).answer.mask.sum() == Box(*trace.result.targets[0].box).area


async def test_the_traces_are_read_without_asking_too(data, tmp_path):
    async with MllmServer() as server:
        asked = await ask_boxes(data, list(data), tmp_path / "run", settings(server))
    found = read_traces(tmp_path / "run" / "traces", truths_of(as_pairs(data)))
    assert sorted(found.said, key=str) == sorted(asked.said, key=str)


async def test_what_failed_is_listed_and_refused_replies_are_evidence(data, tmp_path):
    records = [one for one in data if one.class_name == "blue_rectangle"]
    missing = replace(records[1], id="missing", image=tmp_path / "none.png")
    async with MllmServer(script=[FAR] * 3) as server:
        asked = await ask_boxes(data, [*records, missing], tmp_path / "run", settings(server), concurrency=1)
        assert server.completions == 4
        assert set(asked.failed) == {records[0].id, "missing"}
        assert asked.failed[records[0].id].startswith("invalid_reply: ")
        assert asked.failed["missing"].startswith("bad_image: ")
        assert [one.refused for one in asked.said] == [True] * 3 + [False]
        mended = await ask_boxes(data, records, tmp_path / "two", settings(server), retry_failed=True)
    assert mended.failed == {}


async def test_a_failed_record_is_asked_again_only_where_that_is_wanted(data, tmp_path):
    async with MllmServer(faults={1: "401"}) as server:
        once = await ask_boxes(data, list(data), tmp_path / "run", settings(server), concurrency=1)
        assert (len(once.failed), server.completions) == (1, 4)
        assert (await ask_boxes(data, list(data), tmp_path / "run", settings(server))).failed == once.failed
        assert server.completions == 4
        again = await ask_boxes(data, list(data), tmp_path / "run", settings(server), retry_failed=True)
        assert (again.failed, server.completions) == ({}, 5)


async def test_what_a_kill_before_its_result_left_is_not_asked_again(data, tmp_path):
    async with MllmServer() as server:
        asked = await ask_boxes(data, list(data), tmp_path / "run", settings(server))
        (tmp_path / "run" / "results.jsonl").unlink()
        assert await ask_boxes(data, list(data), tmp_path / "run", settings(server)) == asked
        assert server.completions == 4


async def test_replies_of_a_query_that_was_killed_are_not_counted_beside_those_of_its_successor(data, tmp_path):
    """The query ends while the model is asked again after a refused reply, which stands in its journal."""
    records = [one for one in data if one.class_name == "blue_rectangle"][:1]
    second = asyncio.Event()

    def delay(asked):
        if asked.attempt < 2:
            return 0
        second.set()
        return 30

    async with MllmServer(script=[FAR], delay=delay) as server:
        task = asyncio.create_task(ask_boxes(data, records, tmp_path / "run", settings(server)))
        await second.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with MllmServer() as server:
        asked = await ask_boxes(data, records, tmp_path / "run", settings(server))
    assert [one.refused for one in asked.said].count(False) == 1
    found = read_traces(tmp_path / "run" / "traces", truths_of(as_pairs(data)))
    assert len(found.said) == len(asked.said)
    assert found.skipped == {"interrupted": 1}


async def test_another_model_or_sample_wants_another_folder(data, tmp_path):
    async with MllmServer() as server:
        await ask_boxes(data, list(data), tmp_path / "run", settings(server))
        with pytest.raises(DatasetError, match="not the same"):
            await ask_boxes(data, sample(data, 2, 0), tmp_path / "run", settings(server))
        with pytest.raises(DatasetError, match=r"settings\.frame"):
            await ask_boxes(data, list(data), tmp_path / "run", settings(server, frame="pixels"))


async def test_replies_without_boxes_are_an_error_that_says_so(data, tmp_path):
    async with MllmServer(script=[ABSENT] * 4) as server:
        with pytest.raises(DatasetError, match="no reply to 4 records holds boxes"):
            await ask_boxes(data, list(data), tmp_path / "run", settings(server))
    async with MllmServer(faults="401") as server:
        with pytest.raises(DatasetError, match=r"4 queries failed, the first with endpoint: "):
            await ask_boxes(data, list(data), tmp_path / "other", settings(server))


async def test_reviews_cache_and_margins_of_the_settings_do_not_count(data, tmp_path):
    values = {
        "verify_rounds": 2,
        "cache": tmp_path / "cache",
        "alpha": 0.5,
        "variant": "points",
        "profile": "default",
    }
    async with MllmServer() as server:
        for name in ("one", "two"):
            asked = await ask_boxes(data, list(data)[:1], tmp_path / name, settings(server, **values))
            assert len(asked.said) == 1
        assert server.completions == 2


@pytest.mark.parametrize("profile", ["default", "paper", "released-code"])
async def test_every_profile_keeps_the_box_as_it_was_said(data, tmp_path, profile):
    frame = "norm1000" if profile != "released-code" else "pixels"
    async with MllmServer(speaks=frame) as server:
        known = settings(server, profile=profile, **({"frame": frame} if profile == "paper" else {}))
        asked = await ask_boxes(data, list(data)[:1], tmp_path / "run", known)
    (trace,) = [load(path) for path in (tmp_path / "run" / "traces").glob("*.json")]
    assert trace.result.targets[0].roi == list(asked.said[0].predicted[0])


def test_a_record_as_a_pair(data):
    record = next(iter(data))
    pair = pair_of(record)
    assert (pair.id, pair.size, pair.boxes) == (record.id, (768, 1024), (RED,))
    assert pair.query == "Find every object of the class red rectangle."
    assert pair.truth.read().sum() == RED.area
    assert Filled((4, 5), (Box(0, 0, 2, 2), Box(1, 1, 5, 4))).read().sum() == 4 + 12 - 1
    assert [question_of(name) for name in ("ground-track__field", "---")] == [
        "Find every object of the class ground track field.",
        "Find every object of the class ---.",
    ]
    assert len(as_pairs(data)) == 4
