"""What an endpoint learns of its server, how often it asks, and what it remembers."""

import asyncio
import dataclasses
import json
import time

import pytest
from chat_questions import endpoint, failure, question, until
from mllm_leaks import leaves_nothing
from mllm_server import MllmServer

from geoseg_agent.errors import (
    ConfigError,
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
)
from geoseg_agent.grounding.chat import Frame, Verdict
from geoseg_agent.grounding.endpoint.ladder import REMEMBERED
from geoseg_agent.grounding.endpoint.verdicts import keep
from geoseg_agent.grounding.messages import prompt_of

ALL = ("json_schema", "tool", "json_object", "plain")


def kinds(server):
    return [request.kind for request in server.requests]


@pytest.mark.parametrize(
    ("dialect", "server", "rungs", "proved", "canaries"),
    [
        ("vllm", "vllm", ALL, True, 1),
        ("sglang", "sglang", ALL, True, 1),
        ("llama.cpp", "llama.cpp", ALL, True, 1),
        ("llama-cpp-python", "unknown", ("json_object", "plain"), True, 3),
        ("ollama", "ollama", ("json_schema", "json_object", "plain"), True, 1),
        ("lmstudio", "lmstudio", ("json_schema", "tool", "plain"), True, 1),
        ("hosted", "unknown", ALL, True, 1),
        ("unknown", "unknown", ALL, True, 1),
    ],
)
async def test_each_server_is_asked_in_what_it_enforces(dialect, server, rungs, proved, canaries):
    async with MllmServer(dialect) as there, leaves_nothing(there):
        one = endpoint(there)
        terms = await one.terms()
        reply = await one.complete(question(terms.rungs[0]))
        await one.terms()
        await one.aclose()

    assert (terms.server, terms.rungs, terms.proved) == (server, rungs, proved)
    assert (there.canaries, there.completions) == (canaries, 1)
    text = reply.calls[0].arguments if reply.calls else reply.content
    assert json.loads(text)["targets"][0]["label"] == "red rectangle"


async def test_a_server_that_ignores_everything_is_asked_in_plain_text():
    async with MllmServer("transformers", model="acme/qwen3-vl") as there, leaves_nothing(there):
        one = endpoint(there)
        terms = await one.terms()
        reply = await one.complete(question("plain", there.model))
        await one.aclose()

    assert (terms.server, terms.rungs, terms.proved) == ("transformers", ("plain",), False)
    assert there.canaries == 0
    assert "red rectangle" in reply.content


async def test_a_chosen_dialect_is_not_tried_out():
    async with MllmServer("unknown") as there:
        one = endpoint(there, dialect="tool")
        terms = await one.terms()
        await one.aclose()

    assert (terms.rungs, terms.proved) == (("tool",), False)
    assert kinds(there) == ["other"]


async def test_many_first_queries_share_one_canary():
    async with MllmServer("vllm", delay=0.05) as there, leaves_nothing(there):
        one = endpoint(there)
        async with asyncio.TaskGroup() as together:
            tasks = [together.create_task(one.terms()) for _ in range(256)]
        await one.aclose()

    assert len({task.result() for task in tasks}) == 1
    assert kinds(there) == ["other", "canary"]


async def test_a_first_query_that_is_cancelled_does_not_take_the_others_along():
    async with MllmServer("vllm", delay=0.1) as there, leaves_nothing(there):
        one = endpoint(there)
        first = asyncio.create_task(one.terms())
        second = asyncio.create_task(one.terms())
        await asyncio.sleep(0.05)
        first.cancel()

        assert (await second).proved
        assert first.cancelled()
        assert there.canaries == 1
        await one.aclose()


async def test_when_nobody_waits_the_canary_ends_and_the_next_query_starts_anew():
    async with MllmServer("vllm", delay=0.2) as there, leaves_nothing(there):
        one = endpoint(there)
        first = asyncio.create_task(one.terms())
        await until(lambda: there.canaries)
        first.cancel()
        cancelled = time.monotonic()
        await asyncio.wait([first])
        second = await one.terms()
        await one.aclose()

    assert second.proved
    assert there.canaries == 2
    assert there.requests[1].disconnected - cancelled < 0.05


async def test_closing_tells_those_who_wait():
    async with MllmServer("vllm", delay=5) as there, leaves_nothing(there):
        one = endpoint(there)
        waiting = asyncio.create_task(one.terms())
        await asyncio.sleep(0.05)
        await one.aclose()
        await one.aclose()
        with pytest.raises(EndpointError, match="closed"):
            await waiting


async def test_what_was_found_out_holds_for_an_hour():
    now = [1000.0]
    async with MllmServer("vllm") as there:
        one = endpoint(there, clock=lambda: now[0])
        await one.terms()
        now[0] += REMEMBERED - 1
        await one.terms()
        assert there.canaries == 1
        now[0] += 2
        await one.terms()
        assert there.canaries == 2
        await one.aclose()


@pytest.mark.parametrize("fault", ["503", "reset", "stall", "html", "401", "400"])
async def test_a_canary_that_fails_leaves_the_first_rung(fault):
    async with MllmServer("vllm", canary_fault=fault) as there, leaves_nothing(there):
        one = endpoint(there, call_timeout=0.3)
        first = await one.terms()
        there.canary_fault = None
        second = await one.terms()
        await one.aclose()

    assert (first.rungs, first.proved) == (ALL, False)
    # A refusal would come again; what passes is worth another canary.
    assert second.proved == (fault in {"503", "reset", "stall"})


@pytest.mark.parametrize("fault", ["503", "reset", "stall", "html", "null-choices"])
async def test_a_fingerprint_that_fails_is_not_remembered(fault):
    async with MllmServer("vllm", models_fault=fault) as there, leaves_nothing(there):
        one = endpoint(there, call_timeout=0.3)
        first = await one.terms()
        there.models_fault = None
        second = await one.terms()
        await one.aclose()

    assert first.server == "unknown"
    assert second.server == ("unknown" if fault == "null-choices" else "vllm")
    assert there.canaries == 1


async def test_a_refused_dialect_is_left_for_good_and_the_next_is_proved():
    async with MllmServer("vllm") as there:
        one = endpoint(there)
        await one.terms()
        one.step_down("json_schema")
        terms = await one.terms()
        assert (terms.rungs, terms.proved) == (("tool", "json_object", "plain"), True)
        for rung in terms.rungs:
            one.step_down(rung)
        assert (await one.terms()).rungs == ("plain",)
        assert there.canaries == 2
        await one.aclose()


async def test_the_only_model_is_asked_for():
    async with MllmServer("vllm") as there:
        one = endpoint(there, model=None)
        assert (await one.terms()).model == there.model
        assert one.model is None
        await one.aclose()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("503", EndpointUnavailable),
        ("reset", EndpointUnavailable),
        ("401", EndpointRefused),
        ("html", EndpointRefused),
        ("stall", EndpointTimeout),
        ("null-choices", ConfigError),
    ],
)
async def test_without_a_model_the_list_must_come(fault, error):
    async with MllmServer("vllm", models_fault=fault) as there, leaves_nothing(there):
        one = endpoint(there, model=None, call_timeout=0.3)
        async with asyncio.TaskGroup() as together:
            tasks = [together.create_task(failure(one.terms())) for _ in range(3)]
        await one.aclose()

    errors = [task.result() for task in tasks]
    assert {type(one) for one in errors} == {error}
    # Each query marks its error with its own trace.
    assert len({id(one) for one in errors}) == 3
    assert there.canaries == 0


async def test_what_the_settings_leave_open_is_said_before_anything_is_sent():
    async with MllmServer("vllm") as there:
        one = endpoint(there, profile="paper")
        with pytest.raises(ConfigError, match="GEOSEG_FRAME"):
            await one.terms()
        nameless = endpoint(there, profile="paper", model=None)
        with pytest.raises(ConfigError, match="GEOSEG_FRAME"):
            await nameless.terms()
        await one.aclose()
        await nameless.aclose()
    assert kinds(there) == ["other"]


def verdict(**changes):
    prompt = prompt_of("default").sha256
    faithful = Verdict(Frame("norm1000"), (), 0.95, (1.0, 1.0), (0.0, 0.0), 0.5, prompt, "2026-11-24T00:00:00Z")
    return dataclasses.replace(faithful, **changes)


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({}, False),
        ({"scale": (1.02, 1.0)}, True),
        ({"shift": (0.0, -10.0)}, True),
        ({"frame": Frame("pixels")}, True),
        ({"frame": None, "mixed": ("norm1000", "pixels")}, True),
    ],
)
async def test_what_the_doctor_found_is_part_of_the_terms_and_warned_of_once(tmp_path, caplog, changes, warned):
    now = [0.0]
    found = verdict(**changes)
    async with MllmServer("vllm") as there:
        keep(tmp_path, there.base_url, there.model, found)
        one = endpoint(there, verdicts=tmp_path, clock=lambda: now[0])
        terms = await one.terms()
        now[0] += 2 * REMEMBERED
        await one.terms()
        await one.aclose()

    assert terms.verdict == found
    assert terms.read == Frame("norm1000")
    assert sum("off" in record.getMessage() for record in caplog.records) == warned
