"""One Agent against an endpoint with a second of latency: throughput, calls, CPU, cancellation and early stop.

    python benchmarks/endpoint.py [--queries 256] [--calls 64] [--latency 1.0] [--repeat 3] [--json]

The endpoint runs in a process of its own, so that the CPU reported is the controller's alone: `slow_server.py` for
throughput, the tests' server for the rest. The ideal is queries / calls x latency. All queries are on one picture and
all different, after one that is not counted. Bare clients that only send and receive the same show what machine and
server allow. Times across two processes are comparable because both read the system's monotonic clock.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import httpx2
import numpy as np
import PIL.Image
from load import TrivialTools

from geoseg_agent import Agent, Image, Settings
from geoseg_agent.samples.texture import fractal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from geoseg_agent import Segmentation

SLOW = Path(__file__).parent / "slow_server.py"
SERVER = Path(__file__).parents[1] / "tests" / "support" / "mllm_child.py"
PAINT = {"red": (255, 0, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}
CANCELLED = 20
SHARE = 0.95  # of the ideal throughput, and
CLOSED = 50  # milliseconds until a cancelled query's socket is closed: what the design promises


class Server:
    """The test server in its process."""

    def __init__(self, told: asyncio.StreamWriter, said: asyncio.StreamReader, hello: dict[str, str]) -> None:
        self._told, self._said = told, said
        self.base_url, self.model = hello["base_url"], hello["model"]

    async def _tell(self, word: str) -> list[dict[str, Any]]:
        self._told.write(f"{word}\n".encode())
        records: list[dict[str, Any]] = json.loads(await self._said.readline())
        return records

    async def completions(self) -> list[dict[str, Any]]:
        """What was asked since the last `forget`, canaries left out."""
        return [one for one in await self._tell("records") if one["kind"] == "completion"]

    async def forget(self) -> None:
        await self._tell("forget")


@contextlib.asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Server]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVER), json.dumps(options), stdin=pipe, stdout=pipe, limit=1 << 26
    )
    told, said = cast("tuple[asyncio.StreamWriter, asyncio.StreamReader]", (process.stdin, process.stdout))
    try:
        yield Server(told, said, json.loads(await said.readline()))
    finally:
        told.close()
        await process.wait()


def picture(side: int = 1024) -> Image:
    """Rectangles over something like ground."""
    rng = np.random.default_rng(7)
    ground = np.stack([110 + 30 * fractal(rng, (side, side), 60) + shade for shade in (0, 8, -16)], axis=2)
    pixels = np.clip(ground, 0, 255).astype(np.uint8)
    for number, colour in enumerate(PAINT.values()):
        start = side // 16 + number * side // 4
        pixels[start : start + side // 6, start : start + side // 5] = colour
    return Image.from_array(pixels, name="rectangles")


def agent_of(server: Server, **values: Any) -> Agent:
    settings = {"traces": "none", "deadline": 600.0, **values}
    return Agent(Settings(grounder="openai", base_url=server.base_url, **settings), toolbox=TrivialTools())


def query(number: int) -> str:
    return f"the {list(PAINT)[number % len(PAINT)]} rectangle, please, for visitor {number}"


@contextlib.asynccontextmanager
async def slow(latency: float) -> AsyncIterator[tuple[str, Callable[[], Awaitable[dict[str, int]]]]]:
    """The slow server in its process: its address, and a function that says what it saw since the last time."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SLOW), str(latency), stdin=pipe, stdout=pipe, limit=1 << 20
    )
    told, said = cast("tuple[asyncio.StreamWriter, asyncio.StreamReader]", (process.stdin, process.stdout))

    async def seen() -> dict[str, int]:
        told.write(b"seen\n")
        report: dict[str, int] = json.loads(await said.readline())
        return report

    try:
        yield (await said.readline()).decode().strip(), seen
    finally:
        told.close()
        await process.wait()


async def throughput(count: int, calls: int, latency: float, traces: str | Path) -> dict[str, float]:
    """Seconds for `count` queries at once, requests per answer, and the controller's CPU per query."""
    image = picture()
    async with slow(latency) as (base_url, seen):
        known = {"grounder": "openai", "base_url": base_url, "dialect": "json_schema", "deadline": 600.0}
        limits = {"endpoint_calls": calls, "max_running": count, "traces": traces}
        async with Agent(Settings(**{**known, **limits}), toolbox=TrivialTools()) as agent:
            await agent.segment(image, "the red rectangle")
            await seen()
            started, cpu = time.perf_counter(), time.process_time()
            async with asyncio.TaskGroup() as together:
                tasks = [together.create_task(agent.segment(image, query(number))) for number in range(count)]
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
            answered = sum(task.result().status == "found" for task in tasks)
            report = await seen()
    ideal = -(-count // calls) * latency
    return {
        "seconds": seconds,
        "share of the ideal": ideal / seconds,
        "answered": answered,
        "calls per answered query": report["requests"] / answered,
        "most calls at once": report["most"],
        "CPU ms per query": 1000 * cpu / count,
    }


async def bare(count: int, calls: int, latency: float, *, library: bool) -> dict[str, float]:
    """The same load from a client that only sends and receives: what machine and server allow.

    Over plain sockets, or over httpx2, on which the OpenAI client rests.
    """
    file = io.BytesIO()
    PIL.Image.fromarray(picture().pixels).save(file, "JPEG", quality=92, subsampling=0)
    url = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "query: the red rectangle"}]
    data = json.dumps(
        {"model": "qwen3-vl", "stream": True, "messages": [{"role": "user", "content": parts}]}
    ).encode()
    limits = httpx2.Limits(max_connections=calls, max_keepalive_connections=calls)
    async with slow(latency) as (base_url, _), httpx2.AsyncClient(limits=limits, timeout=60, trust_env=False) as http:
        head = f"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {len(data)}\r\n\r\n".encode()
        places = asyncio.Semaphore(calls)

        async def by_library() -> None:
            async with http.stream("POST", f"{base_url}/chat/completions", content=data) as response:
                async for _ in response.aiter_raw():
                    pass

        async def by_socket() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(base_url).port)
            writer.write(head + data)
            await reader.readuntil(b"[DONE]")
            writer.close()

        async def one() -> None:
            async with places:
                await (by_library() if library else by_socket())

        await one()
        started, cpu = time.perf_counter(), time.process_time()
        async with asyncio.TaskGroup() as together:
            for _ in range(count):
                together.create_task(one())
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {
        "seconds": seconds,
        "share of the ideal": -(-count // calls) * latency / seconds,
        "CPU ms per query": 1000 * cpu / count,
        "kB per request": len(data) / 1000,
    }


async def cancelling(*, streaming: bool) -> dict[str, float]:
    """Milliseconds from cancelling a query to its closed socket, as the server sees it."""
    image = picture()
    options: dict[str, Any] = {"tail": {"words": 100_000, "interval": 0.01}} if streaming else {"delay": 60.0}
    waits = []
    async with serving(dialect="vllm", **options) as server:
        values = {"early_stop": "off", "dialect": "json_schema", "frame": "norm1000"}
        async with agent_of(server, **values) as agent:
            for number in range(CANCELLED):
                task = asyncio.ensure_future(agent.segment(image, query(number)))
                while len(await server.completions()) <= number:  # noqa: ASYNC110 - in another process
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.1)
                left = time.monotonic()
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                await asyncio.sleep(0.1)
                waits.append((await server.completions())[number]["disconnected"] - left)
    return {"median ms": 1000 * median(waits), "most ms": 1000 * max(waits)}


def what(answer: Segmentation) -> list[Any]:
    """Everything of an answer that the model said."""
    return [answer.status, answer.reasoning, [(tuple(t.target.box), t.target.phrase) for t in answer.targets]]


async def early_stop(words: int = 400) -> dict[str, float]:
    """Words of the tail that were not sent, and whether the answers are the same."""
    image = picture()
    figures: dict[str, Any] = {}
    answers = {}
    for mode in ("off", "on"):
        async with (
            serving(dialect="vllm", tail={"words": words, "interval": 0.002}) as server,
            agent_of(server, early_stop=mode, dialect="json_schema", frame="norm1000") as agent,
        ):
            started = time.perf_counter()
            answers[mode] = [what(await agent.segment(image, query(number))) for number in range(len(PAINT))]
            figures[f"seconds per query, {mode}"] = (time.perf_counter() - started) / len(PAINT)
            await asyncio.sleep(0.1)
            figures[f"tail tokens per query, {mode}"] = median(one["tail"] for one in await server.completions())
    figures["tail tokens saved, %"] = 100 * (1 - figures["tail tokens per query, on"] / words)
    figures["identical answers"] = answers["on"] == answers["off"]
    return figures


async def run(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    load = (options.queries, options.calls, options.latency)
    figures: dict[str, dict[str, Any]] = {
        "bare sockets, for comparison": await bare(*load, library=False),
        "bare httpx2, for comparison": await bare(*load, library=True),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, traces in (("without traces", "none"), ("with traces", Path(folder))):
            runs = [await throughput(*load, traces) for _ in range(options.repeat)]
            best = max(runs, key=lambda run: run["share of the ideal"])
            figures[name] = {**best, "share in each run": [round(run["share of the ideal"], 3) for run in runs]}
    figures["cancelled while it waits"] = await cancelling(streaming=False)
    figures["cancelled while it reads"] = await cancelling(streaming=True)
    figures["early stop"] = await early_stop()
    return figures


def broken(figures: dict[str, dict[str, Any]]) -> list[str]:
    """What was promised and is not so, one line each."""
    found = []
    for name in ("without traces", "with traces"):
        share, calls = figures[name]["share of the ideal"], figures[name]["calls per answered query"]
        if share < SHARE:
            bare = figures["bare httpx2, for comparison"]["share of the ideal"]
            found.append(f"{name}: {share:.2f} of the ideal, {SHARE} wanted; a bare httpx2 client reaches {bare:.2f}")
        if calls != 1:
            found.append(f"{name}: {calls:.2f} calls per answered query, 1 wanted")
    closed = {name: figures[name]["most ms"] for name in ("cancelled while it waits", "cancelled while it reads")}
    found += [f"{name}: {ms:.0f} ms to a closed socket, 50 allowed" for name, ms in closed.items() if ms > CLOSED]
    if not figures["early stop"]["identical answers"]:
        found.append("early stop: the answers differ")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--calls", type=int, default=64)
    parser.add_argument("--latency", type=float, default=1.0)
    parser.add_argument("--repeat", type=int, default=3, help="the best run counts: others may use the machine too")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = asyncio.run(run(options))
    if options.json:
        print(json.dumps({**figures, "broken": broken(figures)}, indent=1))
        return
    for title, values in figures.items():
        print(title)
        for name, value in values.items():
            print(f"  {name:<32} {value if isinstance(value, list | bool) else f'{value:,.2f}'}")
    print("\n".join(broken(figures)) or "all promises kept")


if __name__ == "__main__":
    main()
