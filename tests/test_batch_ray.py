"""`--engine ray` on real clusters of node processes; skipped where Ray is not installed."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from batch_data import lines, scenes
from bench_data import two_boxes
from canary import KEY, leaks

SUPPORT = Path(__file__).parent / "support"
PICTURES = 6
COMMAND = [sys.executable, "-c", "from geoseg_agent.cli import main; main()", "batch"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'geoseg-agent[cluster]'"),
]


def environment(**values):
    """Ours, without settings, for a process that finds the helpers; Ray's logs go nowhere else for it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GEOSEG_", "RAY_"))}
    return kept | {"PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"} | values


def child(script, folder, **values):
    """What a script of a cluster of its own says, as JSON."""
    done = subprocess.run(
        [sys.executable, SUPPORT / script, folder],
        capture_output=True,
        text=True,
        check=False,
        env=environment(**values),
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def pictures(folder, count):
    """Two boxes on each."""
    data = two_boxes(folder, pictures=count)
    for mask in data.glob("*-mask.png"):
        mask.unlink()
    return data


def test_a_cluster_gives_the_masks_of_one_process_and_loses_nothing_when_a_worker_dies(tmp_path):
    (pictures(tmp_path / "data", PICTURES) / "bad.png").write_bytes(b"no picture")
    said = child("ray_child.py", tmp_path, LOADS=str(tmp_path / "loads"))
    items = 2 * (PICTURES + 1)
    assert said["nodes"] == 2
    assert 1 <= said["lost"] <= 3
    assert said["ray"] == said["local"]
    assert said["lines"] == len(said["ray"]) == items
    assert sum(status == "failed" for status, _ in said["ray"].values()) == 2
    # Replies that were in the air when the worker died are asked for again: it held at most three.
    assert said["asked"][0] == 2 * PICTURES
    assert 2 * PICTURES <= said["asked"][1] <= 2 * PICTURES + 3
    assert set(said["loads"]) == {1}
    assert len(said["loads"]) >= 2  # and one for the dead worker, where it came in time
    assert said["leaks"] == []


def test_no_room_is_refused_or_waited_for_with_words_and_a_dead_head_ends_the_batch(tmp_path):
    pictures(tmp_path / "data", 2)
    said = child("ray_hard_child.py", tmp_path)
    gpus, cpus, broken = said["refused"]
    assert gpus[0] == cpus[0] == broken[0] == "config"
    assert "one asks for 1 CPU and 1 GPU, and there are 2 nodes with 1 CPU and 0 GPUs" in gpus[1]
    assert "one asks for 2 CPUs, and there are 2 nodes with 1 CPU " in cpus[1]
    assert "whole GPUs" in broken[1]
    assert len(said["taken"]["said"]) == 1
    assert said["taken"]["said"][0].startswith("0 of 2 workers run, waiting since")
    assert said["taken"]["statuses"] == ["found"] * 2
    head = said["head"]
    assert head["error"][0] == "tool"
    assert "has not answered for 30 s" in head["error"][1]
    assert 2 <= head["kept"] < head["lines"] == 40
    assert head["unchanged"]
    assert head["statuses"] == ["found"] * 40


async def begun(folder, *arguments, **values):
    """The command in a group of its own, as a terminal starts it."""
    return await asyncio.create_subprocess_exec(
        *COMMAND,
        *map(str, arguments),
        env=environment(**values),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


async def test_after_ctrl_c_nothing_of_ray_is_left_and_the_same_command_goes_on(tmp_path):
    scenes(tmp_path / "in", 4)
    words = {
        "GEOSEG_GROUNDER": "batch_data:grounder",
        "GEOSEG_TOOLS": "batch_data:tools",
        "GEOSEG_API_KEY": KEY,
        "GEOSEG_DEADLINE": "9",
    }
    # The second query does not end before its deadline: the batch is interrupted while it is asked.
    arguments = ("in", "both", "stuck", "--out", "out", "--engine", "ray")
    child = await begun(tmp_path, *arguments, **words)
    while len(lines(tmp_path / "out")) < 4 and child.returncode is None:  # noqa: ASYNC110 - a disk has no bell
        await asyncio.sleep(0.1)
    below = psutil.Process(child.pid).children(recursive=True)
    session = next(part for one in below for part in one.cmdline() if part.startswith("--session-dir="))
    environments = []
    for one in below:
        with contextlib.suppress(psutil.Error):
            environments.append(one.environ())
    assert environments
    assert not [name for known in environments for name in known if name.startswith("GEOSEG_")]
    os.killpg(child.pid, signal.SIGINT)
    out, err = await child.communicate()
    assert child.returncode == 130, err
    assert b"out holds what was done until now" in err
    assert out == b""
    assert psutil.wait_procs(below, timeout=100)[1] == []
    assert leaks(session.partition("=")[2]) == []
    assert leaks(tmp_path) == []
    kept = lines(tmp_path / "out")
    child = await begun(tmp_path, *arguments, **words)
    out, err = await child.communicate()
    assert child.returncode == 0, err
    assert out.startswith(b"found")
    again = lines(tmp_path / "out")
    assert {name: again[name] for name in kept} == kept
    assert len(again) == 8


async def test_what_listens_and_is_no_cluster_is_said_to_be_none(tmp_path):
    scenes(tmp_path / "in", 1)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        child = await begun(tmp_path, "in", "both", "--out", "out", "--engine", "ray", "--address", address)
        out, err = await child.communicate()
    assert child.returncode == 3
    assert f"no Ray cluster to join at {address}: none was joined within 15 s".encode() in err
    assert b"ray start --head" in err
    assert out == b""
