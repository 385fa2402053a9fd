"""A target of 12 px on the overview is boxed exactly: the model looks closer and answers there; all of it replays."""

import json
from pathlib import Path

import pytest
from asking import answer, picture
from drawn import drawn
from mllm_dialects import KINDS
from mllm_frames import Speaks
from mllm_server import MllmServer
from zoom_policy import RED, Looker, handed, offered, wish

from geoseg_agent.errors import BudgetExceeded, InvalidReply
from geoseg_agent.trace.dialogue import dialogue
from geoseg_agent.trace.replay import replay
from geoseg_agent.trace.report import write_report
from geoseg_agent.trace.store import load

WIDE = (5000, 12_000)
"""Shown 2208 x 928, at 1/5.4: the target has 12 px there."""
TARGET = (9011, 3107, 9076, 3172)


def wide():
    return drawn(WIDE, (TARGET, RED), ((100, 100, 900, 700), (0, 0, 255)))


def off(found, truth=TARGET):
    return max(abs(a - b) for a, b in zip(found.targets[0].box, truth, strict=True))


async def replayed(found):
    path = found.trace_path if hasattr(found, "trace_path") else Path("traces") / f"{found.trace_id}.json"
    trace = load(path)
    again = await replay(trace)
    if again.answer is not None:
        assert (again.answer.mask == found.mask).all()
        assert again.answer.notes == found.notes
    return trace


def windows(trace):
    return [step.input.window for step in trace.steps if step.seam == "sent"]


@pytest.mark.parametrize(
    ("dialect", "frame"),
    [
        ("tool", "pixels"),
        ("json_schema", "norm1000"),
        ("json_object", "norm1000-yxyx"),
        ("plain", "norm1000"),
    ],
)
async def test_a_small_target_is_boxed_within_two_pixels_after_two_rounds(dialect, frame):
    looker = Looker(Speaks(frame), widths=(25,))
    async with MllmServer("sglang", script=looker) as server:
        found = await answer(server, image=wide(), dialect=dialect, frame=frame)
    assert off(found) <= 2
    assert [may for _, may, _ in looker.seen] == [True, False]
    first, last = (box for *_, box in looker.seen)
    assert 10 <= first[2] - first[0] <= 14
    assert last[2] - last[0] > 3 * (first[2] - first[0])
    trace = await replayed(found)
    assert [step.seam for step in trace.steps[:5]] == ["endpoint", "sent", "chat", "sent", "chat"]
    assert windows(trace)[0] == [0, 0, 12_000, 5000]
    assert any("looked closer" in note for note in found.notes)
    part = str(tuple(windows(trace)[1]))
    assert any(f"of the part {part}" in line for line in dialogue(trace))
    assert part in write_report(trace, Path("page.html")).read_text()


async def test_a_model_that_is_cautious_looks_twice_and_the_last_round_offers_no_third():
    image = drawn((12_000, 12_000), ((9011, 3107, 9111, 3207), RED))
    looker = Looker(Speaks("norm1000"), widths=(60, 6))
    async with MllmServer(script=looker) as server:
        found = await answer(server, image=image, dialect="tool")
    assert off(found, (9011, 3107, 9111, 3207)) <= 2
    assert [may for _, may, _ in looker.seen] == [True, True, False]
    outer, middle, inner = windows(await replayed(found))
    assert middle[2] - middle[0] < outer[2] - outer[0]
    assert middle[0] <= inner[0] < inner[2] <= middle[2]
    assert max(size for window, size in image.scene.looks if window.area > 5000**2) < (3000, 3000)


@pytest.mark.parametrize("kind", ["ollama", "transformers", "llama.cpp", "hosted"])
async def test_servers_that_ignore_or_enforce_parts_of_it(kind):
    looker = Looker(Speaks("norm1000"), widths=(25,), kind=KINDS[kind])
    async with MllmServer(kind, script=looker) as server:
        found = await answer(server, image=wide(), dialect="tool")
    assert off(found) <= 2
    body = server.asked[0].body
    assert [tool["function"]["name"] for tool in body["tools"]] == ["segment_targets", "zoom"]
    assert body["tool_choice"] == "required"
    assert [tool["function"]["name"] for tool in server.asked[1].body["tools"]] == ["segment_targets"]


async def test_a_picture_that_shows_enough_is_asked_about_as_ever():
    async with MllmServer() as server:
        for rounds in (0, 2):
            await answer(server, zoom_rounds=rounds, image=drawn((2000, 2400), ((9, 9, 300, 300), RED)))
            await answer(server, zoom_rounds=rounds, image=picture(), dialect="tool")
    plain, tools, plain_again, tools_again = (json.loads(request.raw) for request in server.asked)
    assert (plain, tools) == (plain_again, tools_again)


async def test_without_rounds_nothing_is_offered():
    looker = Looker(Speaks("norm1000"))
    async with MllmServer(script=looker) as server:
        found = await answer(server, image=wide(), zoom_rounds=0)
    assert [may for _, may, _ in looker.seen] == [False]
    assert off(found) <= 12
    assert server.completions == 1


async def test_the_paper_asks_once():
    looker = Looker(Speaks("pixels"))
    async with MllmServer(script=looker) as server:
        await answer(server, image=wide(), profile="paper", frame="pixels", zoom_rounds=4)
    assert [may for _, may, _ in looker.seen] == [False]


def says(*values):
    """A script that gives these one after the other, the last for good; None looks honestly."""
    left = list(values)

    def script(asked):
        value = left.pop(0) if len(left) > 1 else left[0]
        return value(asked) if callable(value) else value and handed(asked, value)

    return script


async def test_a_model_that_would_look_closer_for_ever_must_answer_in_the_last_round():
    def forever(asked):
        return handed(asked, wish([100, 100, 600, 600])) if offered(asked) else None

    image = drawn((12_000, 12_000), ((2000, 2000, 2200, 2200), RED))
    async with MllmServer(script=forever) as server:
        found = await answer(server, image=image, zoom_rounds=3)
    assert server.completions == 4
    assert len(windows(await replayed(found))) == 4


async def test_a_wish_that_shows_hardly_more_ends_the_offers():
    async with MllmServer(script=says(wish([0, 0, 1000, 1000]), None)) as server:
        found = await answer(server, image=wide())
    assert server.completions == 2
    assert windows(await replayed(found)) == [[0, 0, 12_000, 5000]]
    assert not any("closer" in note for note in found.notes)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (wish([1200, 100, 1400, 300]), "must be a part of the picture"),
        (wish([500, 500, 501, 501]), "at least 2"),
        (wish([500, 500, 600]), "four numbers"),
        ({**wish([100, 100, 200, 200]), "status": "found"}, "status"),
        ({**wish([1, 1, 99, 99]), "targets": [{"bbox_2d": [1, 1, 9, 9], "label": "car"}]}, "targets"),
        ({**wish([1, 1, 99, 99]), "scale": 4}, "scale"),
        ({**wish([1, 1, 99, 99]), "zoom_2d": [], "status": "zoom"}, "must be the box"),
    ],
    ids=["outside", "one-pixel", "three", "found", "both", "more", "boxless"],
)
async def test_a_wish_that_breaks_a_rule_is_told_and_asked_for_again(value, told):
    honest = Looker(Speaks("norm1000"), widths=(25,))
    async with MllmServer(script=says(value, honest)) as server:
        found = await answer(server, image=wide(), dialect="json_schema")
    assert told in server.asked[1].body["messages"][-1]["content"]
    assert off(found) <= 2
    await replayed(found)


@pytest.mark.parametrize("value", [wish([500, 500, 501, 501]), wish([1200, 0, 1300, 90])])
async def test_wishes_that_break_rules_to_the_end_are_an_error_that_replays(value):
    async with MllmServer(script=says(value)) as server:
        found = await answer(server, image=wide(), dialect="tool")
    assert isinstance(found, InvalidReply)
    assert server.completions == 3
    await replayed(found)


async def test_text_instead_of_an_answer_is_asked_again_in_every_round():
    def talk(_):
        return "I would like to see more of it, please."

    looker = Looker(Speaks("norm1000"), widths=(25,))
    async with MllmServer(script=says(talk, looker, talk, looker)) as server:
        found = await answer(server, image=wide(), attempts=2)
    assert off(found) <= 2
    assert server.completions == 4, "each round has attempts of its own"
    await replayed(found)


async def test_samples_look_for_themselves_and_agree():
    looker = Looker(Speaks("norm1000"), widths=(25,))
    async with MllmServer(script=looker) as server:
        found = await answer(server, image=wide(), samples=3)
    assert off(found) <= 2
    assert found.confidence == 1.0
    assert server.completions == 6
    await replayed(found)


async def test_all_rounds_draw_on_one_budget():
    looker = Looker(Speaks("norm1000"), widths=(25,))
    async with MllmServer(script=looker) as server:
        found = await answer(server, image=wide(), max_tokens_total=6000)
    assert isinstance(found, BudgetExceeded)
    assert server.completions == 1
    await replayed(found)


async def test_the_answer_is_cached_with_its_rounds():
    async with MllmServer(script=Looker(Speaks("norm1000"), widths=(25,))) as server:
        first = await answer(server, image=wide(), cache="cache")
        made = server.completions
        again = await answer(server, image=wide(), cache="cache")
        fewer = await answer(server, image=wide(), cache="cache", zoom_rounds=1)
        small = [await answer(server, cache="cache", zoom_rounds=rounds) for rounds in (1, 2)]
    assert (made, server.completions) == (2, 5)
    assert again.targets[0].box == first.targets[0].box
    assert off(fewer) <= 2
    assert small[0].targets[0].box == small[1].targets[0].box
    await replayed(again)


async def test_what_is_not_in_the_part_is_not_found_and_the_part_is_named():
    nothing = {"status": "not_found", "targets": [], "reasoning": "only fields"}
    async with MllmServer(script=says(wish([100, 100, 200, 200]), nothing)) as server:
        found = await answer(server, image=wide())
    assert (found.status, found.targets) == ("not_found", ())
    assert any("(780, 0, 2220, 1440)" in note or "of the image of 12000 x 5000" in note for note in found.notes)
    await replayed(found)


async def test_a_trace_from_before_there_were_closer_looks_replays():
    async with MllmServer(script=Looker(Speaks("norm1000"))) as server:
        found = await answer(server, image=wide(), zoom_rounds=0)
    trace = load(found.trace_path)
    older = trace.model_copy(update={"settings": {k: v for k, v in trace.settings.items() if k != "zoom_rounds"}})
    assert (await replay(older)).answer.targets[0].box == found.targets[0].box


async def test_a_dialect_that_was_refused_is_not_tried_again_in_the_next_round():
    looker = Looker(Speaks("norm1000"), widths=(25,))
    async with MllmServer("vllm", script=looker, faults={1: "400-naming-response_format"}) as server:
        found = await answer(server, image=wide(), dialect=None)
    assert off(found) <= 2
    assert server.completions == 3
    trace = await replayed(found)
    asked = [step.input.dialect for step in trace.steps if step.seam == "chat"]
    assert (asked[0], asked[1] == asked[2] != asked[0]) == ("json_schema", True)
