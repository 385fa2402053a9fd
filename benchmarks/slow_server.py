"""A Chat Completions server that reads a request, waits, and streams one fixed answer; as cheap as can be.

    python benchmarks/slow_server.py LATENCY

So that a benchmark measures the client: the tests' server looks at every picture, which costs more than sending it.
Prints its address, then on every line it reads what it saw since the last one: requests, most at once.
"""

import asyncio
import json
import sys

ANSWER = json.dumps(
    {
        "status": "found",
        "targets": [{"bbox_2d": [62, 62, 262, 229], "label": "red rectangle"}],
        "reasoning": "It is the red one.",
    }
)
MODELS = json.dumps({"object": "list", "data": [{"id": "qwen3-vl", "object": "model", "owned_by": "vllm"}]})
STEP = 4  # characters per event, about a token


class Seen:
    """What was asked since the last report."""

    def __init__(self) -> None:
        self.requests = self.open = self.most = 0

    def report(self) -> str:
        line = json.dumps({"requests": self.requests, "most": self.most})
        self.requests = self.most = 0
        return line


def events() -> bytes:
    """The answer as server-sent events, one token each."""
    pieces = [ANSWER[at : at + STEP] for at in range(0, len(ANSWER), STEP)]
    deltas = [{"index": 0, "delta": {"content": piece}} for piece in pieces]
    deltas.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    lines = [json.dumps({"id": "1", "object": "chat.completion.chunk", "choices": [delta]}) for delta in deltas]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()


def head(kind: str, length: int) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n".encode()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, latency: float, seen: Seen) -> None:
    body = events()
    try:
        while True:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            fields = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
            await reader.readexactly(int(fields.get("content-length", 0)))
            if lines[0].startswith("GET"):
                writer.write(head("application/json", len(MODELS)) + MODELS.encode())
                continue
            seen.requests += 1
            seen.open += 1
            seen.most = max(seen.most, seen.open)
            await asyncio.sleep(latency)
            seen.open -= 1
            writer.write(head("text/event-stream", len(body)) + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    seen = Seen()
    latency = float(sys.argv[1])
    server = await asyncio.start_server(
        lambda reader, writer: serve(reader, writer, latency, seen), "127.0.0.1", backlog=1024, limit=1 << 22
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    lines = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(lines)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while await lines.readline():
        print(seen.report(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
