"""Searching in windows, end to end: with models on loopback, with the offline default, and on the command line."""

from pathlib import Path

import pytest
from asking import agent
from chat_ways import NOTHING, Model, grounder_of, said
from drawn import drawn
from fakes import WordToolbox, ask
from mllm_server import MllmServer
from search_policy import BLUE, RED, Spotter, ground

from geoseg_agent.agent import Agent
from geoseg_agent.errors import (
    BudgetExceeded,
    EndpointError,
    EndpointRefused,
    GeoSegError,
    InvalidReply,
    ToolFailed,
)
from geoseg_agent.imagery import Image
from geoseg_agent.samples import scene
from geoseg_agent.settings import Settings
from geoseg_agent.trace.replay import replay
from geoseg_agent.trace.report import write_report
from geoseg_agent.trace.store import load
from geoseg_tools.geometry import Box

THING = (3010, 1107, 3044, 1139)
SIZE = (1400, 5000)
"""Looked at in 4 windows of 1440 px, side by side."""


def wide(*more, **about):
    return drawn(SIZE, (THING, RED), *more, **about)


async def asked(server, image=None, query="all red rectangles", **values):
    async with agent(server, **{"search": "tiles", "model": server.model, **values}) as made:
        try:
            return await made.segment(image or wide(), query)
        except GeoSegError as error:
            return error


async def replayed(found):
    path = found.trace_path if hasattr(found, "trace_path") else Path("traces") / f"{found.trace_id}.json"
    trace = load(path)
    again = await replay(trace)
    assert (again.answer is None) == isinstance(found, GeoSegError)
    if again.answer is not None:
        assert (again.answer.mask == found.mask).all()
        assert (again.answer.notes, again.answer.status) == (found.notes, found.status)
    return trace


def chats(trace):
    return [step for step in trace.steps if step.seam == "chat"]


def boxes(found):
    return sorted(tuple(target.box) for target in found.targets)


# a model behind it


async def test_a_thing_too_small_for_a_picture_of_the_whole_is_found_exactly_and_once():
    async with MllmServer() as server:
        found = await asked(server)
    assert max(abs(a - b) for a, b in zip(boxes(found)[0], THING, strict=True)) <= 2
    assert len(found.targets) == 1
    assert server.completions == 4
    trace = await replayed(found)
    search = next(step for step in trace.steps if step.seam == "search")
    assert len(search.output.windows) == search.output.calls == len(chats(trace)) == 4
    sent = [step.input.window for step in trace.steps if step.seam == "sent"]
    assert sorted(sent) == sorted(search.output.windows)
    page = write_report(trace, Path("page.html")).read_text()
    assert "4 windows, 0 without data" in page


async def test_a_thing_across_four_windows_is_one_target():
    image = drawn((2600, 2600), ((900, 900, 1700, 1700), RED))
    async with MllmServer() as server:
        found = await asked(server, image)
    assert server.completions == 4
    (box,) = boxes(found)
    assert max(abs(a - b) for a, b in zip(box, (900, 900, 1700, 1700), strict=True)) <= 3
    await replayed(found)


async def test_nothing_anywhere_is_not_found():
    async with MllmServer() as server:
        found = await asked(server, query="the green rectangle")
    assert (found.status, found.targets, server.completions) == ("not_found", (), 4)
    assert any("searched in 4 windows" in note for note in found.notes)
    await replayed(found)


async def test_windows_without_data_are_not_asked_about_and_replay_knows_it_without_pixels():
    image = drawn(SIZE, ((300, 300, 340, 340), RED), inside=Box(0, 0, 1300, 1400))
    async with MllmServer() as server:
        found = await asked(server, image)
    assert (len(found.targets), server.completions) == (1, 2)
    assert any("2 more have no data" in note for note in found.notes)
    await replayed(found)


async def test_over_the_budget_of_calls_nothing_is_asked():
    async with MllmServer() as server:
        found = await asked(server, search_calls=3)
        assert isinstance(found, BudgetExceeded)
        assert "4 calls, and 3 are allowed" in found.message
        assert server.requests == []
    await replayed(found)


async def test_all_windows_draw_on_one_budget_of_tokens():
    async with MllmServer() as server:
        found = await asked(server, max_tokens_total=9_000, endpoint_calls=1)
    assert isinstance(found, BudgetExceeded)
    assert 1 <= server.completions < 4
    await replayed(found)


async def test_a_window_that_fails_is_named_and_does_not_take_the_others_with_it():
    async with MllmServer(faults={4: "401"}) as server:
        found = await asked(server, endpoint_calls=1)
        nothing = await asked(server, query="the green rectangle", traces="none")
    assert found.status == "found"
    assert any("could not be searched" in note and "window (" in note for note in found.notes)
    assert nothing.status == "not_found"
    await replayed(found)


async def test_nothing_found_where_a_window_failed_is_no_answer_that_it_is_not_there():
    async with MllmServer(faults={4: "401"}) as server:
        found = await asked(server, query="the green rectangle", endpoint_calls=1)
    assert (found.status, found.targets) == ("ambiguous", ())
    await replayed(found)


async def test_what_fails_for_all_windows_is_paid_for_once():
    async with MllmServer(faults="401") as server:
        found = await asked(server)
    assert isinstance(found, EndpointRefused)
    assert server.completions == 1
    await replayed(found)


async def test_more_than_a_quarter_of_failures_is_one():
    async with MllmServer(faults=dict.fromkeys((2, 4), "401")) as server:
        found = await asked(server, endpoint_calls=1)
    assert isinstance(found, EndpointError)
    await replayed(found)


async def test_windows_are_cached_one_by_one():
    async with MllmServer(faults={4: "401"}) as server:
        first = await asked(server, cache="cache", endpoint_calls=1)
        again = await asked(server, cache="cache")
    assert server.completions == 4 + 1
    assert boxes(first) == boxes(again)
    await replayed(again)


async def test_samples_are_asked_in_every_window():
    async with MllmServer() as server:
        found = await asked(server, drawn((1400, 2600), ((1210, 300, 1250, 340), RED)), samples=2)
    assert (found.confidence, server.completions, len(found.targets)) == (1.0, 4, 1)
    await replayed(found)


async def test_a_result_is_reviewed_on_a_picture_of_the_whole():
    async with MllmServer() as server:
        found = await asked(server, verify_rounds=1)
    assert server.completions == 5
    assert found.confidence == 0.9
    await replayed(found)


async def test_a_hundred_windows_replay(tmp_path):
    model = Model(said(([500, 500, 600, 600], "both ways")), *[NOTHING] * 100)
    made = {"model": "seer-2", "search": "tiles", "search_calls": 100}
    found = await ask(tmp_path, "where?", grounder=grounder_of(model), image=drawn((11_000, 11_000)), **made)
    assert (len(found.targets), model.asked) == (1, 10 * 10)
    await replayed(found)


async def test_auto_looks_once_where_it_sees_no_reason_and_says_why():
    async with MllmServer() as server:
        found = await asked(server, search="auto", query="the largest red rectangle")
    assert any('"largest" compares' in note for note in found.notes)
    trace = await replayed(found)
    assert [step.seam for step in trace.steps][:4] == ["search", "endpoint", "sent", "chat"]


async def test_auto_searches_for_what_a_picture_of_the_whole_would_not_show():
    async with MllmServer() as server:
        found = await asked(server, wide(georeference=ground(0.5)), "the red cars", search="auto")
    assert server.completions == 4
    assert len(found.targets) == 1
    assert any("because one picture of the whole would show" in note for note in found.notes)
    await replayed(found)


async def test_the_setting_off_changes_nothing():
    async with MllmServer() as server:
        found = await asked(server, search="overview", zoom_rounds=0)
        trace = await replayed(found)
    assert [step.seam for step in trace.steps][:3] == ["endpoint", "sent", "chat"]
    assert server.completions == 1


# grounders of this side


async def local(image, grounder, **values):
    made = Settings(**{"search": "tiles", "traces": "traces", **values})
    async with Agent(made, grounder=grounder, toolbox=WordToolbox()) as one:
        try:
            return await one.segment(image, "the red car")
        except GeoSegError as error:
            return error


async def test_a_grounder_that_knows_whole_images_only_is_given_windows_as_such():
    spotter = Spotter()
    found = await local(drawn((900, 1000), ((430, 440, 520, 470), RED)), spotter)
    assert len(spotter.asked) == 6
    assert len({image.sha256 for image in spotter.asked}) == 6
    assert boxes(found) == [(430, 440, 520, 470)]
    assert found.targets[0].target.within.all()
    trace = await replayed(found)
    assert [step.seam for step in trace.steps].count("ground") == 1


async def test_one_that_is_paid_is_counted():
    spotter = Spotter(free=False)
    found = await local(drawn((900, 1000), ((430, 440, 520, 470), RED)), spotter, search_calls=5)
    assert isinstance(found, BudgetExceeded)
    assert spotter.asked == []


@pytest.mark.parametrize(
    ("fails", "outcome"),
    [
        ({2: InvalidReply("no")}, None),
        ({1: InvalidReply("no")}, InvalidReply),
        ({2: RuntimeError("a bug")}, ToolFailed),
    ],
)
async def test_what_becomes_of_failures(fails, outcome):
    image = drawn((900, 1000), ((430, 440, 520, 470), RED), ((10, 10, 30, 30), BLUE))
    found = await local(image, Spotter(fails))
    assert isinstance(found, GeoSegError if outcome else object)
    assert outcome is None or isinstance(found, outcome)
    assert outcome or any("could not be searched: no" in note for note in found.notes)
    await replayed(found)


async def test_the_offline_default_works_in_windows_for_nothing():
    drawing = scene(3, kind="lakeside")
    image, water = Image.from_array(drawing.pixels[:640, :900].copy()), drawing.masks["water"][:640, :900]
    async with Agent(Settings(search="tiles", traces="traces", search_calls=2)) as one:
        found = await one.segment(image, "the lake")
    assert found.status == "found"
    assert (found.mask & water).sum() / (found.mask | water).sum() > 0.5
    assert any("searched in" in note for note in found.notes)
    assert all(target.target.within is not None for target in found.targets)
    await replayed(found)


def test_settings_of_a_search_are_checked():
    with pytest.raises(GeoSegError, match="search"):
        Settings(search="everywhere")
