"""Commands in processes that can be killed, and what they had asked for and kept by then."""

import asyncio
import contextlib
import os
import sys
from pathlib import Path


async def child(arguments, environment, cwd):
    """A command of ours in a process of its own, which finds what lies in this folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GEOSEG_")}
    kept |= environment | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}
    main, pipe = "from geoseg_agent.cli import main; main()", asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", main, *arguments, env=kept, cwd=cwd, stdout=pipe, stderr=pipe
    )


def asked(server, queries, begin):
    """The queries of the requests since number `begin`."""
    found = (one.raw.decode() for one in server.requests[begin:] if one.kind == "completion")
    return [next(query for query in queries if query in text) for text in found]


def replies(folder):
    """How many replies are on the disk, in journals and traces, below the folder; those taken over count again."""
    count = 0
    for path in folder.rglob("*.j*"):
        with contextlib.suppress(FileNotFoundError):  # a journal that has just become a trace
            count += path.read_bytes().count(b'"request_id"')
    return count
