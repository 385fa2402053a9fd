"""Read a reply as it comes in, streamed or in one piece, and stop where nothing more is wanted.

    bytes -> events (server-sent, or one JSON body) -> fragments per channel -> Watch -> ChatReply

A server that ignores `stream` answers with one JSON object; how a body begins tells which it is, not its media type.
Closing the response is the caller's: that is what tells the server to stop.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import httpx2

from geoseg_agent.errors import EndpointError
from geoseg_agent.grounding.chat import Call, ChatReply, Usage
from geoseg_agent.grounding.endpoint.refusals import Place, bad_gateway, not_compatible, of_error_object, of_failure
from geoseg_agent.grounding.endpoint.stopping import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from geoseg_agent.grounding.chat import Stopped

MOST_BYTES: Final = 4 << 20
"""Of one response; a reply of 8192 tokens takes half, each token in an event of its own."""

MOST_TEXT: Final = 1 << 20
"""Characters of one reply."""

_DRAIN = 0.1
_FIELDS = (b"data", b"event", b"id", b"retry", b":")


@dataclass
class Listening:
    """How a reply is listened to.

    Attributes:
        place: where it comes from, for errors.
        names: keys of which an answer has one.
        early: whether to stop where the answer ends.
        thinking: whether content may begin with thoughts that are not marked.
    """

    place: Place
    names: frozenset[str]
    early: bool
    thinking: bool = False


async def read_reply(chunks: AsyncGenerator[bytes, None], how: Listening) -> ChatReply:
    """The reply that a response holds, without its request id.

    Raises:
        EndpointUnavailable: it breaks off before the answer is complete, or is no completion.
        EndpointRefused: it is a page, not JSON.
        EndpointError: it is larger than any reply.
    """
    gathered = _Gathered(how)
    broken: httpx2.RequestError | None = None
    async with aclosing(_limited(chunks, how.place)) as limited:
        try:
            await _gather(limited, gathered, how.place)
        except httpx2.RequestError as error:
            broken = error
    if broken is not None and not gathered.done:
        # The stream's error refers to the request; the new one must not.
        failure = of_failure(how.place, broken)
        broken = None
        raise failure
    return gathered.reply()


async def read_whole(chunks: AsyncGenerator[bytes, None], place: Place) -> Any:
    """The JSON value of a whole response.

    Raises:
        EndpointUnavailable, EndpointRefused, EndpointError: as `read_reply`.
        httpx2.RequestError: the connection broke.
    """
    async with aclosing(_limited(chunks, place)) as limited:
        return _decoded(b"".join([chunk async for chunk in limited]), place)


async def _limited(chunks: AsyncGenerator[bytes, None], place: Place) -> AsyncGenerator[bytes, None]:
    count = 0
    async with aclosing(chunks):
        async for chunk in chunks:
            count += len(chunk)
            if count > MOST_BYTES:
                raise EndpointError(
                    f"{place.address} sends more than {MOST_BYTES >> 20} MiB in one reply",
                    hint="a grounding reply has a few kilobytes; check GEOSEG_BASE_URL and the server",
                )
            yield chunk


async def _gather(chunks: AsyncGenerator[bytes, None], gathered: _Gathered, place: Place) -> None:
    first = b""
    async for chunk in chunks:
        first += chunk
        if len(first.lstrip()) >= max(map(len, _FIELDS)):
            break
    if first.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_FIELDS):
        hand = _Hand()
        async with aclosing(_events(first, chunks, hand)) as events:
            async for data in events:
                if data == b"[DONE]":
                    gathered.ended = True
                    await _drain(chunks)
                    return
                if gathered.take(_event(data, place)) and not (hand.holds_end and gathered.read_on()):
                    return
        return
    parts = [first]
    parts.extend([chunk async for chunk in chunks])
    gathered.take_whole(_decoded(b"".join(parts), place))


@dataclass
class _Hand:
    """Whether the end of the stream is among the bytes that are here already."""

    holds_end: bool = False


async def _events(first: bytes, chunks: AsyncGenerator[bytes, None], hand: _Hand) -> AsyncGenerator[bytes, None]:
    """The data of each server-sent event (HTML standard, 9.2.6); the last one also without the blank line."""
    data: list[bytes] = []
    line: list[bytes] = []
    chunk: bytes | None = first
    while chunk is not None:
        hand.holds_end = b"data: [DONE]" in chunk
        # A line may come in many chunks, so it is joined once.
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            whole = b"".join((*line, end)).rstrip(b"\r")
            line.clear()
            if not whole and data:
                yield b"\n".join(data)
                data.clear()
            elif whole.startswith(b"data:"):
                data.append(whole[5:].removeprefix(b" "))
        line.append(rest)
        chunk = await anext(chunks, None)
    unended = b"".join(line)
    if unended.startswith(b"data:"):
        data.append(unended[5:].strip())
    last = b"\n".join(data)
    if last == b"[DONE]" or _is_json(last):
        yield last


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


async def _drain(chunks: AsyncGenerator[bytes, None]) -> None:
    """Read what follows the end, so that the connection can be used again; not for long."""
    with suppress(TimeoutError, httpx2.RequestError):
        async with asyncio.timeout(_DRAIN):
            async for _ in chunks:
                pass


def _event(data: bytes, place: Place) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        why = f"an event that is no JSON: {data[:80].decode(errors='replace')}"
    raise bad_gateway(place, why)


def _decoded(data: bytes, place: Place) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        text = data[:400].decode(errors="replace").strip()
    if not text:
        raise bad_gateway(place, "nothing in it")
    if text[0] in "{[":
        raise bad_gateway(place, f"broken JSON: {text[:80]}")
    raise not_compatible(place, text)


@dataclass
class _Call:
    watch: Watch
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class _Gathered:
    """What has come of a reply so far."""

    def __init__(self, how: Listening) -> None:
        self.ended = False
        self._how = how
        self._size = 0
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._watch = Watch(how.names, thinking=how.thinking)
        self._finish: str | None = None
        self._stopped: Stopped | None = None
        self._usage: Usage | None = None
        self._id: str | None = None
        self._seen = False

    @property
    def done(self) -> bool:
        """Whether a complete answer is there, whatever follows."""
        answered = self._watch.complete or any(call.watch.complete for call in self._calls.values())
        return self.ended or self._finish is not None or self._stopped is not None or answered

    def reply(self) -> ChatReply:
        """All of it, as it is now."""
        if not self._seen:
            raise bad_gateway(self._how.place, "no choices")
        if not self.done:
            raise bad_gateway(self._how.place, "the stream ends before the answer does")
        return ChatReply(
            content="".join(self._content) or None,
            reasoning="".join(self._reasoning) or None,
            calls=tuple(Call(call.name, "".join(call.arguments)) for _, call in sorted(self._calls.items())),
            refusal="".join(self._refusal) or None,
            finish=self._finish,
            stopped=self._stopped,
            usage=None if self._stopped else self._usage,
            request_id=self._id,
        )

    def read_on(self) -> bool:
        """Whether to read to the end although the answer is there: it costs nothing, and saves the connection."""
        if self._stopped != "answer":
            return False
        self._stopped = None
        self._how = replace(self._how, early=False)
        return True

    def take_whole(self, body: Any) -> None:
        """A completion in one piece."""
        if self.take(body):
            # It is all here: nothing was stopped but the reading of endless repetition.
            self._stopped = None if self._stopped == "answer" else self._stopped
        self.ended = True

    def take(self, event: Any) -> bool:
        """One chunk of a completion; True where nothing more is wanted."""
        place = self._how.place
        if not isinstance(event, dict):
            raise bad_gateway(place, f"{type(event).__name__} where an object is due")
        if event.get("error"):
            raise of_error_object(place, event["error"])
        if event.get("object") == "error":
            raise of_error_object(place, event)
        self._id = self._id or _text(event.get("id")) or None
        self._usage = _usage(event.get("usage")) or self._usage
        choices = event.get("choices")
        if not choices:
            return False
        if not isinstance(choices, list) or not isinstance(choices[0], dict):
            raise bad_gateway(place, "choices of the wrong type")
        choice = choices[0]
        if choice.get("index", 0) not in {0, None}:
            return False
        part = choice.get("delta", choice.get("message"))
        finish = choice.get("finish_reason")
        if not isinstance(part, dict):
            if finish is None or part is not None:
                raise bad_gateway(place, "a choice without a message")
            part = {}
        self._seen = True
        self._finish = finish if isinstance(finish, str) else self._finish
        return self._part(part)

    def _part(self, part: dict[str, Any]) -> bool:
        self._add(self._reasoning, _text(part.get("reasoning_content")) or _text(part.get("reasoning")))
        self._add(self._refusal, _text(part.get("refusal")))
        content = _text(part.get("content"))
        self._add(self._content, content)
        stopped = self._watch.feed(content) if content else None
        calls = part.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            stopped = self._call(call) or stopped
        if self._size > MOST_TEXT:
            stopped = "size"
        if stopped is None or (stopped == "answer" and not self._how.early):
            return False
        self._stopped = stopped
        return True

    def _call(self, fragment: Any) -> Stopped | None:
        function = fragment.get("function") if isinstance(fragment, dict) else None
        if not isinstance(function, dict):
            raise bad_gateway(self._how.place, "a call without a function")
        name, index = _text(function.get("name")), fragment.get("index")
        if not isinstance(index, int):
            # Without a number, a name begins the next call, and arguments alone go on with the last.
            index = len(self._calls) if name or not self._calls else max(self._calls)
        call = self._calls.setdefault(index, _Call(Watch(self._how.names)))
        call.name = call.name or name
        arguments = function.get("arguments")
        text = json.dumps(arguments) if isinstance(arguments, dict) else _text(arguments)
        self._add(call.arguments, text)
        return call.watch.feed(text) if text else None

    def _add(self, channel: list[str], text: str) -> None:
        if text:
            channel.append(text)
            self._size += len(text)


def _text(value: Any) -> str:
    """A string, or the text of a list of content parts; empty for anything else."""
    if isinstance(value, str):
        return value
    parts = [part.get("text") for part in value if isinstance(part, dict)] if isinstance(value, list) else []
    return "".join(part for part in parts if isinstance(part, str))


def _usage(value: Any) -> Usage | None:
    if not isinstance(value, dict):
        return None
    prompt, completion = value.get("prompt_tokens"), value.get("completion_tokens")
    if isinstance(prompt, int) and isinstance(completion, int) and prompt >= 0 and completion >= 0:
        return Usage(prompt, completion)
    return None
