"""The test server as a process of its own, so that its work does not count as the client's.

    python mllm_child.py '{"dialect": "vllm", "delay": 1.0}'

The arguments are those of `MllmServer` that JSON can say. It prints its address, and then one line of JSON for every
line of its input: "records" gives what was asked since the last "forget". It ends with its input.
"""

import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # a safe path leaves the folder of the script out

from mllm_answers import Tail
from mllm_server import MllmServer

PLAIN = ("kind", "attempt", "connection", "status", "sent", "tail", "arrived", "ended", "disconnected", "path")


async def lines():
    """The lines of the input."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().strip()


def say(value):
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


async def main(options):
    if "tail" in options:
        options["tail"] = Tail(**options["tail"])
    async with MllmServer(**options) as server:
        say({"base_url": server.base_url, "model": server.model})
        async for line in lines():
            if line == "forget":
                server.requests.clear()
            say([{name: getattr(one, name) for name in PLAIN} for one in server.requests])


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
