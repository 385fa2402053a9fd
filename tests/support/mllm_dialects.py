"""What each kind of server supports, refuses or silently ignores, as their sources say.

vLLM 0.33, SGLang 0.5.23, llama.cpp of summer 2026, llama-cpp-python 0.3.36, Ollama 0.32, LM Studio, transformers
serve 5.23, and a hosted API after OpenAI's. What a server ignores, it answers to as if it had not been there.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Handling = Literal["enforced", "ignored", "refused"]
Shape = Literal["tool", "schema", "object", "prose"]

CREATED = 1_790_000_000

KNOWN = frozenset(
    """
    audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages
    metadata modalities model n parallel_tool_calls prediction presence_penalty reasoning_effort response_format
    seed service_tier stop store stream stream_options temperature tool_choice tools top_logprobs top_p user
    """.split()  # noqa: SIM905 - thirty lines of one word each say no more
)


@dataclass(frozen=True)
class Kind:
    """One kind of server.

    `required` and `named`: tool_choice as the string and as the object; `schema` and `loose`: response_format
    json_schema and json_object; `extras`: the status that fields outside OpenAI's get, or None where they pass.
    """

    name: str
    owned_by: str
    required: Handling = "enforced"
    named: Handling = "enforced"
    schema: Handling = "enforced"
    loose: Handling = "enforced"
    reasoning: str | None = None
    extras: int | None = None
    allowed: frozenset[str] = frozenset()
    named_finish: str = "tool_calls"
    checks_model: bool = False


KINDS = {
    kind.name: kind
    for kind in (
        Kind("vllm", "vllm", reasoning="reasoning", named_finish="stop", checks_model=True),
        Kind("sglang", "sglang", reasoning="reasoning_content"),
        Kind("llama.cpp", "llamacpp", named="ignored", reasoning="reasoning_content"),
        Kind("llama-cpp-python", "me", required="ignored", schema="refused"),
        Kind("ollama", "library", required="ignored", named="ignored", reasoning="reasoning", checks_model=True),
        Kind("lmstudio", "organization_owner", named="refused", loose="refused", reasoning="reasoning_content"),
        Kind(
            "transformers",
            "acme",
            required="ignored",
            named="ignored",
            schema="ignored",
            loose="ignored",
            extras=422,
            allowed=frozenset({"chat_template_kwargs", "generation_config", "request_id"}),
        ),
        Kind("hosted", "system", extras=400, checks_model=True),
        Kind("unknown", "nobody"),
    )
}


class Refusal(NamedTuple):
    """A request turned away."""

    status: int
    body: object


def error_of(kind, status, message, param=None, code=None):
    """An error body in the shape of the server."""
    if kind.name == "sglang":
        return {"object": "error", "message": message, "type": "BadRequestError", "param": param, "code": status}
    if kind.name == "vllm":
        return {"error": {"message": message, "type": "BadRequestError", "param": param, "code": status}}
    if kind.name == "llama.cpp":
        return {"error": {"code": status, "message": message, "type": "invalid_request_error"}}
    if kind.name == "lmstudio":
        return {"error": message}
    if kind.name == "transformers":
        return {"detail": message}
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def list_models(kind, model):
    """The answer to GET /v1/models."""
    entry = {"id": model, "object": "model", "created": CREATED, "owned_by": kind.owned_by}
    if kind.name in {"vllm", "sglang"}:
        entry |= {"root": model, "parent": None, "max_model_len": 32_768}
    if kind.name == "llama.cpp":
        entry |= {"aliases": [], "tags": [], "meta": {"n_ctx_train": 262_144, "n_params": 8_000_000_000}}
        about = {"name": model, "model": model, "type": "model", "capabilities": ["completion", "multimodal"]}
        return {"models": [about], "object": "list", "data": [entry]}
    if kind.name == "lmstudio":
        del entry["created"]
    return {"object": "list", "data": [entry]}


def judge(kind, body, model):
    """How the server answers the request: a `Shape`, or the `Refusal` it gets."""
    return _refused(kind, body, model) or _shape(kind, body)


def _refused(kind, body, model):
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
        return Refusal(400, error_of(kind, 400, "messages is required", "messages"))
    if kind.checks_model and body.get("model") != model:
        return Refusal(404, error_of(kind, 404, f"The model `{body.get('model')}` does not exist.", "model"))
    if kind.extras is not None and (extra := sorted(set(body) - KNOWN - kind.allowed)):
        if kind.extras == 422:
            return Refusal(422, {"detail": f"Unexpected fields in the request: {set(extra)}"})
        message = f"Unrecognized request argument supplied: {extra[0]}"
        return Refusal(400, error_of(kind, 400, message, extra[0], "unknown_parameter"))
    return _tools_refused(kind, body) or _format_refused(kind, body) or _quirk(kind, body)


def _tools_refused(kind, body):
    choice, tools = body.get("tool_choice"), body.get("tools")
    if tools == [] and kind.name in {"vllm", "hosted"}:
        return Refusal(400, error_of(kind, 400, "tools: list should have at least 1 item", "tools"))
    handling = kind.named if isinstance(choice, dict) else kind.required
    if not tools or choice == "none" or handling != "refused":
        return None
    if kind.name == "lmstudio":
        message = "Invalid tool_choice type: 'object'. Supported string values: none, auto, required"
    else:
        said = "required" if choice == "required" else choice
        message = f'tool_choice="{said}" requires --tool-call-parser to be set'
    return Refusal(400, error_of(kind, 400, message))


def _format_refused(kind, body):
    asked = body.get("response_format")
    wanted = asked.get("type") if isinstance(asked, dict) else None
    if wanted == "json_schema" and kind.schema == "refused":
        if kind.name != "llama-cpp-python":
            return Refusal(
                400, error_of(kind, 400, "response_format json_schema is not supported", "response_format")
            )
        message = str(
            [
                {
                    "type": "literal_error",
                    "loc": ("body", "response_format", "type"),
                    "msg": "Input should be 'text' or 'json_object'",
                    "input": "json_schema",
                }
            ]
        )
        return Refusal(500, error_of(kind, 500, message))
    if wanted == "json_schema" and "schema" not in asked.get("json_schema", {}) and kind.schema == "enforced":
        return Refusal(400, error_of(kind, 400, "schema_ is required for json_schema response format request."))
    if wanted == "json_object" and kind.loose == "refused":
        return Refusal(400, error_of(kind, 400, "'response_format.type' must be 'json_schema' or 'text'"))
    if wanted == "json_object" and kind.name == "hosted" and "json" not in str(body["messages"]).lower():
        message = (
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        )
        return Refusal(400, error_of(kind, 400, message, "messages"))
    return None


def _quirk(kind, body):
    if kind.name == "sglang":
        for tool in body.get("tools") or ():
            if not isinstance(tool["function"].get("strict", False), bool):
                return Refusal(400, error_of(kind, 400, "tools.0.function.strict: Input should be a valid boolean"))
    if kind.name == "ollama":
        effort = body.get("reasoning_effort", "none")
        if effort not in {"none", "low", "medium", "high", "max"}:
            return Refusal(400, error_of(kind, 400, f"invalid reasoning value: '{effort}'"))
        if any(not url.startswith("data:") for url in pictures_of(body)):
            return Refusal(400, error_of(kind, 400, "invalid image input"))
    return None


def _shape(kind, body):
    choice, asked = body.get("tool_choice"), body.get("response_format")
    handling = kind.named if isinstance(choice, dict) else kind.required if choice == "required" else "ignored"
    if body.get("tools") and handling == "enforced":
        return "tool"
    wanted = asked.get("type") if isinstance(asked, dict) else None
    if wanted == "json_schema" and kind.schema == "enforced":
        return "schema"
    if wanted == "json_object" and kind.loose == "enforced":
        # The llama.cpp family takes a schema here too, and holds the answer to it.
        return "schema" if kind.name.startswith("llama") and "schema" in asked else "object"
    return "prose"


def pictures_of(body):
    """The addresses of all pictures in the messages, in order."""
    parts = [
        part
        for message in body.get("messages") or ()
        if isinstance(message, dict) and isinstance(message.get("content"), list)
        for part in message["content"]
    ]
    return [part["image_url"]["url"] for part in parts if part.get("type") == "image_url"]
