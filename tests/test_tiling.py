"""Large regions through the Agent: what is encoded how often, traces, faults, nodata, hints."""

import asyncio
import json

import numpy as np
import pytest
from even_tools import EvenTools, blobs, even, labels_of, texts, things, tiled, whole_of
from even_tools import points as pointed

from geoseg_agent import Agent, Hints, Settings, ToolFailed
from geoseg_agent.guard import GuardedToolbox
from geoseg_agent.tiling import TiledToolbox
from geoseg_agent.toolbox import LocalToolbox, Makers
from geoseg_agent.trace.replay import replay
from geoseg_agent.trace.store import load
from geoseg_tools import Box

SIZE = (150, 200)
IMAGE = things(SIZE, blobs(SIZE, 14, seed=3))
WHOLE = Hints(box=(0, 0, SIZE[1], SIZE[0]), phrase="red things")


async def ask(folder, tools, image=IMAGE, hints=WHOLE, query="Where?", previous=None, **values):
    async with Agent(Settings(traces=folder, **values), toolbox=tools) as agent:
        return await agent.segment(image, query, hints=hints, previous=previous)


async def test_a_query_on_a_large_region_is_that_of_the_whole_and_replays(tmp_path):
    tools, tool = even(64, 12)
    answer = await ask(tmp_path, tools, k=64)
    untiled = await ask(tmp_path, even()[0], k=64)

    assert len(set(tool.encoded)) == len(set(tool.compared)) > 4
    assert (answer.mask == untiled.mask).all()
    found, expected = answer.targets[0], untiled.targets[0]
    assert found.rule == expected.rule == "both"
    assert [one.box for one in found.instances] == [one.box for one in expected.instances]
    assert [one.id for one in found.instances] == [*range(1, len(found.instances) + 1)]
    trace = load(answer.trace_path)
    assert [step.seam for step in trace.steps].count("encode") == 1
    assert sorted(step.seam for step in trace.steps) == ["encode", "points", "similarity", "text"]
    assert trace.method["tile_side"] == 64
    again = (await replay(answer.trace_path)).answer
    assert (again.mask == answer.mask).all()
    assert len(again.targets[0].keypoints) > 5


async def test_k_grows_with_the_region_and_replay_comes_to_the_same(tmp_path):
    image = things((300, 400), [(x, y, x + 12, y + 12) for x in range(10, 390, 36) for y in range(10, 290, 36)])
    tools, _ = even(64, 12)
    answer = await ask(tmp_path, tools, image, Hints(box=(0, 0, 400, 300), phrase="red"), k=2)
    keypoints = answer.targets[0].keypoints
    assert len(keypoints) == 59  # ceil(2 * 300 * 400 / 64**2)
    assert len((await replay(answer.trace_path)).answer.targets[0].keypoints) == 59


async def test_a_region_that_is_hardly_larger_than_a_tile_comes_to_the_tools_as_it_was(tmp_path):
    tools, tool = even(140, 12)
    answer = await ask(tmp_path, tools)
    assert tool.encoded == tool.compared == [Box(0, 0, SIZE[1], SIZE[0])]
    untiled, _ = even()
    other = await ask(tmp_path, untiled)
    timed = {"waited", "took", "index"}  # encoding and similarity end in any order
    steps = [
        {
            step["seam"]: {k: v for k, v in step.items() if k not in timed}
            for step in json.loads(path.read_text())["steps"]
        }
        for path in (answer.trace_path, other.trace_path)
    ]
    assert steps[0] == steps[1]
    assert len(steps[0]) == 4


@pytest.mark.parametrize(
    ("declared", "values", "side"),
    [
        (64, {}, 64),
        (64, {"tile_side": 80}, 80),
        (64, {"tile_side": 0}, 0),
        (64, {"tile_side": "none"}, 0),
        (64, {"profile": "paper"}, 0),
        (64, {"profile": "paper", "tile_side": 80}, 80),
        (64, {"profile": "released-code", "tile_side": 80}, 0),
        (None, {"tile_side": 80}, 0),
    ],
)
async def test_the_side_is_the_toolsets_or_the_settings(tmp_path, declared, values, side):
    tools, tool = even(declared, 12)
    async with Agent(Settings(traces="none", **values), toolbox=tools) as agent:
        assert agent.method.tile_side == side
        await agent.segment(IMAGE, hints=Hints(points=[(100, 100)]))
    assert {max(box.size) for box in tool.encoded} == {side or SIZE[1]}


async def test_text_alone_encodes_every_tile_once():
    pieces, tool = tiled(64, 12)
    await texts(pieces, whole_of(IMAGE))
    assert len(tool.encoded) == len(set(tool.encoded)) > 4


async def test_both_routes_share_a_tile_that_is_not_yet_encoded():
    pieces, tool = tiled(64, 12, most=1)
    crop, on = whole_of(IMAGE), np.argwhere(labels_of(IMAGE) > 0)[-1][::-1]
    async with pieces.encode(crop) as handle, asyncio.TaskGroup() as group:
        group.create_task(pieces.from_text(handle, "red"))
        group.create_task(pieces.from_points(handle, on[None], np.array([True])))
    every = len({*tool.encoded})
    assert len(tool.encoded) - every <= 2, "the point's own tile is asked for both at one visit"


async def test_no_more_tiles_are_alive_than_allowed():
    alive, most = set(), 0

    class Watched:
        engine, defaults, weights = "watched", {}, {}

        def encode(self, crop):
            return watch(crop)

        async def from_text(self, handle, phrase):
            await asyncio.sleep(0)
            return tool.from_text(tool.encode(handle), phrase)

    from contextlib import asynccontextmanager  # noqa: PLC0415

    @asynccontextmanager
    async def watch(crop):
        nonlocal most
        alive.add(crop.roi)
        most = max(most, len(alive))
        await asyncio.sleep(0)
        try:
            yield crop
        finally:
            alive.discard(crop.roi)

    tool = EvenTools()
    pieces = TiledToolbox(GuardedToolbox(Watched()), 64, 12, most=3)
    await texts(pieces, whole_of(IMAGE))
    assert most == 3
    assert not alive


class Crashing(EvenTools):
    """Fails on one tile, in what it is told to."""

    def __init__(self, where):
        super().__init__()
        self.where = where

    def encode(self, crop):
        self._crash("encode", crop.roi)
        return super().encode(crop)

    def similarity(self, crop, phrase):
        self._crash("similarity", crop.roi)
        return super().similarity(crop, phrase)

    def from_text(self, mask, phrase):
        self._crash("text", self.encoded[-1])
        return super().from_text(mask, phrase)

    def from_points(self, mask, points, positive, earlier=None):
        self._crash("points", self.encoded[-1])
        return super().from_points(mask, points, positive)

    def _crash(self, where, roi):
        if where == self.where and roi.x1 > 40:
            raise ValueError("told to crash")


@pytest.mark.parametrize("where", ["encode", "similarity", "text", "points"])
async def test_a_crash_in_one_tile_is_that_of_the_query_and_leaves_no_tasks(tmp_path, where):
    tool = Crashing(where)
    tools = LocalToolbox("even", [Makers(lambda: tool, lambda: tool)], defaults={}, tile_side=64)
    async with Agent(Settings(traces=tmp_path), toolbox=tools) as agent:
        before = asyncio.all_tasks()
        with pytest.raises(ToolFailed, match="told to crash") as caught:
            await agent.segment(IMAGE, "Where?", hints=WHOLE)
        assert asyncio.all_tasks() == before
    trace = load(tmp_path / f"{caught.value.trace_id}.json")
    assert trace.status == "failed"
    failed = (await replay(tmp_path / f"{caught.value.trace_id}.json")).error
    assert failed.code == caught.value.code


async def test_a_cancelled_query_leaves_no_tasks():
    begun = asyncio.Event()

    class Stuck:
        engine, defaults, weights = "stuck", {}, {}

        def encode(self, crop):
            return tools.encode(crop)

        async def from_text(self, handle, phrase):
            begun.set()
            await asyncio.Event().wait()

    tools, _ = even()
    pieces = TiledToolbox(GuardedToolbox(Stuck()), 64, 12)
    before = asyncio.all_tasks()
    task = asyncio.create_task(texts(pieces, whole_of(IMAGE)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == before


async def test_tiles_of_nodata_only_are_skipped(tmp_path):
    valid = np.zeros(SIZE, dtype=bool)
    valid[:, :50] = True
    image = things(SIZE, blobs(SIZE, 14, seed=3), valid=valid)
    tools, tool = even(64, 12)
    answer = await ask(tmp_path, tools, image)
    assert answer.mask.any()
    assert not answer.mask[:, 50:].any()
    for box in (*tool.encoded, *tool.compared):
        assert box.x1 < 50
    assert (answer.targets[0].keypoints.points[:, 0] < 50 + 64).all()


async def test_a_region_of_nodata_only_has_no_mask(tmp_path):
    valid = np.zeros(SIZE, dtype=bool)
    valid[:, 190:] = True
    image = things(SIZE, blobs(SIZE, 14, seed=3), valid=valid)
    tools, tool = even(64, 12)
    answer = await ask(tmp_path, tools, image, Hints(box=(0, 0, 130, 100), phrase="red"))
    assert not answer.mask.any()
    assert tool.encoded == tool.compared == []
    assert (await replay(answer.trace_path)).answer.targets[0].rule == "none"


async def test_clicks_and_corrections_on_a_large_region(tmp_path):
    labels = labels_of(IMAGE)
    large = int(np.bincount(labels.ravel())[1:].argmax()) + 1
    others = [n for n in range(1, labels.max() + 1) if n != large]
    (y, x), (oy, ox) = (np.argwhere(labels == n)[0] for n in (large, others[0]))
    tools, _ = even(64, 12)
    async with Agent(Settings(traces=tmp_path), toolbox=tools) as agent:
        click = await agent.segment(IMAGE, hints=Hints(points=[(int(x), int(y)), (int(ox), int(oy), False)]))
        assert (click.mask == (labels == large)).all()
        more = await agent.segment(IMAGE, hints=Hints(points=[(int(ox), int(oy))], earlier=click.mask))
        assert (more.mask == np.isin(labels, [large, others[0]])).all()
        all_of = await agent.segment(IMAGE, "Where?", hints=WHOLE)
        less = await agent.segment(IMAGE, previous=all_of, hints=Hints(points=[(int(x), int(y), False)]))
        assert (less.mask == all_of.mask & (labels != large)).all()
    for answer in (click, more, less):
        assert ((await replay(answer.trace_path)).answer.mask == answer.mask).all()


async def test_a_point_reaches_over_the_tiles_of_a_winding_thing():
    boxes = [(4, 4, 190, 12), (182, 4, 190, 60), (4, 52, 190, 60), (4, 52, 12, 110), (4, 102, 190, 110)]
    image = things(SIZE, boxes)
    pieces, tool = tiled(64, 12)
    found = await pointed(pieces, whole_of(image), [(6, 8, True)])
    assert (found.union() == (labels_of(image) == 1)).all()
    assert len(set(tool.encoded)) > 6
    assert len(found) == 1


async def test_steadiness_runs_on_tiles_too(tmp_path):
    tools, _ = even(64, 12)
    answer = await ask(tmp_path, tools, stability=2)
    assert answer.confidence > 0.5
    assert (await replay(answer.trace_path)).answer.confidence == answer.confidence
