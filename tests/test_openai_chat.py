"""The endpoint: what it learns and remembers, what it sends, how it fails, and what it leaves behind."""

import asyncio
import dataclasses
import hashlib
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import numpy as np
import PIL.Image
import pytest
from mllm_answers import Tail
from mllm_faults import status
from mllm_leaks import leaves_nothing
from mllm_server import MllmServer

from geoseg_agent.errors import (
    ConfigError,
    DialectRefused,
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
)
from geoseg_agent.grounding.chat import ChatRequest, Frame, Message, SentImage, Tool, Verdict
from geoseg_agent.grounding.messages import prompt_of
from geoseg_agent.grounding.openai_chat import REMEMBERED, OpenAIEndpoint
from geoseg_agent.grounding.verdicts import keep
from geoseg_agent.settings import Settings
from geoseg_tools.geometry import Box

SECRET = "sk-canary-0123456789"  # noqa: S105 - public
SCHEMA = {
    "type": "object",
    "properties": {"status": {"type": "string"}, "targets": {"type": "array", "items": {"type": "object"}}},
}
TOOL = Tool("segment_targets", "Reports.", SCHEMA)
ALL = ("json_schema", "tool", "json_object", "plain")


def picture():
    pixels = np.full((64, 96, 3), 120, np.uint8)
    pixels[16:48, 8:40] = (255, 0, 0)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG")
    data = file.getvalue()
    return SentImage((64, 96), Box(0, 0, 96, 64), "image/png", hashlib.sha256(data).hexdigest(), data)


IMAGE = picture()


def question(dialect="json_schema", model="qwen3-vl-8b"):
    messages = (Message("system", "rules"), Message("user", "query: the red rectangle", IMAGE))
    return ChatRequest(model, messages, TOOL, dialect, 300, 0.0, 0)


def endpoint(server, **options):
    more = {name: options.pop(name) for name in ("clock", "transport") if name in options}
    values = {"model": server.model, "api_key": SECRET, "verdicts": "verdicts", **options}
    return OpenAIEndpoint(Settings(base_url=server.base_url, **values), **more)


async def until(true):
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - a server's records are no events
            await asyncio.sleep(0.001)


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


async def failure(doing):
    try:
        await doing
    except Exception as error:  # noqa: BLE001 - looked at by the test
        return error
    raise AssertionError("it did not fail")


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


def walk(error, seen=None):
    """Every text that an error leads to."""
    seen = set() if seen is None else seen
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield f"{error!s} {error!r} {vars(error)!r} {error.args!r} {getattr(error, '__notes__', '')}"
    assert not isinstance(error, httpx2.HTTPError), error
    for other in (error.__cause__, error.__context__, *vars(error).values()):
        if isinstance(other, BaseException):
            yield from walk(other, seen)


ECHO = {"error": {"message": f"I got Bearer {SECRET} and data:image/png;base64,iVBORw0KGgoAAAANSUhEUg"}}


@pytest.mark.parametrize(
    "fault",
    [
        "reset",
        "hang-up",
        "garbage",
        "reset-mid-body",
        "stall",
        "307",
        "401",
        "404",
        "429-huge-retry-after",
        "502-html",
        "500-validation",
        "html",
        "null-choices",
        "error-object",
        "huge-line",
        "stream-cut",
        "stream-torn",
        "stream-error-event",
        status(400, body=ECHO, name="echo"),
        status(503, body=ECHO, name="echo-503"),
        status(422, body={"detail": [{"loc": ["body"], "msg": "no", "input": ECHO}]}, name="echo-422"),
    ],
    ids=str,
)
async def test_no_error_leads_to_the_key_or_the_picture(fault):
    async with MllmServer("vllm", faults=fault, key=SECRET) as there, leaves_nothing(there):
        one = endpoint(there, call_timeout=0.5)
        error = await failure(one.complete(question()))
        await one.aclose()

    assert isinstance(error, EndpointError)
    texts = " ".join(walk(error))
    assert SECRET not in texts
    assert "iVBORw0KGgo" not in texts
    assert error.__context__ is None


@pytest.mark.parametrize("key", ["sk canary", "sk-canary\n", "sk-cänary", "sk\x00"])
def test_a_key_that_no_header_carries_is_refused_unseen(key):
    with pytest.raises(ConfigError, match="GEOSEG_API_KEY") as caught:
        OpenAIEndpoint(Settings(base_url="http://localhost:8000/v1", api_key=key))
    assert key not in " ".join(walk(caught.value))


def test_an_endpoint_needs_an_address():
    with pytest.raises(ConfigError, match="GEOSEG_BASE_URL"):
        OpenAIEndpoint(Settings())


def answering(*seen):
    async def answer(request):
        seen[0].append(request)
        return httpx2.Response(200, json={"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]})

    return httpx2.MockTransport(answer)


@pytest.mark.parametrize("key", [None, SECRET])
async def test_only_these_headers_are_sent(key):
    seen = []
    settings = Settings(base_url="http://localhost:8000/v1", model="m", api_key=key)
    one = OpenAIEndpoint(settings, transport=answering(seen))
    reply = await one.complete(question())
    await one.aclose()

    headers = dict(seen[0].headers)
    assert reply.content == "hi"
    assert str(seen[0].url) == "http://localhost:8000/v1/chat/completions"
    assert headers.pop("authorization", None) == (None if key is None else f"Bearer {SECRET}")
    assert headers.pop("user-agent").startswith("geoseg-agent/")
    assert int(headers.pop("content-length")) == len(seen[0].content)
    assert headers == {
        "host": "localhost:8000",
        "accept": "application/json, text/event-stream",
        "accept-encoding": "identity",
        "content-type": "application/json",
    }


async def test_a_compressed_response_is_refused_unread():
    async def answer(request):
        return httpx2.Response(200, headers={"content-encoding": "gzip"}, content=b"\x1f\x8b")

    one = OpenAIEndpoint(Settings(base_url="http://localhost:8000/v1"), transport=httpx2.MockTransport(answer))
    with pytest.raises(EndpointRefused, match="compresses"):
        await one.complete(question())
    await one.aclose()


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
    async with MllmServer("vllm") as there:
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


AMBIENT = {
    "OPENAI_API_KEY": "sk-ambient-key",
    "OPENAI_ADMIN_KEY": "sk-ambient-admin",
    "OPENAI_ORG_ID": "ambient-org",
    "OPENAI_PROJECT_ID": "ambient-project",
    "OPENAI_BASE_URL": "http://ambient.invalid/v1",
    "OPENAI_CUSTOM_HEADERS": "X-Ambient: ambient-header\nAuthorization: Bearer sk-ambient-auth\nhost: ambient.host",
    "OPENAI_LOG": "debug",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
}
CHILD = """
import asyncio, logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
logging.getLogger("asyncio").setLevel(logging.WARNING)
logging.getLogger("PIL").setLevel(logging.WARNING)
sys.path[:0] = sys.argv[1:]
import test_openai_chat as here

async def main():
    async with here.MllmServer("vllm", faults={2: "503"}) as there:
        for key in (None, here.SECRET):
            one = here.endpoint(there, api_key=key)
            await one.terms()
            try:
                await one.complete(here.question())
            except here.EndpointError as error:
                print(error)
            await one.aclose()
        for request in there.requests:
            print(request.method, request.path, request.headers)

asyncio.run(main())
"""


def test_nothing_comes_from_ambient_variables_and_nothing_secret_goes_to_the_logs():
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", CHILD, here, here / "support"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | AMBIENT,
    )
    assert done.stdout.count("/v1/chat/completions {") == 4
    assert "ambient" not in done.stdout.lower()
    assert "503" in done.stdout
    for secret in ("ambient", SECRET, "iVBORw0KGgo", "authorization"):
        assert secret not in done.stderr
    assert "HTTP Request" not in done.stderr


def test_the_sdk_is_only_loaded_with_the_endpoint():
    code = (
        "import sys, geoseg_agent, geoseg_agent.settings, geoseg_agent.cli\n"
        "assert not {'openai', 'httpx2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
