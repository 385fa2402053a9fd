"""Processes that write traces until they are killed.

As a program, `python trace_writer.py FOLDER` forks one writer per line of its input, so that a kill costs no start
of an interpreter; it prints "pid PID" for each, and the writers "PID PATH" for every trace that was acknowledged,
that is, whose answer named it. `Writers` is the other side.
"""

import asyncio
import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

from fakes import WordGrounder, WordToolbox, scene

from geoseg_agent.agent import Agent
from geoseg_agent.settings import Settings

QUERIES = ("both", "points text", "hi", "none both points text")


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())  # one call: a kill cuts no line in two


async def write(folder, seed):
    async with Agent(Settings(traces=folder), grounder=WordGrounder(), toolbox=WordToolbox()) as agent:

        async def one(worker):
            for number in itertools.count():
                answer = await agent.segment(scene(seed), QUERIES[(number + worker) % len(QUERIES)])
                if answer.trace_path is not None:
                    say(os.getpid(), answer.trace_path)

        async with asyncio.TaskGroup() as group:
            for worker in range(3):
                group.create_task(one(worker))


def main(folder):
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for number, _ in enumerate(sys.stdin):
        child = os.fork()
        if child == 0:
            asyncio.run(write(folder, number))
        say("pid", child)


class Writers:
    """A folder and the processes that write to it."""

    def __init__(self, folder):
        self.acknowledged = []
        self.begun = {}
        self._pids = queue.Queue()
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONSAFEPATH", None)
        self._forker = subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._forker.stdout:
            who, what = line.rstrip("\n").split(" ", 1)
            if who == "pid":
                self._pids.put(int(what))
            else:
                self.acknowledged.append(Path(what))
                self.begun.setdefault(int(who), threading.Event()).set()

    def start(self):
        """The pid of a new writer that has had its first trace acknowledged."""
        self._forker.stdin.write("go\n")
        self._forker.stdin.flush()
        pid = self._pids.get(timeout=60)
        assert self.begun.setdefault(pid, threading.Event()).wait(60)
        return pid

    @staticmethod
    def kill(pid):
        """Kill -9, and wait until it is gone, and its locks with it."""
        os.kill(pid, signal.SIGKILL)
        while True:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            threading.Event().wait(0.001)

    def close(self):
        """Everything that was acknowledged is known after this."""
        self._forker.stdin.close()
        self._forker.wait()
        self._reader.join()
        self._forker.stdout.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
