"""What can go wrong on the wire, one name each; a fault plays instead of the answer, or spoils it."""

import asyncio
import email.utils
import json
import time
from dataclasses import dataclass
from typing import Any

from mllm_answers import Said, completion, deltas, event


@dataclass(frozen=True)
class Fault:
    """A way to fail; `play` takes the `Exchange`, with the honest answer in it, and speaks on its wire."""

    name: str
    play: Any


FAULTS: dict[str, Fault] = {}


def fault(name):
    """Enter a function into `FAULTS`."""

    def enter(play):
        FAULTS[name] = Fault(name, play)
        return play

    return enter


def status(code, message="it is as it is", *, headers=None, param=None, body=None, name=None):
    """A fault that answers with a status and an error body in OpenAI's shape, or in `body`."""

    async def play(it):
        error = {"error": {"message": message, "type": "fault", "param": param, "code": None}}
        fresh = {key: value() if callable(value) else value for key, value in (headers or {}).items()}
        await it.wire.json(code, error if body is None else body, fresh)

    return Fault(name or str(code), play)


def raw(name, data, *, media="application/json", code=200):
    """A fault that answers with these bytes."""

    async def play(it):
        await it.wire.whole(code, data, media=media)

    return Fault(name, play)


def naming(field, code=400):
    """A refusal that names a field of the request."""
    return status(code, f"{field}: this field is not supported here", param=field, name=f"{code}-naming-{field}")


def _in(seconds):
    return lambda: email.utils.formatdate(time.time() + seconds, usegmt=True)


_VALIDATION = "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), 'msg': 'Input should be text'}]"
_HTML = b"<!doctype html><html><head><title>Welcome</title></head><body><h1>It works!</h1></body></html>"

for _fault in (
    *(status(code) for code in (400, 401, 403, 404, 408, 409, 413, 425, 429, 500, 501, 502, 503, 504, 529)),
    *(naming(f) for f in ("response_format", "tools", "tool_choice", "seed", "chat_template_kwargs", "max_tokens")),
    naming("tool_choice", 404),
    naming("response_format", 501),
    status(422, body={"detail": [{"type": "missing", "loc": ["body", "messages"], "msg": "Field required"}]}),
    status(422, body={"detail": "Unexpected fields in the request: {'seed'}"}, name="422-naming-seed"),
    status(429, "slow down", headers={"retry-after": "2"}, name="429-retry-after"),
    status(429, "slow down", headers={"retry-after-ms": "1500"}, name="429-retry-after-ms"),
    status(429, "slow down", headers={"retry-after": _in(3)}, name="429-retry-after-date"),
    status(429, "slow down", headers={"retry-after": _in(-60)}, name="429-retry-after-past"),
    status(429, "slow down", headers={"retry-after": "soon"}, name="429-bad-retry-after"),
    status(429, "slow down", headers={"retry-after": "-5"}, name="429-negative-retry-after"),
    status(429, "slow down", headers={"retry-after": "86400"}, name="429-huge-retry-after"),
    status(429, "slow down", headers={"retry-after": "1" * 400}, name="429-endless-retry-after"),
    status(503, "loading model", headers={"retry-after": "1"}, name="503-retry-after"),
    status(500, _VALIDATION, name="500-validation"),
    raw("502-html", _HTML, media="text/html", code=502),
    raw("html", _HTML, media="text/html"),
    raw("empty-body", b""),
    raw("truncated-json", b'{"id":"x","object":"chat.completion","choices":[{"index":0,"mess'),
    raw("null-choices", b'{"id":"x","object":"chat.completion","model":"m","choices":null}'),
    raw("empty-choices", b'{"id":"x","object":"chat.completion","model":"m","choices":[]}'),
    raw("null-message", b'{"id":"x","object":"chat.completion","model":"m","choices":[{"index":0,"message":null}]}'),
    raw("error-object", b'{"error":{"message":"upstream failed","type":"server_error","code":502}}'),
    raw("wrong-type", b'[1, 2, "three"]'),
    raw("choices-wrong-type", b'{"id":"x","object":"chat.completion","model":"m","choices":"none today"}'),
    raw("number", b"42"),
    raw("bad-utf8", b'{"choices":[{"index":0,"message":{"role":"assistant","content":"\xff\xfe\xfa"}}]}'),
):
    FAULTS[_fault.name] = _fault


def _whole(it):
    """The honest answer's bytes as one body, streamed or not, and its media type."""
    if not it.streams:
        return json.dumps(completion(it.asked, it.said, it.kind)).encode(), "application/json"
    events = [event(it.asked, delta) for delta in deltas(it.said, it.kind, 12)]
    events += [event(it.asked, {}, it.said.finish)]
    text = "".join(f"data: {json.dumps(one)}\n\n" for one in events) + "data: [DONE]\n\n"
    return text.encode(), "text/event-stream"


@fault("reset")
async def _reset(it):
    await it.wire.reset()


@fault("hang-up")
async def _hang_up(it):
    await it.wire.hang_up()


@fault("garbage")
async def _garbage(it):
    await it.wire.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    await it.wire.hang_up()


@fault("reset-mid-body")
async def _reset_mid_body(it):
    data, media = _whole(it)
    await it.wire.head(200, {"content-type": media, "content-length": str(len(data))})
    await it.wire.send(data[: len(data) // 2])
    await asyncio.sleep(0.02)  # what was sent should arrive before the reset
    await it.wire.reset()


@fault("cut-mid-body")
async def _cut_mid_body(it):
    data, media = _whole(it)
    await it.wire.head(200, {"content-type": media, "content-length": str(len(data))})
    await it.wire.send(data[: len(data) // 2])
    await it.wire.hang_up()


@fault("stall")
async def _stall(it):
    await asyncio.Event().wait()


@fault("stall-mid-body")
async def _stall_mid_body(it):
    data, media = _whole(it)
    await it.wire.head(200, {"content-type": media, "content-length": str(len(data))})
    await it.wire.send(data[: len(data) // 2])
    await asyncio.Event().wait()


@fault("slow-drip")
async def _slow_drip(it):
    data, media = _whole(it)
    await it.wire.head(200, {"content-type": media, "content-length": str(len(data))})
    for place in range(len(data)):
        await it.wire.send(data[place : place + 1])
        await asyncio.sleep(0.05)


@fault("307")
async def _redirect(it):
    await it.wire.json(307, {}, {"location": "/v1/elsewhere"})


@fault("wrong-media")
async def _wrong_media(it):
    data, _ = _whole(it)
    await it.wire.whole(200, data, media="application/octet-stream")


@fault("not-streamed")
async def _not_streamed(it):
    await it.wire.json(200, completion(it.asked, it.said, it.kind))


@fault("huge")
async def _huge(it):
    """50 MB: a JSON object that never comes to the point, streamed or not."""
    block = b" " * 65_536
    count = 50_000_000 // len(block)
    if it.streams:
        await it.wire.begin_events()
        for _ in range(count):
            await it.wire.event(event(it.asked, {"content": "x" * 65_536}))
        await it.wire.chunk(b"")
        return
    data = b'{"choices":['
    await it.wire.head(200, {"content-type": "application/json", "content-length": str(len(data) + count * 65_536)})
    await it.wire.send(data)
    for _ in range(count):
        await it.wire.send(block)


@fault("huge-line")
async def _huge_line(it):
    """50 MB of a stream without the end of a line."""
    await it.wire.begin_events()
    await it.wire.chunk(b"data: ")
    for _ in range(50_000_000 // 65_536):
        await it.wire.chunk(b"x" * 65_536)
    await it.wire.chunk(b"")


async def _say(it, pieces, *, finish="length"):
    """An answer in pieces: as content of a stream, or all at once."""
    if not it.streams:
        await it.wire.json(200, completion(it.asked, Said(content="".join(pieces), finish=finish), it.kind))
        return
    await it.wire.begin_events()
    for piece in pieces:
        await it.wire.event(event(it.asked, {"content": piece}))
        await asyncio.sleep(0)
    await it.wire.event(event(it.asked, {}, finish))
    await it.wire.event("[DONE]")
    await it.wire.chunk(b"")


@fault("endless-whitespace")
async def _whitespace(it):
    await _say(it, ['{"status": "found",', *["\n        "] * 2000])


@fault("repeated-boxes")
async def _repeated(it):
    one = '{"bbox_2d": [100, 100, 300, 300], "label": "red rectangle"}, '
    await _say(it, ['{"status": "found", "targets": [', *[one] * 1000])


@fault("stream-cut")
async def _stream_cut(it):
    """A stream that ends between two events, in good order, before the answer is complete."""
    pieces = list(deltas(it.said, it.kind, 12))
    await it.wire.begin_events()
    for delta in pieces[: len(pieces) // 2]:
        await it.wire.event(event(it.asked, delta))
    await it.wire.chunk(b"")


@fault("stream-torn")
async def _stream_torn(it):
    """A stream that ends inside an event and without the last chunk."""
    await it.wire.begin_events()
    for delta in list(deltas(it.said, it.kind, 12))[:3]:
        await it.wire.event(event(it.asked, delta))
    await it.wire.send(b'40\r\ndata: {"id": "x", "cho')
    await it.wire.hang_up()


@fault("stream-error-event")
async def _stream_error(it):
    await it.wire.begin_events()
    await it.wire.event(event(it.asked, {"role": "assistant", "content": ""}))
    await it.wire.event({"error": {"message": "the engine died", "type": "server_error", "code": 500}})
    await it.wire.event("[DONE]")
    await it.wire.chunk(b"")


@fault("stream-garbage")
async def _stream_garbage(it):
    await it.wire.begin_events()
    await it.wire.event("this is not JSON {")
    await it.wire.event("[DONE]")
    await it.wire.chunk(b"")


@fault("stream-stall")
async def _stream_stall(it):
    await it.wire.begin_events()
    for delta in list(deltas(it.said, it.kind, 12))[:3]:
        await it.wire.event(event(it.asked, delta))
    await asyncio.Event().wait()


@fault("stream-empty")
async def _stream_empty(it):
    await it.wire.begin_events()
    await it.wire.event("[DONE]")
    await it.wire.chunk(b"")


@fault("silent-close")
async def _silent_close(it):
    """A good answer, after which the connection is closed without a word."""
    data, media = _whole(it)
    await it.wire.whole(200, data, media=media)
    await it.wire.hang_up()
