"""A batch on a cluster of two node processes on loopback, one worker of which is killed; what came of it, as JSON.

python ray_child.py FOLDER      FOLDER/data holds pictures of two boxes
"""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import psutil
import ray
from asking import settings
from batch_data import ran
from canary import leaks
from mllm_server import MllmServer
from ray.cluster_utils import Cluster

from geoseg_agent.batch.engines import LocalEngine, WorkerLost
from geoseg_agent.batch.ray_engine import Cluster as Wanted
from geoseg_agent.batch.ray_engine import RayEngine
from geoseg_agent.settings import quieten_ray
from geoseg_agent.trace.store import load

QUERIES = ("the red rectangle", "the blue rectangle")
HEAD, OTHER = "127.0.0.2", "127.0.0.3"  # Ray takes 127.0.0.1 for the machine's outer address
KILL_AFTER = 4


class Counting(RayEngine):
    """Counts the items that come back because their worker died."""

    lost = 0

    async def answer(self, task):
        try:
            return await super().answer(task)
        except WorkerLost:
            self.lost += 1
            raise


def masks(folder, results):
    """Run-lengths of every target, by item."""
    found = {}
    for name, one in results.items():
        trace = one.trace and load(folder / "traces" / "00000" / f"{one.trace}.json")
        found[name] = [one.status, [target.mask.counts for target in trace.result.targets] if trace else None]
    return found


def workers():
    """The processes of the workers."""
    below = psutil.Process().children(recursive=True)
    return [one.pid for one in below if one.cmdline() and one.cmdline()[0].startswith("ray::Worker")]


def loads():
    """How often each worker made its tools."""
    pids = Path(os.environ["LOADS"]).read_text().split()
    return [count for pid, count in Counter(pids).items() if pid != str(os.getpid())]


async def main(folder, session):
    killed = []

    def told(tally):
        if tally.done >= KILL_AFTER and not killed:
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    source = f"{folder}/data/*.png"
    async with MllmServer(delay=0.3) as server:
        chosen = settings(server, tools="loads:tools", traces="none")
        local = await ran(source, folder / "local", chosen, QUERIES, engine=LocalEngine(chosen, 4))
        asked = server.completions
        engine = Counting(chosen, 3, Wanted(workers=2))
        spread = await ran(source, folder / "ray", chosen, QUERIES, engine=engine, told=told)
        lines = (folder / "ray" / "batch.jsonl").read_text().splitlines()
        return {
            "local": masks(folder / "local", local),
            "ray": masks(folder / "ray", spread),
            "lines": len(lines),
            "nodes": len({node["NodeManagerAddress"] for node in ray.nodes()}),
            "lost": engine.lost,
            "asked": [asked, server.completions - asked],
            "loads": loads(),
            "leaks": leaks(session),
        }


if __name__ == "__main__":
    quieten_ray()
    small = {"num_cpus": 1, "object_store_memory": 80 << 20}
    cluster = Cluster(
        initialize_head=True, head_node_args={**small, "node_ip_address": HEAD, "include_dashboard": False}
    )
    try:
        cluster.add_node(**small, node_ip_address=OTHER)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR", _node_ip_address=HEAD)
        sys.stdout.write(
            "\n" + json.dumps(asyncio.run(main(Path(sys.argv[1]), cluster.head_node.get_session_dir_path()))) + "\n"
        )
    finally:
        ray.shutdown()
        cluster.shutdown()
