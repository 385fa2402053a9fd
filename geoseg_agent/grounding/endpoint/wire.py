"""The body of a request, for each dialect and kind of server. Pure.

Everything that some server refuses and no answer depends on is an *extra*: a server that names one in a refusal is
asked again without it. Unknown servers get only what OpenAI's own schema has, because some refuse all else.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic_core import to_json

from geoseg_agent.errors import EndpointError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from geoseg_agent.grounding.chat import ChatRequest, Dialect, Message, SentImage, Tool

TokensField = Literal["max_tokens", "max_completion_tokens"]

EXTRAS: Final = (
    "temperature",
    "seed",
    "stream_options",
    "parallel_tool_calls",
    "chat_template_kwargs",
    "reasoning_effort",
    "enable_thinking",
    "provider",
    "strict",
)
"""What a request can do without; "strict" stands inside the tool or the schema, the others in the body."""

DIALECT_FIELDS: Final[Mapping[Dialect, tuple[str, ...]]] = {
    "tool": (
        "tools",
        "tool_choice",
        "tool choice",
        "tool use",
        "tool calling",
        "function calling",
        "tool-call-parser",
        "requested parameters",
    ),
    "json_schema": (
        "response_format",
        "json_schema",
        "schema",
        "structured output",
        "structured outputs",
        "requested parameters",
    ),
    "json_object": ("response_format", "json_object", "requested parameters"),
    "plain": (),
}
"""Words by which a refusal means the dialect; the "requested parameters" are those that OpenRouter must route by."""


@dataclass(frozen=True)
class Kind:
    """How one kind of server is spoken to.

    Attributes:
        rungs: the dialects in the order in which they are tried.
        thinking_off: fields that keep a model from thinking aloud; empty where none is known.
        strict_tools: whether `strict` may stand in a tool.
        self_hosted: whether reading may stop where the answer ends: nothing is metered, and the server stops too.
        routed: fields that keep a router from servers that would ignore the dialect.
    """

    rungs: tuple[Dialect, ...]
    thinking_off: Mapping[str, Any] = field(default_factory=dict)
    strict_tools: bool = False
    self_hosted: bool = False
    routed: Mapping[str, Any] = field(default_factory=dict)


_TEMPLATE: Final = {"chat_template_kwargs": {"enable_thinking": False}}
_ALL: Final[tuple[Dialect, ...]] = ("json_schema", "tool", "json_object", "plain")

KINDS: Final[Mapping[str, Kind]] = {
    "vllm": Kind(_ALL, _TEMPLATE, strict_tools=True, self_hosted=True),
    "sglang": Kind(_ALL, _TEMPLATE, strict_tools=True, self_hosted=True),
    "llama.cpp": Kind(_ALL, _TEMPLATE, self_hosted=True),
    # tool_choice is not read (ollama/ollama issue 17921).
    "ollama": Kind(("json_schema", "json_object", "plain"), {"reasoning_effort": "none"}, self_hosted=True),
    # json_object is refused (lmstudio-ai/lmstudio-bug-tracker issue 1773).
    "lmstudio": Kind(("json_schema", "tool", "plain"), self_hosted=True),
    # transformers serve 5.23 reads none of the others.
    "transformers": Kind(("plain",), _TEMPLATE, self_hosted=True),
    "openai": Kind(_ALL, strict_tools=True),
    "openrouter": Kind(_ALL, routed={"provider": {"require_parameters": True}}),
    # Only some models take a schema; structured output needs thinking off (Model Studio, structured output).
    "dashscope": Kind(("json_object", "tool", "plain"), {"enable_thinking": False}),
    "gemini": Kind(("json_schema", "tool", "json_object", "plain")),
    # response_format is ignored (Claude docs, OpenAI SDK compatibility).
    "anthropic": Kind(("tool", "plain")),
    "unknown": Kind(_ALL),
}

_HOSTS: Final = (
    ("api.openai.com", "openai"),
    ("openai.azure.com", "openai"),
    ("openrouter.ai", "openrouter"),
    ("aliyuncs.com", "dashscope"),
    ("generativelanguage.googleapis.com", "gemini"),
    ("api.anthropic.com", "anthropic"),
)


def hosted_kind(host: str) -> str | None:
    """The kind of a hosted API, by the name of its host; None for any other."""
    name = host.lower().rstrip(".")
    return next((kind for known, kind in _HOSTS if name == known or name.endswith(f".{known}")), None)


def server_of(kind: str) -> str:
    """The fingerprint as `Terms.server` names it."""
    return kind if kind == "unknown" or KINDS[kind].self_hosted else "hosted"


class DataUris:
    """Pictures as data URIs, made once and kept while they are in use; bounded."""

    def __init__(self, most: int = 32 << 20) -> None:
        self._most = most
        self._held = 0
        self._kept: OrderedDict[tuple[str, str], str] = OrderedDict()

    def of(self, image: SentImage) -> str:
        """The picture as a data URI.

        Raises:
            EndpointError: the picture has no bytes, as in a replay.
        """
        key = (image.sha256, image.media_type)
        uri = self._kept.get(key)
        if uri is not None:
            self._kept.move_to_end(key)
            return uri
        if image.data is None:
            raise EndpointError("a picture without bytes cannot be sent: it comes from a replay")
        # 0.8 ms for 300 kB: not worth a thread.
        uri = f"data:{image.media_type};base64,{base64.b64encode(image.data).decode('ascii')}"
        self._kept[key] = uri
        self._held += len(uri)
        while self._held > self._most and len(self._kept) > 1:
            self._held -= len(self._kept.popitem(last=False)[1])
        return uri


def body_of(
    request: ChatRequest,
    kind: str,
    uris: DataUris,
    *,
    without: Collection[str] = (),
    tokens: TokensField = "max_tokens",
) -> dict[str, Any]:
    """The JSON object to POST to chat/completions, always streamed.

    Args:
        request: what to ask.
        kind: one of `KINDS`.
        uris: makes the pictures' addresses.
        without: extras that the server has refused.
        tokens: the name under which it takes the limit on the reply.
    """
    known = KINDS[kind]
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [_message(message, uris) for message in request.messages],
        "stream": True,
        tokens: request.max_tokens,
        "temperature": request.temperature,
        "stream_options": {"include_usage": True},
        **known.thinking_off,
    }
    if request.seed is not None:
        body["seed"] = request.seed
    if request.dialect != "plain":
        body |= _dialect(request, strict_tools=known.strict_tools and "strict" not in without, without=without)
        body |= known.routed
    return {name: value for name, value in body.items() if name not in without}


def extras_in(body: Mapping[str, Any]) -> frozenset[str]:
    """The extras that a body holds."""
    found = {name for name in EXTRAS if name in body}
    inner = [tool["function"] for tool in body.get("tools", ())]
    inner.append(body.get("response_format", {}).get("json_schema", {}))
    if any("strict" in part for part in inner):
        found.add("strict")
    return frozenset(found)


def encoded(body: Mapping[str, Any]) -> bytes:
    """The body as bytes of JSON; 0.4 ms for a picture of 300 kB, a fifth of what the standard library takes."""
    return to_json(body)


def _dialect(request: ChatRequest, *, strict_tools: bool, without: Collection[str]) -> dict[str, Any]:
    tool = request.tool
    if request.dialect == "tool":
        offered = [tool] if tool.other is None else [tool, tool.other]
        # The string, not the object: LM Studio refuses the object, llama.cpp reads it as "auto". Of two functions
        # the string leaves the choice to the model.
        return {
            "tools": [{"type": "function", "function": _function(one, strict=strict_tools)} for one in offered],
            "tool_choice": "required",
            "parallel_tool_calls": False,
        }
    if request.dialect == "json_schema":
        named: dict[str, Any] = {"name": tool.name, "schema": dict(tool.either or tool.schema)}
        if "strict" not in without:
            named["strict"] = True
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    return {"response_format": {"type": "json_object"}}


def _function(tool: Tool, *, strict: bool) -> dict[str, Any]:
    function: dict[str, Any] = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.schema),
    }
    if strict:
        function["strict"] = True
    return function


def _message(message: Message, uris: DataUris) -> dict[str, Any]:
    if message.image is None:
        return {"role": message.role, "content": message.text}
    # One picture, then one text: Ollama makes a message of each part, and a prefix cache wants the picture first.
    return {
        "role": message.role,
        "content": [
            {"type": "image_url", "image_url": {"url": uris.of(message.image)}},
            {"type": "text", "text": message.text},
        ],
    }
