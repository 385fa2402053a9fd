"""Bodies of requests, and what refusals of them mean."""

import base64
import dataclasses
import email.utils
import json
import ssl

import httpx2
import pytest
from openai import APIConnectionError

from geoseg_agent.errors import (
    DialectRefused,
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
)
from geoseg_agent.grounding.chat import ChatRequest, Message, SentImage, Tool
from geoseg_agent.grounding.endpoint.refusals import Answer, Place, objection_of, of_answer, of_failure, retry_after
from geoseg_agent.grounding.endpoint.wire import KINDS, DataUris, body_of, encoded, extras_in, hosted_kind, server_of
from geoseg_tools.geometry import Box

SCHEMA = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}
DATA = bytes(range(256))
IMAGE = SentImage((32, 32), Box(0, 0, 32, 32), "image/jpeg", "ab" * 32, DATA)
REQUEST = ChatRequest(
    model="m",
    messages=(Message("system", "rules"), Message("user", "where?", IMAGE), Message("assistant", "there")),
    tool=Tool("segment_targets", "Reports.", SCHEMA),
    dialect="tool",
    max_tokens=300,
    temperature=0.5,
    seed=7,
)
SECRET = "sk-canary-0123456789"  # noqa: S105 - public
PLACE = Place("http://localhost:8000/v1", "m", ("m", "n"), SECRET)
# Fields of OpenAI's schema; transformers serve answers 422 to others, and knows chat_template_kwargs besides.
OPENAI = {"model", "messages", "stream", "max_tokens", "max_completion_tokens", "temperature", "seed", "tools"}
OPENAI |= {"tool_choice", "parallel_tool_calls", "response_format", "stream_options", "reasoning_effort"}


def body(dialect="tool", kind="vllm", **options):
    return body_of(dataclasses.replace(REQUEST, dialect=dialect), kind, DataUris(), **options)


def test_the_picture_stands_before_the_text():
    system, user, assistant = body()["messages"]
    uri = "data:image/jpeg;base64," + base64.b64encode(DATA).decode()

    assert system == {"role": "system", "content": "rules"}
    assert user["content"] == [
        {"type": "image_url", "image_url": {"url": uri}},
        {"type": "text", "text": "where?"},
    ]
    assert assistant == {"role": "assistant", "content": "there"}


def test_the_tool_is_required_as_a_string():
    sent = body("tool")
    function = {"name": "segment_targets", "description": "Reports.", "parameters": SCHEMA, "strict": True}
    assert sent["tools"] == [{"type": "function", "function": function}]
    assert sent["tool_choice"] == "required"
    assert "response_format" not in sent


def test_the_same_object_is_a_schema_an_object_or_nothing():
    named = {"name": "segment_targets", "schema": SCHEMA, "strict": True}
    assert body("json_schema")["response_format"] == {"type": "json_schema", "json_schema": named}
    assert body("json_object")["response_format"] == {"type": "json_object"}
    assert not {"response_format", "tools", "tool_choice"} & set(body("plain"))


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        ("vllm", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("sglang", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("llama.cpp", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("transformers", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("ollama", {"reasoning_effort": "none"}),
        ("dashscope", {"enable_thinking": False}),
        ("openrouter", {"provider": {"require_parameters": True}}),
        ("unknown", {}),
        ("openai", {}),
        ("lmstudio", {}),
    ],
)
def test_each_kind_gets_its_own_extras_and_else_only_what_openai_knows(kind, extra):
    sent = body("json_schema", kind)
    assert {name: sent[name] for name in extra} == extra
    assert set(sent) - OPENAI == set(extra) - OPENAI


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dialect", ["tool", "json_schema", "json_object", "plain"])
def test_a_body_without_its_extras_keeps_what_the_answer_depends_on(kind, dialect):
    sent = body(dialect, kind)
    bare = body(dialect, kind, without=extras_in(sent), tokens="max_completion_tokens")

    assert extras_in(bare) == frozenset()
    assert set(bare) - {"tools", "tool_choice", "response_format"} == {
        "model",
        "messages",
        "stream",
        "max_completion_tokens",
    }
    assert json.loads(encoded(sent)) == sent


def test_a_picture_becomes_text_once():
    uris = DataUris()
    assert uris.of(IMAGE) is uris.of(dataclasses.replace(IMAGE, data=None))


def test_pictures_kept_as_text_are_bounded():
    uris = DataUris(most=1000)
    images = [dataclasses.replace(IMAGE, sha256=str(number)) for number in range(9)]
    first = uris.of(images[0])
    for image in images:
        uris.of(image)

    assert uris.of(images[0]) == first
    with pytest.raises(EndpointError, match="replay"):
        uris.of(dataclasses.replace(images[1], data=None))


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("api.openai.com", "openai"),
        ("OpenRouter.ai", "openrouter"),
        ("dashscope-intl.aliyuncs.com", "dashscope"),
        ("generativelanguage.googleapis.com", "gemini"),
        ("api.anthropic.com", "anthropic"),
        ("my.openai.azure.com", "openai"),
        ("api.openai.com.evil.example", None),
        ("evilopenrouter.ai", None),
        ("localhost", None),
    ],
)
def test_hosted_apis_are_known_by_their_host(host, kind):
    assert hosted_kind(host) == kind
    if kind is not None:
        assert server_of(kind) == "hosted"


def error(message="no", param=None):
    return json.dumps({"error": {"message": message, "param": param}})


def refuse(status, text, *, dialect="json_schema", headers=None, kind="vllm"):
    """The extras that a refusal names, and else the error."""
    answer = Answer(status, headers or {}, text)
    objection = objection_of(answer, body(dialect, kind), dialect)
    return set(objection.extras) or (objection.tokens and "tokens") or of_answer(PLACE, answer, objection)


@pytest.mark.parametrize("status", [400, 404, 422, 501])
@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        (error("not here", "response_format"), "json_schema"),
        (error("not here", "response_format"), "json_object"),
        (error("'response_format.type' must be 'json_schema' or 'text'"), "json_object"),
        (error("Invalid schema for something", "response_format"), "json_object"),
        (error('tool_choice="required" requires --tool-call-parser to be set'), "tool"),
        (error("No endpoints found that support tool use."), "tool"),
        (error("No endpoints found that can handle the requested parameters."), "json_schema"),
        ('{"error": "Invalid tool_choice type"}', "tool"),
        ('{"detail": "Unexpected fields in the request: {\'tools\'}"}', "tool"),
        (json.dumps({"detail": [{"loc": ["body", "tools", 0], "msg": "no"}]}), "tool"),
        ("response_format is not supported", "json_schema"),
    ],
)
def test_a_refusal_that_names_the_dialect_is_about_it(status, text, dialect):
    assert type(refuse(status, text, dialect=dialect)) is DialectRefused


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        (error("not here", "tools"), "json_schema"),
        (error("not here", "response_format"), "tool"),
        (error("not here", "response_format"), "plain"),
        (error("This model's maximum context length is 4096 tokens; reduce the messages or max_tokens"), "tool"),
        (error("the toolset is broken"), "tool"),
        (error("it is as it is"), "json_schema"),
        ("", "json_schema"),
        ("[]", "json_schema"),
        ('{"error": 5}', "json_schema"),
        (
            json.dumps({"detail": [{"loc": ["body", "messages"], "msg": "no", "input": "response_format"}]}),
            "json_schema",
        ),
    ],
)
def test_any_other_refusal_is_final(text, dialect):
    assert type(refuse(400, text, dialect=dialect)) is EndpointRefused


@pytest.mark.parametrize(
    ("status", "text", "named"),
    [
        (400, error("not here", "seed"), {"seed"}),
        (400, error("Unrecognized request argument supplied: chat_template_kwargs"), {"chat_template_kwargs"}),
        (
            422,
            json.dumps({"detail": "Unexpected fields in the request: {'seed', 'stream_options'}"}),
            {"seed", "stream_options"},
        ),
        (422, json.dumps({"detail": [{"loc": ["body", "temperature"], "msg": "no"}]}), {"temperature"}),
        (
            400,
            error("Invalid schema for response_format 'x': 'maxLength' is not permitted", "response_format"),
            {"strict"},
        ),
        (400, error("tools.0.function.strict: Input should be a valid boolean"), {"strict"}),
        (501, error("seed is not implemented"), {"seed"}),
        (400, error("reasoning_effort is not known"), None),
    ],
)
def test_a_refusal_that_names_an_extra_is_about_it(status, text, named):
    outcome = refuse(status, text)
    assert outcome == named if named else type(outcome) is EndpointRefused


@pytest.mark.parametrize(
    ("text", "switches"),
    [
        (
            error("Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens'.", "max_tokens"),
            True,
        ),
        (error("max_tokens is too large: 8192", "max_tokens"), False),
    ],
)
def test_the_limit_of_the_reply_has_two_names(text, switches):
    assert (refuse(400, text) == "tokens") == switches


def test_a_validating_500_is_a_refusal_and_any_other_is_not():
    text = "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), 'msg': 'Input should be text'}]"
    assert type(refuse(500, error(text))) is DialectRefused
    assert type(refuse(500, error("response_format crashed the engine"))) is EndpointUnavailable


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_what_passes_is_unavailable(status):
    outcome = refuse(status, error("busy"), headers={"retry-after": "7"})
    assert type(outcome) is EndpointUnavailable
    assert outcome.retry_after == 7
    assert str(status) in outcome.message
    assert "busy" in outcome.message


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "GEOSEG_API_KEY"), (403, "GEOSEG_API_KEY"), (404, "GEOSEG_BASE_URL"), (413, "size"), (402, "pointless")],
)
def test_what_does_not_pass_is_refused_with_a_remedy(status, hint):
    outcome = refuse(status, "<html>nginx</html>")
    assert type(outcome) is EndpointRefused
    assert hint in outcome.hint
    assert "nginx" not in str(outcome)


def test_an_unknown_model_is_told_the_known_ones():
    answer = Answer(404, {}, error("The model `x` does not exist.", "model"))
    outcome = of_answer(Place("http://h/v1", "x", ("qwen", "glm")), answer, objection_of(answer, None, None))
    assert "qwen, glm" in outcome.hint


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("https://login.example/?token=sk-other", "login.example"),
        ("/elsewhere", "307"),
        ("", "307"),
        ("http://[", "307"),
    ],
)
def test_a_redirect_is_refused_and_its_host_named(location, told):
    outcome = refuse(307, "", headers={"location": location})
    assert type(outcome) is EndpointRefused
    assert told in outcome.message
    assert "sk-other" not in str(outcome)


NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2),
        ({"retry-after": " 2.5 "}, 2.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after": email.utils.formatdate(NOW + 30, usegmt=True)}, 30),
        ({"retry-after": email.utils.formatdate(NOW - 30, usegmt=True)}, None),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Fri, 99 Foo 9999 99:99:99 GMT"}, None),
        ({"retry-after": "1" * 400}, float("inf")),
        ({}, None),
    ],
)
def test_how_long_to_wait_is_read_or_ignored(headers, seconds):
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(("wait", "refused"), [("60", False), ("61", True), ("3600", True), ("1" * 400, True)])
def test_who_asks_to_wait_too_long_refuses(wait, refused):
    outcome = refuse(429, error("slow down"), headers={"retry-after": wait})
    assert type(outcome) is (EndpointRefused if refused else EndpointUnavailable)
    assert ("asks to wait" in outcome.message) == refused


@pytest.mark.parametrize(
    "said",
    [
        f"bad key {SECRET}!",
        "data:image/jpeg;base64," + "QUJD" * 400,
        "input was " + "QUJDabc1" * 40,
        "bell \x07 escape \x1b[31m bidi \u202e end",
        "long " * 4000,
    ],
)
def test_what_a_server_says_is_cleaned(said):
    outcome = refuse(400, error(said))
    text = f"{outcome!s} {outcome!r}"
    assert SECRET not in text
    assert "QUJDQUJD" not in text
    assert "QUJDabc1QUJDabc1" not in text
    assert text.isprintable()
    assert len(outcome.message) < 400


HTTP = httpx2.Request("POST", "http://localhost:8000/v1", headers={"authorization": f"Bearer {SECRET}"})


def wrapped(cause):
    outer = APIConnectionError(request=HTTP)
    outer.__cause__ = cause
    return outer


@pytest.mark.parametrize(
    ("failure", "kind", "told"),
    [
        (httpx2.ConnectError("refused", request=HTTP), EndpointUnavailable, "GEOSEG_BASE_URL"),
        (httpx2.ConnectError("[SSL: WRONG_VERSION_NUMBER] no", request=HTTP), EndpointUnavailable, "certificate"),
        (ssl.SSLError(1, "bad record"), EndpointUnavailable, "certificate"),
        (httpx2.ReadError("", request=HTTP), EndpointUnavailable, "broke the connection"),
        (httpx2.RemoteProtocolError("Server disconnected", request=HTTP), EndpointUnavailable, "disconnected"),
        (httpx2.ConnectTimeout("", request=HTTP), EndpointTimeout, "ConnectTimeout"),
        (httpx2.LocalProtocolError("illegal header", request=HTTP), EndpointError, "illegal header"),
        (RuntimeError("of a kind nobody foresaw"), EndpointError, "RuntimeError"),
    ],
)
def test_failures_of_the_connection_are_told_apart(failure, kind, told):
    for one in (failure, wrapped(failure)):
        outcome = of_failure(PLACE, one)
        assert type(outcome) is kind
        assert told in str(outcome)
        assert PLACE.address in outcome.message
        assert outcome.__cause__ is None
        assert SECRET not in repr(vars(outcome))
