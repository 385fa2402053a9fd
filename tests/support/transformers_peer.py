"""A peer that nobody here wrote: `transformers serve` with a tiny Qwen3-VL, both in child processes.

Neither torch nor transformers is imported here: they warn, they are slow, and other tests assert their absence.
"""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path

NEEDS = ("torch", "torchvision", "transformers", "fastapi", "uvicorn")
MODEL = "tiny-qwen3-vl"  # the table of model profiles knows the family by it
SUPPORT = Path(__file__).parent
STARTS = 90.0
STOPS = 10.0


def missing():
    """What the peer needs and is not installed."""
    return [name for name in NEEDS if find_spec(name) is None]


def build(folder, conversations, answer):
    """Train the model in `folder`; its path, which is also its name at the server."""
    path = folder / MODEL
    path.mkdir(parents=True)
    command = [sys.executable, "-m", "tiny_vlm", str(path)]
    told = json.dumps({"answer": answer, "conversations": conversations})
    done = subprocess.run(command, input=told, capture_output=True, text=True, check=False, env=_offline(folder))
    assert done.returncode == 0, done.stderr
    return path


@contextmanager
def served(path):
    """Base URL of a server with the model in `path`; the server is dead afterwards, whatever happened."""
    log = path.parent / "serve.log"
    port = _free_port()
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(path), "--device", "cpu"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    told = {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "env": _offline(path.parent)}
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, **told) as server:
        try:
            _wait(server, port, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            try:
                server.wait(STOPS)
            except subprocess.TimeoutExpired:
                server.kill()


def _offline(folder):
    """Support modules on the path, one thread, no hub."""
    home = folder / "hub-home"
    (home / "hub").mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return kept | {
        "PYTHONPATH": os.pathsep.join(map(str, (SUPPORT / "serve", SUPPORT))),
        "OMP_NUM_THREADS": "1",
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _wait(server, port, log):
    end = time.monotonic() + STARTS
    while server.poll() is None and time.monotonic() < end:
        with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as line:
            try:
                line.request("GET", "/health")
                if line.getresponse().status == 200:
                    return
            except (OSError, HTTPException):
                time.sleep(0.2)
    state = f"still starting after {STARTS:.0f} s" if server.poll() is None else f"ended with {server.returncode}"
    raise AssertionError(f"transformers serve: {state}\n{log.read_text()[-4000:]}")


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
