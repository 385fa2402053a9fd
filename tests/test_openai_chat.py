"""One request: its slot, its time, its connection, its extras, and its end."""

import asyncio
import time

import numpy as np
import pytest
from chat_questions import endpoint, question, until
from mllm_answers import Tail
from mllm_leaks import leaves_nothing
from mllm_server import MllmServer

from geoseg_agent.errors import (
    DialectRefused,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
)
from geoseg_agent.grounding.endpoint.openai_chat import OpenAIEndpoint
from geoseg_agent.settings import Settings


@pytest.mark.parametrize(("early", "stopped"), [("auto", "answer"), ("on", "answer"), ("off", None)])
async def test_reading_stops_early_where_that_is_wanted(early, stopped):
    async with MllmServer("vllm", tail=Tail(50, 0.001)) as there, leaves_nothing(there):
        one = endpoint(there, early_stop=early)
        await one.terms()
        reply = await one.complete(question())
        await one.aclose()

    assert reply.stopped == stopped
    assert (reply.usage is None) == (stopped == "answer")
    assert there.asked[0].tail < 50 or stopped is None


async def test_an_unknown_server_is_read_to_the_end():
    async with MllmServer("unknown", tail=Tail(5, 0)) as there:
        one = endpoint(there)
        await one.terms()
        reply = await one.complete(question())
        await one.aclose()
    assert reply.stopped is None
    assert reply.usage is not None


async def test_a_cancelled_request_closes_its_socket_at_once():
    async with MllmServer("vllm", pace=0.05) as there, leaves_nothing(there):
        one = endpoint(there)
        asking = asyncio.create_task(one.complete(question()))
        await until(lambda: there.completions and there.asked[0].sent)
        asking.cancel()
        cancelled = time.monotonic()
        await asyncio.wait([asking])
        await until(lambda: there.asked[0].disconnected)
        await one.aclose()
    assert asking.cancelled()
    assert there.asked[0].disconnected - cancelled < 0.05


async def test_an_attempt_has_its_time_and_waiting_for_a_slot_is_none_of_it():
    async with MllmServer("vllm", delay=0.2) as there, leaves_nothing(there):
        one = endpoint(there, endpoint_calls=1, call_timeout=0.5)
        async with asyncio.TaskGroup() as together:
            tasks = [together.create_task(one.complete(question())) for _ in range(4)]
        assert all(task.result().content for task in tasks)
        there.delay = 5
        with pytest.raises(EndpointTimeout, match=r"0.5 s \(raise GEOSEG_CALL_TIMEOUT"):
            await one.complete(question())
        await one.aclose()


async def test_no_more_requests_than_slots_are_under_way():
    async with MllmServer("vllm", delay=0.05) as there, leaves_nothing(there):
        one = endpoint(there, endpoint_calls=3)
        async with asyncio.TaskGroup() as together:
            for _ in range(12):
                together.create_task(one.complete(question()))
        await one.aclose()
        marks = sorted((at, by) for one in there.asked for at, by in ((one.arrived, 1), (one.ended, -1)))
        running = np.cumsum([by for _, by in marks])
    assert running.max() <= 3
    assert there.connections <= 3


@pytest.mark.parametrize("fault", ["400-naming-seed", "422-naming-seed", "400-naming-chat_template_kwargs"])
async def test_an_extra_that_is_refused_is_left_out_for_good(fault):
    field = fault.rpartition("-")[2]
    async with MllmServer("vllm", faults={1: fault}) as there:
        one = endpoint(there, dialect="json_schema")
        await one.terms()
        await one.complete(question())
        await one.complete(question())
        await one.aclose()
    assert [field in request.body for request in there.asked] == [True, False, False]


async def test_the_other_name_for_the_limit_is_remembered():
    async with MllmServer("vllm", faults={1: "400-naming-max_tokens"}) as there:
        one = endpoint(there)
        await one.complete(question())
        await one.complete(question())
        await one.aclose()
    assert ["max_completion_tokens" in request.body for request in there.asked] == [False, True, True]
    assert ["max_tokens" in request.body for request in there.asked] == [True, False, False]


async def test_a_server_that_refuses_every_extra_is_asked_without_them():
    async with MllmServer("vllm", faults=lambda attempt: f"400-naming-{'seed' if attempt < 3 else 'tools'}") as there:
        one = endpoint(there)
        # Named once more although it is not there: final, not an endless loop.
        with pytest.raises(EndpointRefused):
            await one.complete(question())
        await one.aclose()
    assert there.completions == 2


async def test_a_refused_dialect_is_told_to_the_caller():
    async with MllmServer("vllm", faults={1: "500-validation"}) as there:
        one = endpoint(there)
        with pytest.raises(DialectRefused):
            await one.complete(question())
        await one.aclose()
    assert there.completions == 1


async def test_a_model_that_is_not_there_is_refused_with_those_that_are():
    async with MllmServer("vllm") as there:
        one = endpoint(there, model="qwen4")
        await one.terms()
        with pytest.raises(EndpointRefused, match=f"GEOSEG_MODEL to one of {there.model}"):
            await one.complete(question(model="qwen4"))
        await one.aclose()


async def test_a_redirect_is_not_followed():
    async with MllmServer("vllm", faults="307") as there:
        one = endpoint(there)
        with pytest.raises(EndpointRefused, match="redirects"):
            await one.complete(question())
        await one.aclose()
    assert there.completions == 1


@pytest.mark.parametrize("early", ["off", "on"])
async def test_a_connection_is_used_again_unless_reading_stopped_early(early):
    async with MllmServer("vllm", tail=Tail(3, 0)) as there, leaves_nothing(there):
        one = endpoint(there, early_stop=early, dialect="json_schema")
        await one.terms()
        for _ in range(3):
            await one.complete(question())
        await one.aclose()
    assert there.connections == (1 if early == "off" else 3)


async def test_a_connection_that_the_server_has_closed_meanwhile_costs_nothing():
    async with MllmServer("vllm", idle=0.05) as there, leaves_nothing(there):
        one = endpoint(there, early_stop="off")
        await one.complete(question())
        await asyncio.sleep(0.2)
        await one.complete(question())
        await one.aclose()
    assert (there.completions, there.connections) == (2, 2)


async def test_tls_where_there_is_none_is_told():
    async with MllmServer("vllm", idle=0.1) as there:
        settings = Settings(base_url=there.base_url.replace("http:", "https:"), model="m")
        one = OpenAIEndpoint(settings)
        with pytest.raises(EndpointUnavailable, match="http against https"):
            await one.complete(question())
        await one.aclose()


async def test_where_nobody_listens_the_address_is_told():
    async with MllmServer("vllm") as there:
        await there.down()
        one = endpoint(there)
        with pytest.raises(EndpointUnavailable, match=rf"{there.base_url} cannot be reached.*refused|failed"):
            await one.complete(question())
        await one.aclose()
