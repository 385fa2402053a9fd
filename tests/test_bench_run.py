"""A run over a data set: every pair once, whatever interrupts it, and figures that come out of the masks again."""

import asyncio
import json
import resource

import numpy as np
import PIL.Image
import pytest
from asking import settings
from bench_data import two_boxes
from mllm_server import MllmServer

from geoseg_agent import Settings
from geoseg_agent.bench.datasets import open_pairs
from geoseg_agent.bench.opened import open_run
from geoseg_agent.bench.plan import load_plan, source_of
from geoseg_agent.bench.records import load_results
from geoseg_agent.bench.run import run
from geoseg_agent.bench.run_folder import RunFolder
from geoseg_agent.bench.summary import summarise
from geoseg_agent.errors import ConfigError, DatasetError, EndpointError
from geoseg_agent.runs.failure import Failure
from geoseg_agent.runs.lines import append_line, read_lines
from geoseg_agent.trace.store import load

FAR = '{"status": "found", "targets": [{"bbox_2d": [1, 1, 5000, 9], "label": "far"}]}'


@pytest.fixture
def data(tmp_path):
    return two_boxes(tmp_path / "data")


async def ran(data, folder, chosen, **values):
    """The results of a run, by id of the pair."""
    dataset = open_pairs(data)
    done = await run(dataset, source_of(dataset, data), list(dataset), folder, chosen, **values)
    return {result.id: result for result in load_results(done.results)}


def untimed(results):
    return {name: result.model_copy(update={"seconds": None, "trace": None}) for name, result in results.items()}


async def test_every_pair_is_asked_once_and_a_second_start_asks_nothing(data, tmp_path):
    told = []
    async with MllmServer() as server:
        results = await ran(data, tmp_path / "run", settings(server), told=told.append)
        assert await ran(data, tmp_path / "run", settings(server)) == results
        assert server.completions == len(results) == 6
    assert all(result.scores.iou > 0.9 for result in results.values())
    assert {result.image for result in results.values()} == {"0.png", "1.png", "2.png"}
    assert {(result.calls, result.tokens is None) for result in results.values()} == {(1, True)}
    assert len(list((tmp_path / "run" / "traces").glob("*.json"))) == 6
    assert [tally.done for tally in told] == [1, 2, 3, 4, 5, 6]
    assert (told[-1].failed, told[-1].calls, told[-1].seconds_left) == (0, 6, 0)
    assert {"grounding", "encode"} <= results["0-red"].seconds.stages.keys()


async def test_the_summary_comes_out_of_the_raw_masks(data, tmp_path):
    results = await ran(data, tmp_path / "run", Settings())
    opened = open_run(tmp_path / "run")
    ious, both, either = [], 0, 0
    for one in opened.answered:
        truth = np.asarray(PIL.Image.open(data / f"{one.result.id}-mask.png")) > 0
        found = opened.prediction(one)
        mask = np.zeros_like(truth) if found is None else found.read()
        inter, union = np.sum(mask & truth), np.sum(mask | truth)
        ious.append(inter / union)
        both, either = both + inter, either + union
    summary = summarise(results.values())
    assert summary.overall.metrics["iou"].value == pytest.approx(np.mean(ious), abs=1e-12)
    assert summary.overall.cumulative_iou.value == pytest.approx(both / either, abs=1e-12)
    assert summary.overall.n == 6


async def test_what_fails_counts_and_is_asked_again_only_where_that_is_wanted(data, tmp_path):
    async with MllmServer(faults={1: "401"}) as server:
        once = await ran(data, tmp_path / "run", settings(server), concurrency=1)
        failed = [result for result in once.values() if result.status == "failed"]
        assert [(one.error.code, one.scores.iou, one.answered) for one in failed] == [("endpoint", 0, False)]
        assert await ran(data, tmp_path / "run", settings(server)) == once
        assert server.completions == 6
        again = await ran(data, tmp_path / "run", settings(server), retry_failed=True)
        assert server.completions == 7
        assert await ran(data, tmp_path / "run", settings(server)) == again
        assert server.completions == 7
    assert {result.status for result in again.values()} == {"found"}
    assert [one.id for one in load_results(tmp_path / "run" / "retired.jsonl")] == [failed[0].id]


async def test_a_trace_without_a_line_becomes_its_line(data, tmp_path):
    async with MllmServer() as server:
        results = await ran(data, tmp_path / "run", settings(server))
        lines = tmp_path / "run" / "results.jsonl"
        lines.write_bytes(lines.read_bytes()[:-300])
        assert await ran(data, tmp_path / "run", settings(server)) == results
        assert server.completions == 6


async def test_a_picture_that_is_gone_is_a_failure_with_its_reason(data, tmp_path):
    (data / "1.png").unlink()
    async with MllmServer() as server:
        results = await ran(data, tmp_path / "run", settings(server))
    assert {name for name, one in results.items() if one.status == "failed"} == {"1-red", "1-blue"}
    assert results["1-red"].error.code == "bad_image"
    assert (results["1-red"].engine, results["1-red"].trace) == ("none", None)


async def test_a_run_goes_on_only_as_it_was_begun(data, tmp_path):
    async with MllmServer() as server:
        await ran(data, tmp_path / "run", settings(server))
        with pytest.raises(DatasetError, match=r"settings\.samples was 1 and is 3"):
            await ran(data, tmp_path / "run", settings(server, samples=3))
        lines = (data / "manifest.jsonl").read_text().splitlines(keepends=True)
        (data / "manifest.jsonl").write_text("".join(lines[:-1]))
        with pytest.raises(DatasetError, match="asks 6 pairs, this one 5"):
            await ran(data, tmp_path / "run", settings(server))
        (data / "manifest.jsonl").write_text("".join(lines))
        async with MllmServer() as elsewhere:
            await ran(data, tmp_path / "run", settings(elsewhere), concurrency=2)
            assert elsewhere.completions == 0
    plan = json.loads((tmp_path / "run" / "run.json").read_text())
    assert plan["concurrency"] == [4, 2]
    assert plan["data"]["path"] == str(data)


async def test_a_folder_with_something_else_and_one_that_is_written_are_refused(data, tmp_path):
    dataset = open_pairs(data)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="is not empty and holds no run"):
        await ran(data, tmp_path / "other", Settings())
    await ran(data, tmp_path / "run", Settings())
    opened = open_run(tmp_path / "run")
    held = RunFolder(tmp_path / "run", opened.plan)
    with pytest.raises(DatasetError, match="another process is writing into"):
        await ran(data, tmp_path / "run", Settings())
    held.close()
    assert len(await ran(data, tmp_path / "run", Settings())) == len(list(dataset))


async def test_a_data_set_that_moved_is_found_by_its_new_place(data, tmp_path):
    await ran(data, tmp_path / "run", Settings())
    data.rename(tmp_path / "moved")
    with pytest.raises(DatasetError, match="does not exist"):
        open_run(tmp_path / "run")
    assert len(open_run(tmp_path / "run", data=tmp_path / "moved").answered) == 6
    other = two_boxes(tmp_path / "other", pictures=1)
    with pytest.raises(DatasetError, match=r"4 pairs of .* are not in the data set"):
        open_run(tmp_path / "run", data=other)


async def test_replies_of_a_killed_query_are_taken_from_its_journal_and_the_rest_is_asked(data, tmp_path):
    """The first reply is refused and stands in the journal; the query ends while the model is asked once more."""
    second = asyncio.Event()

    def delay(asked):
        if asked.attempt == 2:
            second.set()
            return 30
        return 0

    async with MllmServer(script=[FAR], delay=delay) as server:
        task = asyncio.create_task(ran(data, tmp_path / "run", settings(server), concurrency=1))
        await second.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert server.completions == 2
    async with MllmServer() as server:  # its address is another one
        results = await ran(data, tmp_path / "run", settings(server), concurrency=1)
        assert server.completions == 6  # what was in flight is asked again, the refused reply is not
    assert [result.calls for result in results.values()] == [2, 1, 1, 1, 1, 1]
    trace = load(tmp_path / "run" / "traces" / f"{results['0-red'].trace}.json")
    assert sum(step.seam == "chat" for step in trace.steps) == 2


async def test_a_dead_endpoint_ends_the_run_and_its_failures_do_not_count(tmp_path):
    data, nothing = two_boxes(tmp_path / "data", pictures=10), '{"status": "not_found", "targets": []}'
    faults = dict.fromkeys(range(3, 19), "401")
    async with MllmServer(script=lambda _: nothing, faults=faults) as server:
        with pytest.raises(EndpointError, match=r"16 pairs failed one after the other, the last with: .*401"):
            await ran(data, tmp_path / "run", settings(server), concurrency=1)
        assert server.completions == 18
        assert [one.status for one in load_results(tmp_path / "run" / "results.jsonl")] == ["not_found"] * 2
        results = await ran(data, tmp_path / "run", settings(server), concurrency=1)
        assert server.completions == 18 + 18
    assert {result.status for result in results.values()} == {"not_found"}
    assert len(results) == 20


async def test_pairs_that_can_never_be_answered_do_not_hold_a_run_for_ever(tmp_path):
    data, nothing = two_boxes(tmp_path / "data", pictures=9), '{"status": "not_found", "targets": []}'
    async with MllmServer(script=lambda _: nothing, faults=lambda number: "401" if number > 2 else None) as server:
        for kept in (2, 18):
            with pytest.raises(EndpointError, match="16 pairs failed"):
                await ran(data, tmp_path / "run", settings(server), concurrency=1)
            assert len(list(load_results(tmp_path / "run" / "results.jsonl"))) == kept
        results = await ran(data, tmp_path / "run", settings(server), concurrency=1)
        assert server.completions == 2 + 16 + 16
    assert sum(result.status == "failed" for result in results.values()) == 16


async def test_what_is_left_open_by_the_settings_stops_the_run_before_anything_is_paid(data, tmp_path):
    async with MllmServer() as server:
        with pytest.raises(ConfigError, match="frame"):
            await ran(data, tmp_path / "run", settings(server, profile="paper"))
        assert server.completions == 0
        results = await ran(data, tmp_path / "run", settings(server, profile="paper", frame="norm1000"))
    assert {result.status for result in results.values()} == {"found"}


def lose(folder, kept):
    """Leave the first `kept` results of a run, and the traces of no other."""
    lines = folder / "results.jsonl"
    left = lines.read_bytes().splitlines(keepends=True)[:kept]
    lines.write_bytes(b"".join(left))
    used = {json.loads(line)["trace"] for line in left}
    for trace in (folder / "traces").glob("*.json"):
        if trace.stem not in used:
            trace.unlink()


async def test_what_a_model_was_asked_is_not_gone_on_with_by_another_answerer(tmp_path):
    data, run = two_boxes(tmp_path / "data", pictures=1), tmp_path / "run"
    async with MllmServer() as server:
        results = await ran(data, run, settings(server, grounder="auto"))
        lose(run, 1)
        with pytest.raises(DatasetError, match=r"it asks a model \(GEOSEG_BASE_URL\), this one the offline default"):
            await ran(data, run, Settings())
        plan = load_plan(run)
        assert plan.prompt.startswith("grounding ")
        later = plan.model_copy(update={"prompt": "grounding v99"})
        assert list(plan.differences(later)) == [f"the prompt was {plan.prompt} and is grounding v99"]
        async with MllmServer(model="another") as other:
            with pytest.raises(ConfigError, match=f"serves another, and the run .* was begun with {server.model}"):
                await ran(data, run, settings(other, grounder="auto"))
            assert other.completions == 0
        assert untimed(await ran(data, run, settings(server, grounder="auto"))) == untimed(results)


async def test_traces_without_lines_are_found_where_the_data_set_has_moved(tmp_path):
    data, run = two_boxes(tmp_path / "data", pictures=1), tmp_path / "run"
    async with MllmServer() as server:
        results = await ran(data, run, settings(server))
        (run / "results.jsonl").unlink()
        moved = data.rename(tmp_path / "moved")
        told = []
        assert await ran(moved, run, settings(server), told=told.append) == results
        assert (server.completions, told) == (2, [])  # nobody was asked, so there is no pace
    assert len(open_run(run).answered) == 2


async def test_retrying_asks_anew_whatever_was_torn_or_killed_before(tmp_path):
    data, run = two_boxes(tmp_path / "data", pictures=1), tmp_path / "run"
    bad, second = True, asyncio.Event()

    def delay(asked):
        if asked.attempt == 2 and not second.is_set():
            second.set()
            return 30
        return 0

    async with MllmServer(script=lambda _: FAR if bad else None, delay=delay) as server:
        task = asyncio.create_task(ran(data, run, settings(server), concurrency=1))
        await second.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        failed = await ran(data, run, settings(server))
        assert {one.error.code for one in failed.values()} == {"invalid_reply"}
        (run / "retired.jsonl").write_text('{"id": "0-r')  # as a kill leaves it
        bad = False
        results = await ran(data, run, settings(server), retry_failed=True)
    # The reply that was refused before the kill belongs to the failure, and is not taken.
    assert [(one.status, one.calls) for one in results.values()] == [("found", 1)] * 2
    assert {one.id for one in load_results(run / "retired.jsonl")} == set(results)


async def test_a_last_line_without_its_end_is_whole_and_the_next_begins_anew(tmp_path):
    data, run = two_boxes(tmp_path / "data", pictures=1), tmp_path / "run"
    results = await ran(data, run, Settings())
    lose(run, 1)
    lines = run / "results.jsonl"
    lines.write_bytes(lines.read_bytes().removesuffix(b"\n"))
    assert untimed(await ran(data, run, Settings())) == untimed(results)


def test_a_full_disk_leaves_no_half_line(tmp_path):
    path, line = tmp_path / "lines.jsonl", Failure(code="tool", message="m" * 100)
    append_line(path, line)
    size, limits = path.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
    try:
        with pytest.raises(DatasetError, match=r"lines\.jsonl cannot be written"):
            append_line(path, line)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.stat().st_size == size
    append_line(path, line, line)
    assert list(read_lines(path, Failure)) == [line] * 3


async def test_a_trace_that_cannot_be_saved_stops_the_run_and_its_reply_is_kept(tmp_path):
    data, run = two_boxes(tmp_path / "data", pictures=1), tmp_path / "run"

    def in_the_way(_asked):
        for journal in (run / "traces").glob("*.journal"):
            journal.with_suffix(".json").mkdir(exist_ok=True)
        return 0

    async with MllmServer(delay=in_the_way) as server:
        with pytest.raises(DatasetError, match="the trace of pair 0-red cannot be saved"):
            await ran(data, run, settings(server), concurrency=1)
        server.delay = 0
        for folder in (run / "traces").glob("*.json"):
            folder.rmdir()
        assert len(await ran(data, run, settings(server))) == server.completions == 2
