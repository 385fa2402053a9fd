"""What the test server's model says, and the shapes in which a server hands it over."""

import json
import re
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

from mllm_dialects import CREATED, pictures_of
from mllm_sight import colours_of, decode, find

GREETING = "Hello! How can I help you today?"


@dataclass(frozen=True)
class Said:
    """One reply, verbatim; `calls` holds pairs of name and arguments."""

    content: str | None = None
    calls: tuple[tuple[str, str], ...] = ()
    reasoning: str | None = None
    refusal: str | None = None
    finish: str = "stop"


class Tail(NamedTuple):
    """A model that talks on after its answer: words, seconds between two, and the word."""

    words: int = 500
    interval: float = 0.002
    word: str = " indeed"


class Asked(NamedTuple):
    """A question as the model sees it: the wire's body, and the number of the completion from 1."""

    body: dict[str, Any]
    attempt: int

    @property
    def text(self):
        """The text beside the last picture, or of the last user message where there is none."""
        users = [m["content"] for m in self.body["messages"] if m.get("role") == "user"]
        seeing = [content for content in users if _has_picture(content)]
        content = (seeing or users or [""])[-1]
        if not isinstance(content, list):
            return content or ""
        return "\n".join(part["text"] for part in content if part.get("type") == "text")

    @property
    def query(self):
        """What stands after the last "query:", or the whole text."""
        return self.text.rpartition("query:")[2]

    @property
    def picture(self):
        """The data URI of the last picture, or None."""
        return (pictures_of(self.body) or [None])[-1]

    @property
    def tool(self):
        """Name and schema of what the answer must be, or None where the wire does not say."""
        if self.body.get("tools"):
            function = self.body["tools"][0]["function"]
            return function["name"], function.get("parameters", {})
        wanted = self.body.get("response_format") or {}
        if wanted.get("type") == "json_schema":
            return wanted["json_schema"].get("name", "answer"), wanted["json_schema"].get("schema", {})
        return ("answer", wanted["schema"]) if "schema" in wanted else None

    @property
    def reviewing(self):
        """Whether this is about targets drawn over the picture."""
        if self.tool is not None and self.tool[0] != "answer":
            return self.tool[0] == "review_targets"
        return '"verdicts"' in json.dumps(self.body["messages"], ensure_ascii=False).replace('\\"', '"')


def look(asked, speaks):
    """An honest answer to a grounding question: where the colours of the query are, in the frame spoken."""
    query = asked.query
    colours = colours_of(query)
    size = decode(asked.picture).shape[:2]
    many = any(word in query.lower() for word in ("all ", "every ", "each ", "rectangles", "boxes", "squares"))
    targets = [
        {"bbox_2d": speaks.say(box, size, asked.attempt - 1), "label": f"{colour} rectangle"}
        for colour in colours
        for box in (find(asked.picture, colour) if many else find(asked.picture, colour)[:1])
    ]
    status = "found" if targets else "not_found"
    return {"status": status, "targets": targets, "reasoning": f"I looked for {', '.join(colours) or 'a colour'}."}


def accept(asked):
    """An answer to a review that changes nothing."""
    count = len(re.findall(r"^\d+: ", asked.text, re.MULTILINE))
    verdicts = [{"target": n + 1, "verdict": "accept", "bbox_2d": [], "label": ""} for n in range(max(count, 1))]
    return {"verdicts": verdicts, "score": 9, "reasoning": "All of it fits."}


def satisfy(schema):
    """The smallest value that a schema allows, as a grammar with a dull model would give."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object")
    if kind == "object":
        return {name: satisfy(inner) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [satisfy(schema["items"]) for _ in range(schema.get("minItems", 0))]
    return {"string": "hello", "integer": schema.get("minimum", 0), "number": 0.5, "boolean": True}.get(kind)


def shaped(asked, value, shape, kind):
    """The value as a server of this kind hands it over."""
    text = json.dumps(value, separators=(", ", ": "))
    if shape == "tool":
        named = isinstance(asked.body.get("tool_choice"), dict)
        return Said(calls=((asked.tool[0], text),), finish=kind.named_finish if named else "tool_calls")
    if shape == "prose":
        return Said(
            content=f"Here is what I see in the picture.\n\n```json\n{text}\n```\n\nTell me if I can do more."
        )
    return Said(content=text)


def greet(asked, shape, kind):
    """The answer to a canary: what is asked for where the server enforces it, else a greeting."""
    if shape in {"tool", "schema"}:
        return shaped(asked, satisfy(asked.tool[1]), shape, kind)
    return Said(content='{"greeting": "hello"}' if shape == "object" else GREETING)


def usage_of(asked, said):
    """Tokens as a server would count them."""
    url = asked.picture
    seen = decode(url).shape if url else (0, 0)
    prompt = sum(map(_length, asked.body["messages"])) // 4 + seen[0] * seen[1] // 1024
    written = sum(len(part or "") for part in (said.content, said.reasoning, *(a for _, a in said.calls)))
    return {"prompt_tokens": prompt, "completion_tokens": written // 4 + 1, "total_tokens": prompt + written // 4 + 1}


def completion(asked, said, kind):
    """The body of an answer that is not streamed."""
    message = {"role": "assistant", "content": said.content}
    if said.calls:
        message["tool_calls"] = [
            {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for n, (name, arguments) in enumerate(said.calls)
        ]
    if said.refusal is not None:
        message["refusal"] = said.refusal
    if said.reasoning is not None:
        message[kind.reasoning or "reasoning_content"] = said.reasoning
    return {
        **_frame(asked, "chat.completion"),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": said.finish}],
        "usage": usage_of(asked, said),
    }


def deltas(said, kind, fragment):
    """The pieces of a streamed answer, `fragment` characters each."""
    yield {"role": "assistant", "content": ""}
    if said.reasoning is not None:
        yield from ({kind.reasoning or "reasoning_content": piece} for piece in _cut(said.reasoning, fragment))
    if said.refusal is not None:
        yield {"refusal": said.refusal}
    yield from ({"content": piece} for piece in _cut(said.content or "", fragment))
    for n, (name, arguments) in enumerate(said.calls):
        head = {"index": n, "id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": ""}}
        yield {"tool_calls": [head]}
        for piece in _cut(arguments, fragment):
            yield {"tool_calls": [{"index": n, "function": {"arguments": piece}}]}


def event(asked, delta=None, finish=None, usage=None):
    """One event of a stream; without a delta, the last one, which tells the usage."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    return {**_frame(asked, "chat.completion.chunk"), "choices": choices, "usage": usage}


def _length(message):
    content = message.get("content") or ""
    parts = [{"text": content}] if isinstance(content, str) else content
    return sum(len(part.get("text", "")) for part in parts)


def _has_picture(content):
    return isinstance(content, list) and any(part.get("type") == "image_url" for part in content)


def _cut(text, fragment):
    return [text[start : start + fragment] for start in range(0, len(text), fragment)]


def _frame(asked, kind):
    created = CREATED + int(time.monotonic())
    return {
        "id": f"chatcmpl-{asked.attempt:06d}",
        "object": kind,
        "created": created,
        "model": asked.body.get("model"),
    }
