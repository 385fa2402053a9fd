"""What kind of server an endpoint is, and whether it holds a model to what is asked for.

A success says nothing about the latter: several servers ignore what they do not support. A canary asks for a greeting
and, on the wire, for an object with a constant that no model can guess; only a server that enforces it returns it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from geoseg_agent.errors import ConfigError
from geoseg_agent.grounding.chat import ChatRequest, Message, Tool
from geoseg_agent.grounding.endpoint.wire import hosted_kind

if TYPE_CHECKING:
    from geoseg_agent.grounding.chat import ChatReply, Dialect

CANARY_TOKENS: Final = 32
"""Of the reply; the object takes about 15."""

Proof = Literal["enforced", "ignored", "unclear"]

_OWNERS: Final = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llama.cpp",
    "library": "ollama",
    "organization_owner": "lmstudio",
}
_PORTS: Final = {11434: "ollama", 1234: "lmstudio"}
_SHOWN = 10
# Names JSON because OpenAI and Model Studio refuse json_object otherwise, and asks for none.
_GREETING = "Greet me in one short sentence of plain words. Do not write JSON."


class Fingerprint(NamedTuple):
    """What the list of models says.

    Attributes:
        kind: one of `geoseg_agent.grounding.endpoint.wire.KINDS`.
        models: that the endpoint lists, in its order.
        certain: whether it will say the same next time: not so where it could not be asked.
    """

    kind: str
    models: tuple[str, ...] = ()
    certain: bool = True


def recognise(address: str, listing: Any) -> Fingerprint:
    """The fingerprint, from the endpoint's address and the JSON value of its list of models."""
    data = listing.get("data") if isinstance(listing, dict) else None
    entries = [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
    models = tuple(entry["id"] for entry in entries if isinstance(entry.get("id"), str))
    return Fingerprint(hosted_kind(_host(address)) or _kind(address, entries), models)


def hosted(address: str) -> Fingerprint | None:
    """The fingerprint where the name of the host says it all; None elsewhere."""
    kind = hosted_kind(_host(address))
    return None if kind is None else Fingerprint(kind)


def only_model(address: str, models: tuple[str, ...]) -> str:
    """The model that an endpoint has.

    Raises:
        ConfigError: it has none or several; the message lists them.
    """
    if len(models) == 1:
        return models[0]
    if not models:
        raise ConfigError(f"{address} does not say which models it has", hint="set GEOSEG_MODEL")
    more = f" and {len(models) - _SHOWN} more" if len(models) > _SHOWN else ""
    raise ConfigError(
        f"{address} has {len(models)} models: {', '.join(name[:80] for name in models[:_SHOWN])}{more}",
        hint="set GEOSEG_MODEL to one of them",
    )


def canary(model: str, dialect: Dialect, nonce: str) -> ChatRequest:
    """A request without a picture that returns the nonce only where the server enforces the dialect."""
    schema = {
        "type": "object",
        "properties": {"code": {"type": "string", "const": nonce}},
        "required": ["code"],
        "additionalProperties": False,
    }
    return ChatRequest(
        model=model,
        messages=(Message("user", _GREETING),),
        tool=Tool("greet", "Greets.", schema),
        dialect=dialect,
        max_tokens=CANARY_TOKENS,
    )


def proof_in(reply: ChatReply, dialect: Dialect, nonce: str) -> Proof:
    """What the reply to a canary shows.

    "unclear" where the model spent its tokens on thoughts: it might have kept to the dialect afterwards.
    """
    texts = (*(call.arguments for call in reply.calls), reply.content, reply.reasoning)
    values = [value for text in texts if text and isinstance(value := _value(text), dict)]
    # Plain JSON mode promises an object, not which.
    enforced = any(dialect == "json_object" or value.get("code") == nonce for value in values)
    if enforced:
        return "enforced"
    return "unclear" if reply.reasoning and not reply.content and not reply.calls else "ignored"


def _kind(address: str, entries: list[dict[str, Any]]) -> str:
    for entry in entries:
        kind = _OWNERS.get(str(entry.get("owned_by", "")).lower())
        if kind is not None:
            return kind
    kind = _PORTS.get(urlsplit(address).port or 0) if entries else None
    if kind is not None:
        return kind
    # transformers serve (5.24) lists a model from a folder as "local" with its state, and what the cache holds as
    # author/name owned by the author.
    if any(entry.get("owned_by") == "local" and isinstance(entry.get("status"), dict) for entry in entries):
        return "transformers"
    owned = [str(entry.get("id")).partition("/")[:2] == (entry.get("owned_by"), "/") for entry in entries]
    return "transformers" if owned and all(owned) else "unknown"


def _host(address: str) -> str:
    return urlsplit(address).hostname or ""


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
