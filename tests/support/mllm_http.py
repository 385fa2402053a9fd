"""As much HTTP/1.1 as a server on loopback needs: one request in, one response out, and who left when."""

import asyncio
import json
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

REASONS = {200: "OK", 307: "Temporary Redirect", 400: "Bad Request", 404: "Not Found", 500: "Internal Server Error"}


@dataclass
class Recorded:
    """A request as it arrived and what became of it; times are `time.monotonic`'s.

    `kind`: "completion", "canary" (no picture in it) or "other"; `attempt` counts completions from 1; `disconnected`
    is when the client left before the response was complete; `tail` counts words sent after the answer.
    """

    number: int
    connection: int
    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    arrived: float
    body: Any = None
    kind: str = "other"
    attempt: int | None = None
    fault: str | None = None
    status: int | None = None
    sent: int = 0
    tail: int = 0
    ended: float | None = None
    disconnected: float | None = None


class Arrivals(asyncio.StreamReaderProtocol):
    """The stream protocol of asyncio, with an event that says at once when the client has left."""

    def __init__(self, serve, loop):
        super().__init__(asyncio.StreamReader(limit=1 << 26, loop=loop), serve, loop=loop)
        self.gone = asyncio.Event()
        self.gone_at = None

    def _note(self):
        if self.gone_at is None:
            self.gone_at = asyncio.get_running_loop().time()
            self.gone.set()

    def eof_received(self):
        self._note()
        return super().eof_received()

    def connection_lost(self, exc):
        self._note()
        super().connection_lost(exc)


async def read_request(reader):
    """Method, path, headers (names in lower case) and body, or None where the client has nothing more to say."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return method, path, headers, await reader.readexactly(int(headers.get("content-length", 0)))


@dataclass
class Wire:
    """The response side of one request."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    record: Recorded
    keep: bool = True
    extra: dict[str, str] = field(default_factory=dict)

    async def send(self, data):
        self.writer.write(data)
        self.record.sent += len(data)
        await self.writer.drain()

    async def head(self, status, headers):
        self.record.status = status
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in {**self.extra, **headers}.items()]
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def whole(self, status, data, *, media="application/json", headers=None):
        """A response of known length."""
        await self.head(status, {"content-type": media, "content-length": str(len(data)), **(headers or {})})
        await self.send(data)

    async def json(self, status, value, headers=None):
        await self.whole(status, json.dumps(value).encode(), headers=headers)

    async def begin_events(self):
        await self.head(200, {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"})

    async def chunk(self, data):
        """One chunk of a response of unknown length; the empty one ends it."""
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def event(self, value):
        text = value if isinstance(value, str) else json.dumps(value)
        await self.chunk(f"data: {text}\n\n".encode())

    async def hang_up(self):
        """Close in good order: what was sent arrives, then the end."""
        self.keep = False
        self.writer.close()

    async def reset(self):
        """Close with a TCP reset: the client sees "connection reset by peer"."""
        self.keep = False
        plain = self.writer.get_extra_info("socket")
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
