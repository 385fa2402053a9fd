"""Recording: every call of a query, no call of another, and never a changed answer."""

import asyncio
import time
from dataclasses import replace

import pytest
from disk import WatchedFiles
from fakes import WordGrounder, WordToolbox, ask, scene

from geoseg_agent.agent import Agent
from geoseg_agent.errors import ConfigError, DeadlineExceeded, ToolFailed
from geoseg_agent.lanes import Lane
from geoseg_agent.segmentation import Segmentation
from geoseg_agent.settings import Settings
from geoseg_agent.trace.ids import is_id
from geoseg_agent.trace.record import (
    Header,
    RecordingGrounder,
    RecordingToolbox,
    current_recorder,
    recording,
)
from geoseg_agent.trace.recorder import UNSAVED
from geoseg_agent.trace.recover import recover
from geoseg_agent.trace.store import Store, load
from geoseg_agent.types import Hints, Query


async def test_every_call_is_a_step_and_the_result_is_what_was_answered(tmp_path):
    answer = await ask(tmp_path, "both sure within", image=scene(3))
    trace = load(answer.trace_path)
    assert trace.id == answer.trace_id == answer.trace_path.stem
    assert [step.index for step in trace.steps] == [0, 1, 2, 3, 4]
    assert sorted(step.seam for step in trace.steps) == ["encode", "ground", "points", "similarity", "text"]
    assert [step.target for step in trace.steps] == [None, 1, 1, 1, 1]
    assert {step.input.image for step in trace.steps} == {scene(3).sha256}
    assert trace.status == "done"
    assert trace.result.targets[0].rule == answer.targets[0].rule
    assert trace.result.confidence == answer.confidence
    assert trace.settings["traces"] == str(tmp_path)
    assert trace.method == {**trace.method, "k": 3}
    assert not list(tmp_path.glob("*.journal"))


async def test_a_failed_query_leaves_a_trace_and_says_which(tmp_path):
    error = await ask(tmp_path, "both broken broken")
    assert type(error) is ToolFailed
    trace = load(tmp_path / f"{error.trace_id}.json")
    assert (trace.status, trace.result) == ("failed", None)
    assert trace.error.model_dump() == {
        "type": "ToolFailed",
        "code": "tool",
        "message": error.message,
        "hint": None,
        "trace_id": error.trace_id,
    }
    assert "tool" in {step.error.code for step in trace.steps if step.error is not None}


async def test_traces_off_leave_nothing_but_an_id(tmp_path):
    answer = await ask("none", "both")
    assert is_id(answer.trace_id)
    assert answer.trace_path is None
    assert UNSAVED not in answer.notes
    error = await ask("none", "refuse")
    assert error.trace_id is None
    assert list(tmp_path.iterdir()) == []


async def test_a_proxy_outside_of_a_query_only_passes_on():
    assert current_recorder.get() is None
    assert (await RecordingGrounder(WordGrounder()).ground(scene(), Query("hi"))).status == "not_found"


async def test_a_thousand_queries_at_once_share_one_agent_and_no_step(tmp_path):
    images = [scene(seed) for seed in range(5)]
    queries = [f"{word} number {number}" for number in range(250) for word in ("both", "points", "text none", "hi")]
    async with Agent(Settings(traces=tmp_path), grounder=WordGrounder(), toolbox=WordToolbox()) as agent:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(agent.segment(images[number % 5], query)) for number, query in enumerate(queries)
            ]
        answers = [task.result() for task in tasks]
        assert len({answer.trace_id for answer in answers}) == 1000
        for number in (0, 1, 2, 3, 500, 999):
            again = await agent.segment(images[number % 5], queries[number])
            assert (again.mask == answers[number].mask).all()
    for number, (query, answer) in enumerate(zip(queries, answers, strict=True)):
        tree = load(answer.trace_path)
        asked = [step.input for step in tree.steps]
        assert {step.image for step in asked} == {images[number % 5].sha256}
        assert asked[0].query == query == answer.query
        assert all(step.phrase.endswith(f"of {query}") for step in asked if hasattr(step, "phrase"))
        # ground, and per target encode, similarity, text, points
        assert len(asked) == 1 + 4 * len(answer.targets)
    assert not list(tmp_path.glob("*.journal*"))
    assert len(list(tmp_path.iterdir())) == 1006


# time


class LaneToolbox(WordToolbox):
    """Route B takes a while, on one lane."""

    def __init__(self):
        super().__init__()
        self.lane = Lane("slow")

    async def from_text(self, handle, phrase):
        await self.lane.run(time.sleep, 0.05)
        return await super().from_text(handle, phrase)

    async def aclose(self):
        self.lane.close()


async def test_waiting_for_a_lane_is_told_from_working_on_it(tmp_path):
    answer = await ask(tmp_path, "both points", toolbox=LaneToolbox())
    first, second = (step for step in load(answer.trace_path).steps if step.seam == "text")
    assert first.waited < 0.03
    assert 0.05 <= first.took < 0.09
    assert second.waited > 0.03
    assert 0.05 <= second.took < 0.09


# whatever happens to the trace, the answer comes


class OddToolbox(WordToolbox):
    """Its notes are no strings, which no trace can hold."""

    async def from_text(self, handle, phrase):
        found = await super().from_text(handle, phrase)
        return replace(found, notes=(1,))


async def test_what_cannot_be_recorded_costs_the_trace_and_not_the_answer(tmp_path, caplog):
    answer = await ask(tmp_path, "text", toolbox=OddToolbox())
    assert answer.status == "found"
    assert answer.mask.any()
    assert answer.trace_path is None
    assert UNSAVED in answer.notes
    assert "trace not saved" in caplog.text
    assert [one.outcome for one in recover(tmp_path)] == ["recovered"]


async def test_a_folder_that_vanishes_costs_the_trace_and_not_the_answer(tmp_path, caplog):
    class Thief(WordToolbox):
        async def from_text(self, handle, phrase):
            for path in (tmp_path / "traces").iterdir():
                path.unlink()
            (tmp_path / "traces").rmdir()
            return await super().from_text(handle, phrase)

    answer = await ask(tmp_path / "traces", "text", toolbox=Thief())
    assert (answer.status, answer.trace_path) == ("found", None)
    assert UNSAVED in answer.notes
    assert answer.trace_id in caplog.text


async def test_no_secret_gets_into_a_trace(tmp_path):
    lane, image = Lane("io"), scene()
    secret = "sk-canary-0123456789"  # noqa: S105 - this one is public
    header = Header("words", {}, {}, {"api_key": secret, "k": 1}, {}, image, Query("hi"), Hints())
    async with recording(Store(tmp_path, lane), header) as tape:
        journal = (tmp_path / f"{tape.id}.journal").read_text()
        answer = await tape.finish(Segmentation(image, "hi", "not_found", (), None, "words", "", (), tape.id))
    lane.close()
    assert '"k":1' in journal
    assert secret not in journal + answer.trace_path.read_text()


# cancellation


def header(image):
    return Header("words", {}, {}, {}, {}, image, Query("hi"), Hints())


async def cancelled(folder, files, times):
    """A short query that is cancelled when `files` says so; whether it ended by that."""
    lane, image = Lane("io"), scene()
    tools = WordToolbox()

    async def work():
        async with recording(Store(folder, lane, files), header(image)) as tape:
            await RecordingGrounder(WordGrounder()).ground(image, Query("hi"))
            async with RecordingToolbox(tools).encode(image.crop(_whole(image))) as handle:
                await RecordingToolbox(tools).from_text(handle, "both")
            await asyncio.sleep(0.01)
            return await tape.finish(Segmentation(image, "hi", "not_found", (), None, "words", "", (), tape.id))

    task = asyncio.create_task(work())
    loop = asyncio.get_running_loop()
    files.cancel = lambda: [loop.call_soon_threadsafe(task.cancel) for _ in range(times)]
    await asyncio.wait({task})
    lane.close()
    assert tools.alive == 0
    return task.cancelled()


def _whole(image):
    from geoseg_tools.geometry import whole  # noqa: PLC0415

    return whole(image.size)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("k", range(1, 14))
async def test_cancelled_at_the_kth_file_call_the_trace_is_still_finished(tmp_path, k, times):
    def at(number, _):
        if number == k or (times == 2 and number == 8):
            files.cancel()
        return False

    files = WatchedFiles(at)
    ended = await cancelled(tmp_path, files, times)
    assert ended or k == 13
    assert files.open == {}
    (path,) = tmp_path.iterdir()
    trace = load(path)
    assert trace.status == ("interrupted" if k <= 5 else "done")
    assert trace.error is None or trace.error.code == "cancelled"


async def until(true):
    while not true():  # noqa: ASYNC110 - what is waited for happens on a disk
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("turns", range(0, 60, 3))
async def test_cancelled_at_any_turn_of_the_loop_nothing_is_left_over(tmp_path, turns):
    tools = WordToolbox()
    async with Agent(Settings(traces=tmp_path), grounder=WordGrounder(), toolbox=tools) as agent:
        task = asyncio.create_task(agent.segment(scene(), "both stuck text"))
        await until(lambda: list(tmp_path.glob("*.journal")))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
    assert tools.alive == 0
    (path,) = tmp_path.iterdir()
    trace = load(path)
    assert (trace.status, trace.error.code) == ("interrupted", "cancelled")
    assert all(step.error is None or step.error.code == "cancelled" for step in trace.steps)


async def test_a_deadline_leaves_an_interrupted_trace_that_names_the_call_it_waited_for(tmp_path):
    error = await ask(tmp_path, "both stuck", deadline=0.3)
    assert isinstance(error, DeadlineExceeded)
    (path,) = tmp_path.iterdir()
    trace = load(path)
    assert trace.status == "interrupted"
    waiting = [(step.seam, step.target) for step in trace.steps if step.error is not None]
    assert waiting == [("text", 2)]
    assert 0.1 < trace.seconds < 0.6


async def test_a_closed_agent_ends_a_running_query_and_keeps_its_trace(tmp_path):
    tools = WordToolbox()
    agent = Agent(Settings(traces=tmp_path), grounder=WordGrounder(), toolbox=tools)
    task = asyncio.create_task(agent.segment(scene(), "stuck"))
    await until(lambda: tools.alive)
    await agent.aclose()
    with pytest.raises(ConfigError, match="this Agent is closed"):
        await task
    (path,) = tmp_path.iterdir()
    assert load(path).status == "interrupted"
    assert recover(tmp_path) == []
