"""What goes wrong around a batch on a cluster: no room, room taken by others, a head that dies; told as JSON.

python ray_hard_child.py FOLDER      FOLDER/data holds pictures of two boxes
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import ray
from asking import settings
from batch_data import lines, ran
from mllm_server import MllmServer
from ray.cluster_utils import Cluster

from geoseg_agent.batch.engines import LocalEngine
from geoseg_agent.batch.ray_engine import Cluster as Wanted
from geoseg_agent.batch.ray_engine import RayEngine
from geoseg_agent.errors import GeoSegError
from geoseg_agent.settings import quieten_ray

QUERIES = ("the red rectangle",)
HEAD, OTHER = "127.0.0.2", "127.0.0.3"  # Ray takes 127.0.0.1 for the machine's outer address
KILL_AFTER = 2
SLOW = [0.0]  # seconds that the model takes: a head that died is noticed while there is still something to ask


class Hog:
    """Somebody else's."""

    def here(self):
        return os.getpid()


def refused(chosen, wanted):
    """What is said of a demand."""
    try:
        RayEngine(chosen, 1, wanted)
    except GeoSegError as error:
        return [error.code, str(error)]
    return None


async def taken(folder, chosen):
    """A batch while others have the room, until the user is told so."""
    hogs = [ray.remote(Hog).options(num_cpus=1).remote() for _ in range(2)]
    await asyncio.wait([asyncio.ensure_future(asyncio.wrap_future(hog.here.remote().future())) for hog in hogs])
    said = []

    def told(text):
        said.append(text)
        for hog in hogs:
            ray.kill(hog)
        hogs.clear()

    engine = RayEngine(chosen, 2, Wanted(workers=2), told)
    results = await ran(f"{folder}/data/*.png", folder / "taken", chosen, QUERIES, engine=engine)
    return {"said": said, "statuses": [one.status for one in results.values()]}


async def head_dies(folder, chosen, head):
    """A batch whose cluster loses its head, and the same batch again without one."""
    killed = []

    def told(tally):
        if tally.done >= KILL_AFTER and not killed:
            for one in head.all_processes["gcs_server"]:
                killed.append(one.process.pid)
                os.kill(killed[-1], signal.SIGKILL)

    found, error = folder / "head", None
    source, queries = f"{folder}/data/*.png", [f"the red rectangle, {number}" for number in range(20)]
    SLOW[0] = 3.0
    try:
        await ran(source, found, chosen, queries, engine=RayEngine(chosen, 1, Wanted(workers=2)), told=told)
    except GeoSegError as ended:
        error = [ended.code, str(ended)]
    kept, SLOW[0] = lines(found), 0.0
    again = await ran(source, found, chosen, queries, engine=LocalEngine(chosen, 8))
    return {
        "error": error,
        "kept": len(kept),
        "unchanged": {name: again[name] for name in kept} == kept,
        "statuses": [one.status for one in again.values()],
        "lines": len((found / "batch.jsonl").read_text().splitlines()),
    }


async def main(folder, head):
    async with MllmServer(delay=lambda _: SLOW[0]) as server:
        chosen = settings(server, tools="batch_data:tools", traces="none")
        return {
            "refused": [
                refused(chosen, Wanted(workers=2, gpus=1)),
                refused(chosen, Wanted(cpus=2)),
                refused(chosen, Wanted(gpus=1.5)),
            ],
            "taken": await taken(folder, chosen),
            "head": await head_dies(folder, chosen, head),
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
        sys.stdout.write("\n" + json.dumps(asyncio.run(main(Path(sys.argv[1]), cluster.head_node))) + "\n")
        sys.stdout.flush()
    finally:
        with contextlib.suppress(Exception):  # the head is dead
            ray.shutdown()
        for node in list(cluster.list_all_nodes()):
            node.kill_all_processes(check_alive=False, allow_graceful=False)
