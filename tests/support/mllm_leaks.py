"""Nothing left behind: no task, no connection, no socket."""

import asyncio
import contextlib
from pathlib import Path


@contextlib.asynccontextmanager
async def leaves_nothing(server, *, within=2.0):
    """Fail where, some time after the block, a task or a socket is left that was not there before."""
    tasks, sockets = asyncio.all_tasks() - server.tasks, _sockets() - server.open_sockets
    yield
    left = set()
    for _ in range(int(within / 0.01)):
        left = asyncio.all_tasks() - server.tasks - tasks
        if not left and server.open_sockets == 0 and _sockets() <= sockets:
            return
        await asyncio.sleep(0.01)
    more = _sockets() - sockets
    raise AssertionError(f"left behind: tasks {left}, {server.open_sockets} connections, {more} sockets")


def _sockets():
    """Sockets that this process holds."""
    count = 0
    for name in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            count += str(name.readlink()).startswith("socket:")
    return count
