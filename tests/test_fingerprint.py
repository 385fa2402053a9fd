"""Which kind of server it is, which model it has, and what a canary proves."""

import pytest
from mllm_dialects import KINDS as SERVERS
from mllm_dialects import list_models

from geoseg_agent.errors import ConfigError
from geoseg_agent.grounding.chat import Call, ChatReply
from geoseg_agent.grounding.endpoint.fingerprint import CANARY_TOKENS, canary, hosted, only_model, proof_in, recognise
from geoseg_agent.grounding.endpoint.wire import KINDS, DataUris, body_of

ADDRESS = "http://localhost:8000/v1"


def listing(owner, *names):
    return {"object": "list", "data": [{"id": name, "object": "model", "owned_by": owner} for name in names]}


@pytest.mark.parametrize("name", ["vllm", "sglang", "llama.cpp", "ollama", "lmstudio"])
def test_servers_are_known_by_the_owner_of_their_models(name):
    found = recognise(ADDRESS, list_models(SERVERS[name], "qwen3-vl-8b"))
    assert found == (name, ("qwen3-vl-8b",), True)


@pytest.mark.parametrize(
    ("address", "listed", "kind"),
    [
        (ADDRESS, listing("acme", "acme/qwen"), "transformers"),
        (ADDRESS, listing("acme", "acme/qwen", "other/glm"), "unknown"),
        (ADDRESS, listing("me", "qwen"), "unknown"),
        (
            ADDRESS,
            {"data": [{"id": "/models/qwen", "owned_by": "local", "status": {"value": "loaded"}}]},
            "transformers",
        ),
        (ADDRESS, listing("local", "qwen"), "unknown"),
        ("http://localhost:11434/v1", listing("somebody", "somebody/qwen3-vl:8b"), "ollama"),
        ("http://localhost:1234/v1", listing("somebody", "qwen"), "lmstudio"),
        ("http://localhost:1234/v1", listing("vllm", "qwen"), "vllm"),
        ("https://openrouter.ai/api/v1", listing("vllm", "qwen"), "openrouter"),
        (ADDRESS, {}, "unknown"),
        (ADDRESS, [], "unknown"),
        (ADDRESS, None, "unknown"),
        (ADDRESS, {"data": "none"}, "unknown"),
        (ADDRESS, {"data": [1, {}, {"id": 5, "owned_by": None}]}, "unknown"),
    ],
)
def test_any_list_of_models_gives_a_kind(address, listed, kind):
    assert recognise(address, listed).kind == kind


def test_a_hosted_api_needs_no_list():
    assert hosted("https://api.openai.com/v1").kind == "openai"
    assert hosted(ADDRESS) is None


def test_the_only_model_is_meant():
    assert only_model(ADDRESS, ("qwen",)) == "qwen"


def test_of_several_models_one_must_be_named():
    names = tuple(f"model-{number:02}" for number in range(14))
    with pytest.raises(ConfigError, match=r"has 14 models: .*model-09 and 4 more \(set GEOSEG_MODEL") as caught:
        only_model(ADDRESS, names)
    assert "model-10" not in caught.value.message


def test_without_a_list_the_model_must_be_named():
    with pytest.raises(ConfigError, match="GEOSEG_MODEL"):
        only_model(ADDRESS, ())


@pytest.mark.parametrize("kind", KINDS)
def test_the_ladder_ends_in_plain_text(kind):
    assert KINDS[kind].rungs[-1] == "plain"
    assert len(set(KINDS[kind].rungs)) == len(KINDS[kind].rungs)


@pytest.mark.parametrize("dialect", ["tool", "json_schema", "json_object"])
def test_a_canary_is_small_and_only_the_wire_knows_the_nonce(dialect):
    request = canary("m", dialect, "a1b2c3d4")
    body = body_of(request, "unknown", DataUris())

    assert body["max_tokens"] == CANARY_TOKENS == 32
    assert all(isinstance(message["content"], str) for message in body["messages"])
    assert "a1b2c3d4" not in str(body["messages"])
    # Two hosted APIs refuse json_object where no message names JSON.
    assert "JSON" in str(body["messages"])
    assert ("a1b2c3d4" in str(body)) == (dialect != "json_object")


GOOD = '{"code": "a1b2c3d4"}'


@pytest.mark.parametrize(
    ("reply", "dialect", "proof"),
    [
        (ChatReply(content=GOOD), "json_schema", "enforced"),
        (ChatReply(content=f" {GOOD}\n"), "json_schema", "enforced"),
        (ChatReply(calls=(Call("greet", GOOD),)), "tool", "enforced"),
        # LM Studio holds thoughts to the schema too.
        (ChatReply(reasoning=GOOD), "json_schema", "enforced"),
        (ChatReply(content='{"code": "other"}'), "json_schema", "ignored"),
        (ChatReply(content="Hello there!"), "json_schema", "ignored"),
        (ChatReply(content=f"You want {GOOD}, but hello!"), "json_schema", "ignored"),
        (ChatReply(content="[1]"), "json_schema", "ignored"),
        (ChatReply(calls=(Call("greet", "{"),)), "tool", "ignored"),
        (ChatReply(), "tool", "ignored"),
        (ChatReply(content='{"greeting": "hi"}'), "json_object", "enforced"),
        (ChatReply(content="Hello there!"), "json_object", "ignored"),
        (ChatReply(reasoning="The user wants", finish="length"), "json_schema", "unclear"),
        (ChatReply(reasoning="The user wants", content="Hello!"), "json_schema", "ignored"),
    ],
)
def test_only_the_nonce_proves_a_dialect(reply, dialect, proof):
    assert proof_in(reply, dialect, "a1b2c3d4") == proof
