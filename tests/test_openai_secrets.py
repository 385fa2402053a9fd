"""What an endpoint sends, and what must never get out of it."""

import os
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from chat_questions import SECRET, endpoint, failure, question
from mllm_faults import status
from mllm_leaks import leaves_nothing
from mllm_server import MllmServer

from geoseg_agent.errors import (
    ConfigError,
    EndpointError,
    EndpointRefused,
)
from geoseg_agent.grounding.endpoint.openai_chat import OpenAIEndpoint
from geoseg_agent.settings import Settings


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
    ids=lambda fault: getattr(fault, "name", fault),
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


def answering(seen, content="hi"):
    async def answer(request):
        seen.append(request)
        return httpx2.Response(200, json={"choices": [{"message": {"content": content}, "finish_reason": "stop"}]})

    return httpx2.MockTransport(answer)


@pytest.mark.parametrize(
    ("key", "kept"),
    [
        ("1", '{"bbox_2d": [1, 10, 100, 111]}'),
        ("EMPTY", '{"status": "EMPTY"}'),
        (SECRET, '{"label": "***"}'),
        ('sk-"quoted"\\0', '{"label": "***"}'),
    ],
)
async def test_a_key_is_blotted_out_of_replies_and_a_placeholder_for_one_is_not(key, kept):
    transport = answering([], kept.replace("***", key))
    settings = Settings(base_url="http://localhost:8000/v1", model="m", api_key=key)
    there = OpenAIEndpoint(settings, transport=transport)
    try:
        reply = await there.complete(question(dialect="plain"))
    finally:
        await there.aclose()

    assert reply.content == kept


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
sys.path.insert(0, sys.argv[1])
import chat_questions as here
from geoseg_agent.errors import EndpointError
from mllm_server import MllmServer

async def main():
    async with MllmServer("vllm", faults={2: "503"}) as there:
        for key in (None, here.SECRET):
            one = here.endpoint(there, api_key=key)
            await one.terms()
            try:
                await one.complete(here.question())
            except EndpointError as error:
                print(error)
            await one.aclose()
        for request in there.requests:
            print(request.method, request.path, request.headers)

asyncio.run(main())
"""


def test_nothing_comes_from_ambient_variables_and_nothing_secret_goes_to_the_logs():
    done = subprocess.run(
        [sys.executable, "-c", CHILD, Path(__file__).parent / "support"],
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
