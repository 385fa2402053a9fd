"""A multimodal model behind Chat Completions, on loopback: it sees coloured rectangles, and fails on demand.

    async with MllmServer(dialect="vllm", faults={1: "503"}) as server:
        ...  # server.base_url; later server.requests, server.completions, server.open_sockets

Dialects are those of `mllm_dialects.KINDS`; faults those of `mllm_faults.FAULTS`, by the number of the completion
from 1 (canaries, which hold no picture, do not count).
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from mllm_answers import Asked, Said, Tail, accept, completion, deltas, event, greet, look, shaped, usage_of
from mllm_dialects import KINDS, Kind, Refusal, error_of, judge, list_models, pictures_of
from mllm_faults import FAULTS, Fault
from mllm_frames import Speaks
from mllm_http import Arrivals, Recorded, Wire, read_request

MODEL = "qwen3-vl-8b"


class Exchange:
    """One question and its wire: what faults play with."""

    def __init__(self, wire, asked, said, kind):
        self.wire, self.asked, self.said, self.kind = wire, asked, said, kind

    @property
    def streams(self):
        return bool(self.asked.body.get("stream"))


class MllmServer:
    """The server, as a context.

    Args:
        dialect: name of a `Kind`, or one made with `dataclasses.replace`.
        answer: what the model says to a grounding question: a function of `Asked`, or the object itself; by default
            it looks at the picture.
        review: the same for questions about drawn targets; by default it accepts all.
        script: replies that go out verbatim, whatever the shape asked for: a list of `Said` or text, used one after
            the other and then the honest answer; or a function of `Asked`, where None means the honest answer.
        reasoning: what the model thinks aloud first.
        faults: by number of the completion: a mapping, a function, or one for all.
        models_fault, canary_fault: one for every such request.
        delay: seconds before anything is answered, or a function of `Asked`.
        pace: seconds between two pieces of a stream.
        fragment: characters per piece.
        speaks: the frame of its boxes.
        tail: what it goes on saying after the answer of a stream.
        key: what the Authorization header must carry, where given.
        idle: seconds after which a connection without a request is closed.
        model: the name of the only model; by default as the kind of server would write it.
    """

    def __init__(
        self,
        dialect: str | Kind = "vllm",
        *,
        answer: Callable[[Asked], Any] | Mapping[str, Any] | None = None,
        review: Callable[[Asked], Any] | Mapping[str, Any] | None = None,
        script: Sequence[Said | str] | Callable[[Asked], Said | str | None] = (),
        reasoning: str | None = None,
        faults: Mapping[int, str | Fault] | Callable[[int], str | Fault | None] | str | Fault | None = None,
        models_fault: str | Fault | None = None,
        canary_fault: str | Fault | None = None,
        delay: float | Callable[[Asked], float] = 0.0,
        pace: float = 0.0,
        fragment: int = 12,
        speaks: Speaks | str = "norm1000",
        tail: Tail | None = None,
        key: str | None = None,
        idle: float = 5.0,
        model: str | None = None,
    ) -> None:
        self.kind = KINDS[dialect] if isinstance(dialect, str) else dialect
        self.answer, self.review, self.script, self.reasoning = answer, review, script, reasoning
        self.faults, self.models_fault, self.canary_fault = faults, models_fault, canary_fault
        self.delay, self.pace, self.fragment, self.tail = delay, pace, fragment, tail
        self.speaks = Speaks(speaks) if isinstance(speaks, str) else speaks
        self.key, self.idle = key, idle
        self.model = model or (f"{self.kind.owned_by}/{MODEL}" if self.kind.name == "transformers" else MODEL)
        self.requests: list[Recorded] = []
        self.failures: list[Exception] = []
        self.port = 0
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._blocked: socket.socket | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def open_sockets(self) -> int:
        """Connections that are open now."""
        return len(self._tasks)

    @property
    def tasks(self) -> frozenset[asyncio.Task[None]]:
        """Its own tasks, one per connection."""
        return frozenset(self._tasks)

    @property
    def asked(self) -> list[Recorded]:
        """The completions that are no canaries, in order."""
        return [one for one in self.requests if one.kind == "completion"]

    @property
    def completions(self) -> int:
        return len(self.asked)

    @property
    def canaries(self) -> int:
        return sum(one.kind == "canary" for one in self.requests)

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()
        if self._blocked is not None:
            self._blocked.close()
        if self.failures:
            raise ExceptionGroup("the test server itself failed", self.failures)

    async def up(self) -> None:
        """Listen, on the same port as before; nothing changes where it does already."""
        if self._server is not None:
            return
        if self._blocked is not None:
            self._blocked.close()
            self._blocked = None
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Close every connection and refuse new ones; the port stays taken, so that nobody else answers."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._blocked = socket.socket()
            self._blocked.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._blocked.bind(("127.0.0.1", self.port))
        for task in self.tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self.tasks)

    def _connection(self) -> Arrivals:
        protocol = Arrivals(lambda reader, writer: self._begin(protocol, reader, writer), asyncio.get_running_loop())
        return protocol

    def _begin(self, protocol, reader, writer):
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(protocol, reader, writer, self.connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, protocol, reader, writer, connection):
        """One connection: requests one after the other, until one side has had enough."""
        try:
            while True:
                async with asyncio.timeout(self.idle):
                    request = await read_request(reader)
                if request is None:
                    return
                record = self._record(connection, *request)
                wire = Wire(reader, writer, record)
                await self._watched(protocol, wire)
                if not wire.keep or protocol.gone.is_set():
                    return
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            return
        except Exception as error:  # noqa: BLE001 - a fault of this file must not look like one of the wire
            self.failures.append(error)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    def _record(self, connection, method, path, headers, raw):
        arrived = asyncio.get_running_loop().time()
        record = Recorded(len(self.requests) + 1, connection, method, path, headers, raw, arrived)
        with contextlib.suppress(ValueError):
            record.body = json.loads(raw)
        if method == "POST" and path.endswith("/chat/completions"):
            seeing = isinstance(record.body, dict) and bool(pictures_of(record.body))
            record.kind = "completion" if seeing else "canary"
            record.attempt = self.completions + 1 if seeing else None
        self.requests.append(record)
        return record

    async def _watched(self, protocol, wire):
        """Answer, unless the client leaves first."""
        answering = asyncio.ensure_future(self._reply(wire))
        leaving = asyncio.ensure_future(protocol.gone.wait())
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            complete = answering.done()
            answering.cancel()
            try:
                await answering
            except (ConnectionError, asyncio.CancelledError):
                complete = False
            if not complete:
                wire.record.disconnected = protocol.gone_at
        finally:
            for task in (answering, leaving):
                task.cancel()
            wire.record.ended = asyncio.get_running_loop().time()

    async def _reply(self, wire):
        record = wire.record
        if self.key is not None and record.headers.get("authorization") != f"Bearer {self.key}":
            body = error_of(self.kind, 401, "Incorrect API key provided.", code="invalid_api_key")
            await wire.json(401, body)
        elif record.method == "GET" and record.path == "/v1/models" and self.kind.name != "unknown":
            await self._models(wire)
        elif record.method == "GET" and record.path == "/version" and self.kind.name == "vllm":
            await wire.json(200, {"version": "0.33.0"})
        elif record.kind == "other":
            await wire.json(404, error_of(self.kind, 404, "Not Found"))
        else:
            await self._complete(wire)

    async def _models(self, wire):
        if self.models_fault is None:
            await wire.json(200, list_models(self.kind, self.model))
            return
        await self._play(self.models_fault, Exchange(wire, Asked({"messages": []}, 0), Said(content=""), self.kind))

    async def _complete(self, wire):
        record = wire.record
        asked = Asked(record.body if isinstance(record.body, dict) else {"messages": []}, record.attempt or 0)
        wire.extra = {"x-request-id": f"req-{record.number}"}
        await asyncio.sleep(self.delay(asked) if callable(self.delay) else self.delay)
        fault = self.canary_fault if record.kind == "canary" else self._fault(asked.attempt)
        shape = judge(self.kind, record.body, self.model)
        if isinstance(shape, Refusal) and fault is None:
            await wire.json(shape.status, shape.body)
            return
        try:
            said = self._said(asked, "prose" if isinstance(shape, Refusal) else shape)
        except ValueError as error:
            await wire.json(400, error_of(self.kind, 400, str(error)))
            return
        exchange = Exchange(wire, asked, said, self.kind)
        if fault is not None:
            await self._play(fault, exchange)
        elif exchange.streams:
            await self._stream(exchange)
        else:
            await wire.json(200, completion(asked, said, self.kind))

    def _fault(self, attempt):
        if isinstance(self.faults, str | Fault):
            return self.faults
        if callable(self.faults):
            return self.faults(attempt)
        return (self.faults or {}).get(attempt)

    async def _play(self, fault, exchange):
        chosen = FAULTS[fault] if isinstance(fault, str) else fault
        exchange.wire.record.fault = chosen.name
        await chosen.play(exchange)

    def _said(self, asked, shape):
        """What goes out for a question."""
        if asked.attempt == 0:
            return greet(asked, shape, self.kind)
        verbatim = self._scripted(asked)
        if verbatim is not None:
            return Said(content=verbatim) if isinstance(verbatim, str) else verbatim
        source = (self.review or accept) if asked.reviewing else (self.answer or self._look)
        said = shaped(asked, source(asked) if callable(source) else source, shape, self.kind)
        if self.reasoning is None or self.kind.reasoning is None:
            return said
        return Said(said.content, said.calls, self.reasoning, said.refusal, said.finish)

    def _scripted(self, asked):
        if callable(self.script):
            return self.script(asked)
        return self.script[asked.attempt - 1] if asked.attempt <= len(self.script) else None

    def _look(self, asked):
        return look(asked, self.speaks)

    async def _stream(self, exchange):
        wire, asked, said = exchange.wire, exchange.asked, exchange.said
        await wire.begin_events()
        for delta in deltas(said, self.kind, self.fragment):
            await wire.event(event(asked, delta))
            await asyncio.sleep(self.pace)
        for _ in range(self.tail.words if self.tail and wire.record.kind == "completion" else 0):
            await wire.event(event(asked, {"content": self.tail.word}))
            wire.record.tail += 1
            await asyncio.sleep(self.tail.interval)
        await wire.event(event(asked, {}, said.finish))
        if (asked.body.get("stream_options") or {}).get("include_usage"):
            await wire.event(event(asked, usage=usage_of(asked, said)))
        await wire.event("[DONE]")
        await wire.chunk(b"")
