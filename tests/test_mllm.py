"""Grounding by a multimodal model, end to end against the loopback server; every kind of query replays."""

import asyncio
import json
from pathlib import Path

import pytest
from asking import BLUE, RED, agent, answer, picture, settings
from mllm_server import MllmServer

from geoseg_agent.agent import Agent
from geoseg_agent.errors import (
    BudgetExceeded,
    ConfigError,
    DeadlineExceeded,
    EndpointRefused,
    EndpointUnavailable,
    InvalidReply,
)
from geoseg_agent.grounding.chat import FRAMES, Verdict
from geoseg_agent.grounding.endpoint.verdicts import keep
from geoseg_agent.grounding.messages import prompt_of
from geoseg_agent.trace.replay import replay
from geoseg_agent.trace.store import load
from geoseg_agent.types import Hints

BAD = '{"status": "found", "targets": [{"bbox_2d": [0, 0, 5000, 10], "label": "far out"}]}'
ABSENT = '{"status": "not_found", "targets": [], "reasoning": "only fields here"}'


def close(box, truth):
    return all(abs(a - b) <= 2 for a, b in zip(box, truth, strict=True))


def seams(trace):
    return [step.seam for step in trace.steps]


async def replayed(found):
    """The trace of an answer or error, after it has replayed."""
    path = found.trace_path if hasattr(found, "trace_path") else Path("traces") / f"{found.trace_id}.json"
    trace = load(path)
    again = await replay(trace)
    assert (again.answer is None) == isinstance(found, Exception)
    return trace


@pytest.mark.parametrize("dialect", ["tool", "json_schema", "json_object", "plain"])
@pytest.mark.parametrize("kind", ["hosted", "sglang", "transformers", "ollama"])
async def test_a_query_is_grounded_in_every_dialect_and_replays(kind, dialect):
    async with MllmServer(kind) as server:
        found = await answer(server, dialect=dialect)
    assert found.status == "found"
    assert close(found.targets[0].box, RED)
    assert found.confidence is None
    assert server.completions == 1
    trace = await replayed(found)
    assert seams(trace)[:3] == ["endpoint", "sent", "chat"]
    assert "ground" not in seams(trace)
    assert (trace.prompt.name, trace.prompt.version) == ("grounding", "v1")


@pytest.mark.parametrize("frame", ["norm1000", "norm1000-yxyx", "unit", "pixels", "pixels-yxyx"])
async def test_a_frame_set_by_hand_is_asked_for_and_read(frame):
    async with MllmServer(speaks=frame) as server:
        found = await answer(server, frame=frame)
    assert close(found.targets[0].box, RED)
    terms = (await replayed(found)).steps[0].output
    assert (terms.asked, terms.read) == (frame, frame)


async def test_several_targets():
    async with MllmServer() as server:
        found = await answer(server, "the red and the blue rectangle")
    assert [close(t.box, truth) for t, truth in zip(found.targets, (RED, BLUE), strict=True)] == [True, True]
    await replayed(found)


async def test_an_absent_object_is_an_answer():
    async with MllmServer(script=[ABSENT]) as server:
        found = await answer(server, "the hospital")
    assert (found.status, found.targets, found.mask.any()) == ("not_found", (), False)
    assert server.completions == 1
    await replayed(found)


async def test_a_reply_that_breaks_a_rule_is_asked_for_again_and_all_of_it_replays():
    async with MllmServer(script=[BAD, "I see nothing that is JSON."]) as server:
        found = await answer(server)
    assert close(found.targets[0].box, RED)
    assert server.completions == 3
    told = server.asked[1].body["messages"][-1]["content"]
    assert "targets[0].bbox_2d" in json.dumps(told)
    assert "5000" in json.dumps(told)
    assert seams(await replayed(found)).count("chat") == 3


async def test_replies_that_break_rules_to_the_end_are_an_error_that_replays():
    async with MllmServer(script=[BAD] * 3) as server:
        found = await answer(server)
    assert isinstance(found, InvalidReply)
    assert server.completions == 3
    trace = await replayed(found)
    assert (trace.status, trace.error.code) == ("failed", "invalid_reply")


@pytest.mark.parametrize(("fault", "kind", "made"), [("401", EndpointRefused, 1), ("503", EndpointUnavailable, 2)])
async def test_an_endpoint_that_fails_is_an_error_that_replays(fault, kind, made):
    async with MllmServer(faults=fault) as server:
        found = await answer(server, attempts=2)
    assert isinstance(found, kind)
    assert server.completions == made
    assert seams(await replayed(found)) == ["endpoint", "sent", *["chat"] * made]


async def test_a_fault_that_passes_replays_with_its_repetition():
    async with MllmServer(faults={1: "503"}) as server:
        found = await answer(server)
    assert found.status == "found"
    trace = await replayed(found)
    assert [step.error and step.error.type for step in trace.steps if step.seam == "chat"] == [
        "EndpointUnavailable",
        None,
    ]


async def test_a_refused_dialect_is_stepped_down_from_at_once_and_remembered():
    async with MllmServer("vllm") as server, agent(server, dialect=None) as asked:
        server.faults = {1: "400-naming-response_format"}
        first = await asked.segment(picture(), "the red rectangle")
        made = server.completions
        second = await asked.segment(picture(), "the blue rectangle")
    assert made == 2
    assert server.completions == 3
    assert close(first.targets[0].box, RED)
    assert close(second.targets[0].box, BLUE)
    for found in (first, second):
        await replayed(found)


async def test_samples_agree_and_agreement_is_confidence():
    other = '{"status": "found", "targets": [{"bbox_2d": [10, 10, 90, 90], "label": "corner"}], "reasoning": ""}'
    async with MllmServer(script=[other]) as server:
        found = await answer(server, samples=3)
    assert server.completions == 3
    assert len({request.body["seed"] for request in server.asked}) == 3
    assert [close(target.box, RED) for target in found.targets] == [True]
    assert found.confidence == pytest.approx(2 / 3)
    await replayed(found)


async def test_a_sample_that_fails_counts_as_disagreement():
    async with MllmServer(script=lambda asked: "no" if asked.body["seed"] % 1000 == 1 else None) as server:
        found = await answer(server, samples=2)
    assert found.confidence == 0.5
    assert any("1 of 2 samples" in note for note in found.notes)
    await replayed(found)


def corrections(*scores):
    """A reviewer that wants the first target moved to the blue box each time, with these scores."""
    left = list(scores)

    def review(asked):
        moved = [BLUE.x1 * 1000 // 1024, BLUE.y1 * 1000 // 768, BLUE.x2 * 1000 // 1024, BLUE.y2 * 1000 // 768]
        verdict = {"target": 1, "verdict": "reground", "bbox_2d": moved, "label": "blue box"}
        return {"verdicts": [verdict], "score": left.pop(0), "reasoning": "it is elsewhere"}

    return review


async def test_a_review_corrects_the_result_and_replays():
    async with MllmServer(review=corrections(2, 8)) as server:
        found = await answer(server, verify_rounds=1)
    assert close(found.targets[0].box, BLUE)
    assert found.targets[0].phrase == "blue box"
    assert found.confidence == 0.8
    trace = await replayed(found)
    assert seams(trace).count("chat") == 3
    assert [step.input.overlay is None for step in trace.steps if step.seam == "sent"] == [True, False, False]


async def test_a_correction_found_worse_is_not_kept_and_replays():
    async with MllmServer(review=corrections(6, 1)) as server:
        found = await answer(server, verify_rounds=3)
    assert close(found.targets[0].box, RED)
    assert any("no better" in note for note in found.notes)
    await replayed(found)


async def test_a_review_that_fails_loses_nothing_and_replays():
    async with MllmServer(faults={2: "401"}) as server:
        found = await answer(server, verify_rounds=2)
    assert close(found.targets[0].box, RED)
    assert any("review 1 failed" in note for note in found.notes)
    await replayed(found)


async def test_the_cache_answers_the_same_question_for_nothing_and_replays(tmp_path):
    async with MllmServer() as server:
        first = await answer(server, cache=tmp_path / "cache")
        second = await answer(server, cache=tmp_path / "cache")
        assert server.completions == 1
        other = await answer(server, "the blue rectangle", cache=tmp_path / "cache")
        assert server.completions == 2
    assert tuple(second.targets[0].box) == tuple(first.targets[0].box)
    assert any("cache" in note for note in second.notes)
    traces = [await replayed(found) for found in (first, second, other)]
    hits = [next(step.output for step in trace.steps if step.seam == "cache") for trace in traces]
    assert [hit is None for hit in hits] == [True, False, True]
    assert "chat" not in seams(traces[1])


async def test_the_budget_ends_a_query_before_the_request_that_would_break_it():
    async with MllmServer(script=[BAD]) as server:
        found = await answer(server, max_tokens_total=4000)
    assert isinstance(found, BudgetExceeded)
    assert server.completions == 1
    await replayed(found)


async def test_a_phrase_that_the_offline_tools_do_not_know_gives_a_mask_with_its_own_score_and_a_warning():
    said = {"status": "found", "targets": [{"bbox_2d": [250, 100, 500, 450], "label": "hospital"}], "reasoning": ""}
    async with MllmServer(answer=said) as server, Agent(settings(server)) as asked:
        found = await asked.segment(picture(), "where could I seek medical help?")
    assert found.status == "found"
    assert found.mask.any()
    assert found.targets[0].phrase == "hospital"
    assert 0 < found.targets[0].score < 1
    assert any("do not know 'hospital'" in note for note in found.notes)
    assert found.engine == "mllm+offline-baseline"
    await replayed(found)


async def test_hints_spare_the_model_or_rename_what_it_finds():
    async with MllmServer() as server:
        given = await answer(server, hints=Hints(box=(10, 10, 90, 90)))
        assert server.requests == []
        named = await answer(server, hints=Hints(phrase="barn"))
    assert tuple(given.targets[0].box) == (10, 10, 90, 90)
    assert named.targets[0].phrase == "barn"
    for found in (given, named):
        await replayed(found)


@pytest.mark.parametrize(
    ("model", "engine"),
    [
        ("Qwen/Qwen3-VL-8B-Instruct", "mllm:Qwen3-VL-8B-Instruct"),
        ("qwen3-vl:8b", "mllm:qwen3-vl:8b"),
        ("/home/me/models/qwen+lora/", "mllm:qwen_lora"),
    ],
)
async def test_the_label_of_a_result_names_the_model_and_no_folder(model, engine):
    async with MllmServer("sglang", model=model) as server:
        found = await answer(server, model=model)
    assert found.engine == f"{engine}+word-tools"
    await replayed(found)


async def test_two_queries_on_one_picture_share_their_prefix():
    async with MllmServer() as server, agent(server) as asked:
        await asked.segment(picture(), "the red rectangle")
        await asked.segment(picture(), "the blue rectangle")
    first, second = (json.dumps(request.body["messages"]) for request in server.asked)
    shared = next(k for k, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    assert shared > len(first) - 300
    assert first.index("base64") < first.index("red rectangle")


async def test_the_paper_profile_wants_to_know_the_frame_before_it_pays():
    async with MllmServer() as server:
        found = await answer(server, profile="paper", verdicts="none-here")
        assert found.code == "config"
        assert "doctor grounding" in str(found)
        assert server.completions == 0
        told = await answer(server, profile="paper", frame="norm1000")
    assert close(told.targets[0].box, RED)
    trace = await replayed(told)
    assert trace.prompt.name == "grounding_pixels"
    assert "pixels" in trace.steps[0].output.asked


async def test_a_deadline_says_which_trace_it_left():
    async with MllmServer(faults="stall") as server:
        found = await answer(server, deadline=0.4)
    assert isinstance(found, DeadlineExceeded)
    trace = load(Path("traces") / f"{found.trace_id}.json")
    assert trace.status == "interrupted"
    assert trace.steps[-1].error.code == "cancelled"


async def test_an_agent_can_be_closed_twice():
    async with MllmServer() as server, agent(server) as asked:
        await asked.segment(picture(), "the red rectangle")
        await asked.aclose()
        await asked.aclose()
    assert server.open_sockets == 0


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ({"scale": (1.02, 1.0)}, "scaled by 1.020"),
        ({"shift": (0.0, 12.0)}, "shifted by +0.0, +12.0 px"),
        ({"frame": FRAMES["pixels"]}, "boxes in pixels, while they are read in norm1000"),
        ({"frame": None}, "no known frame"),
        ({}, None),
    ],
)
async def test_what_the_doctor_found_wrong_is_said_with_every_answer(verdict, said):
    known = {"frame": FRAMES["norm1000"], "mixed": (), "iou": 0.9, "scale": (1.0, 1.0), "shift": (0.0, 0.0)}
    found = Verdict(**{**known, **verdict}, residual=0.5, prompt=prompt_of("default").sha256, found="2026-01-31")
    async with MllmServer(model="qwen3-vl") as server:
        keep(Path("verdicts"), server.base_url, "qwen3-vl", found)
        told = await answer(server, model="qwen3-vl", verdicts="verdicts")
    notes = [note for note in told.notes if "doctor grounding" in note]
    assert [said in note for note in notes] == ([] if said is None else [True])
    assert (await replayed(told)).steps[0].output.verdict.found == "2026-01-31"


async def test_closing_ends_queries_that_run_with_an_error_and_a_trace_each():
    async with MllmServer(faults="stall") as server:
        async with agent(server) as asked:
            running = [asyncio.create_task(asked.segment(picture(), "the red rectangle")) for _ in range(3)]
            while server.completions < 3:  # noqa: ASYNC110 - the server's count, which nothing announces
                await asyncio.sleep(0.01)
            await asked.aclose()
        errors = [task.exception() for task in running]
    assert [type(error) for error in errors] == [ConfigError] * 3
    assert len(list(traces())) == 3
    assert {trace.status for trace in traces()} == {"interrupted"}
    assert server.open_sockets == 0


def traces():
    return [load(path) for path in Path("traces").glob("*.json")]
