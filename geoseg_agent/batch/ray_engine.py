"""A batch on a Ray cluster: workers that each hold one set of backends, and answer many items at a time.

Each worker is an actor around a `LocalEngine`, so an item takes the same way as in one process. Only the process that
gives the items out writes the lines of the batch; a worker writes traces, and files of answers, into the folder of
the batch, which every node therefore has to see under the same path, like the images.

A worker gets no more than `at_once` items at a time. One that dies is replaced; the items it had come back as
`WorkerLost`, and whoever gave them takes what was paid for or answered from their traces, and gives the rest again.
"""

from __future__ import annotations

import asyncio
import importlib
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from geoseg_agent.batch.engines import LocalEngine, WorkerLost
from geoseg_agent.errors import ConfigError, GeoSegError, MissingExtra, ToolFailed
from geoseg_agent.logs import log
from geoseg_agent.settings import quieten_ray
from geoseg_agent.trace.codec import decode_error, encode_error
from geoseg_agent.trace.model import ErrorRecord

if TYPE_CHECKING:
    from geoseg_agent.batch.engines import Task
    from geoseg_agent.batch.results import Answered
    from geoseg_agent.settings import Settings

DEATHS: Final = 3
"""Times that each worker may be replaced without one answer between: then something kills them all."""


class Cluster(NamedTuple):
    """Which cluster, and what of it.

    Attributes:
        address: "local" to start one on this machine, loopback only; "auto", HOST:PORT or ray://... to join one.
        workers: how many; None for one per GPU where workers use them, else one per node.
        cpus: that a worker asks the cluster for.
        gpus: likewise; None for 1 where the tools are models, else 0.
    """

    address: str = "local"
    workers: int | None = None
    cpus: float = 1.0
    gpus: float | None = None


class Worker:
    """What runs in a process of its own, somewhere.

    Args:
        settings: of the batch, pickled.
        at_once: items at a time.
    """

    def __init__(self, settings: bytes, at_once: int) -> None:
        self._engine = LocalEngine(pickle.loads(settings), at_once)  # noqa: S301 - what our own driver sent

    async def start(self) -> dict[str, Any] | None:
        """Load the models; what went wrong, if anything."""
        try:
            await self._engine.start()
        except GeoSegError as error:
            return _told(error)
        return None

    async def answer(self, task: bytes) -> bytes | dict[str, Any]:
        """Answer a pickled `Task`: a pickled `Answered`, or what ends the batch."""
        try:
            return pickle.dumps(await self._engine.answer(pickle.loads(task)))  # noqa: S301 - as above
        except GeoSegError as error:
            return _told(error)


class _Hand:
    """A worker as seen from here."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.busy = 0


class RayEngine:
    """Workers on a cluster.

    Args:
        settings: of the batch; traces go where each task says.
        at_once: items at a time for each worker, >= 1.
        cluster: which.

    Raises:
        MissingExtra: Ray is not installed.
        ConfigError: there is no such cluster, or it has no room for a worker.
    """

    def __init__(self, settings: Settings, at_once: int, cluster: Cluster) -> None:
        self._ray = _ray()
        self._settings = _portable(settings)
        self._per_worker = at_once
        self._cluster = cluster
        self._gpus = (1.0 if settings.tools == "models" else 0.0) if cluster.gpus is None else cluster.gpus
        self._hands: list[_Hand] = []
        self._free = asyncio.Condition()
        self._hiring: set[asyncio.Task[None]] = set()
        self._fault: GeoSegError | None = None
        self._deaths = 0
        self._ours = not self._ray.is_initialized()
        self._join()
        self.workers = cluster.workers or self._default_workers()
        self.at_once = at_once * self.workers

    async def start(self) -> None:
        """As `Engine.start`; returns with the first worker that is ready."""
        for _ in range(self.workers):
            self._hire()
        async with self._free:
            await self._free.wait_for(lambda: self._hands or self._fault)
        if self._fault is not None:
            raise self._fault

    async def aclose(self) -> None:
        """As `Engine.aclose`."""
        for task in self._hiring:
            task.cancel()
        hands, self._hands = self._hands, []
        for hand in hands:
            self._ray.kill(hand.actor)
        if self._ours and self._ray.is_initialized():
            self._ray.shutdown()

    async def answer(self, task: Task) -> Answered:
        """As `Engine.answer`."""
        hand = await self._least_busy()
        try:
            said = await hand.actor.answer.remote(pickle.dumps(task))
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            await self._bury(hand)
            raise WorkerLost(" ".join(str(error).split())[:300]) from error
        finally:
            async with self._free:
                hand.busy -= 1
                self._free.notify()
        if isinstance(said, dict):
            raise _as_error(said)
        self._deaths = 0
        answered: Answered = pickle.loads(said)  # noqa: S301 - what our own worker sent
        return answered

    async def _least_busy(self) -> _Hand:
        """A worker with room for one more; waits for one."""
        async with self._free:
            await self._free.wait_for(lambda: self._fault or any(one.busy < self._per_worker for one in self._hands))
            if self._fault is not None:
                raise self._fault
            hand = min(self._hands, key=lambda one: one.busy)
            hand.busy += 1
            return hand

    async def _bury(self, hand: _Hand) -> None:
        """Take a dead worker off the list, once, and look for another."""
        if hand not in self._hands:
            return
        self._hands.remove(hand)
        self._deaths += 1
        log.warning("worker lost", left=len(self._hands))
        if self._deaths > DEATHS * self.workers:
            await self._give_up(ToolFailed(f"{self._deaths} workers died one after the other, none with an answer"))
        else:
            self._hire()

    def _hire(self) -> None:
        task = asyncio.get_running_loop().create_task(self._hired())
        self._hiring.add(task)
        task.add_done_callback(self._hiring.discard)

    async def _hired(self) -> None:
        """Make a worker, wait until it is ready, and let it take items."""
        options = {
            "num_cpus": self._cluster.cpus,
            "num_gpus": self._gpus,
            "max_restarts": 0,
            "max_task_retries": 0,
            "max_concurrency": self._per_worker + 1,
            "scheduling_strategy": "SPREAD",
        }
        actor = self._ray.remote(Worker).options(**options).remote(pickle.dumps(self._settings), self._per_worker)
        try:
            complaint = await actor.start.remote()
        except self._ray.exceptions.RayError as error:
            self._deaths += 1
            if self._deaths > DEATHS * self.workers:
                await self._give_up(ToolFailed(f"no worker starts: {' '.join(str(error).split())[:300]}"))
            else:
                self._hire()
            return
        if complaint is not None:
            await self._give_up(_as_error(complaint))
            return
        async with self._free:
            self._hands.append(_Hand(actor))
            self._free.notify_all()

    async def _give_up(self, error: GeoSegError) -> None:
        async with self._free:
            self._fault = error
            self._free.notify_all()

    def _join(self) -> None:
        if not self._ours:
            return
        address = self._cluster.address
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address == "local":
            quiet |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        try:
            self._ray.init(address=address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"there is no Ray cluster at {address}: {error}",
                hint="start one with `ray start --head`, or leave --address out",
            ) from error

    def _default_workers(self) -> int:
        has = self._ray.cluster_resources()
        if self._gpus:
            found = int(has.get("GPU", 0) / self._gpus)
        else:
            found = sum(1 for node in self._ray.nodes() if node["Alive"])
        if not found:
            raise ConfigError(
                f"the cluster has {has.get('GPU', 0):g} GPUs and a worker asks for {self._gpus:g}",
                hint="say --worker-gpus 0 to work without",
            )
        return found


def _ray() -> Any:
    try:
        quieten_ray()
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "--engine ray needs the package 'ray'", hint="pip install 'geoseg-agent[cluster]', or leave --engine out"
        ) from error


def _portable(settings: Settings) -> Settings:
    """The settings for another process: files by their whole path, devices as the cluster gives them out."""
    kind, colon, file = settings.grounder.partition(":")
    changed: dict[str, Any] = {"devices": None}
    if kind in {"scripted", "replay"} and colon:
        changed["grounder"] = f"{kind}:{Path(file).absolute()}"
    for name in ("cache", "clip_checkpoint", "sam3_checkpoint"):
        path = getattr(settings, name)
        if path is not None:
            changed[name] = Path(path).absolute()
    return settings.model_copy(update=changed)


def _told(error: GeoSegError) -> dict[str, Any]:
    return encode_error(error).model_dump()


def _as_error(said: dict[str, Any]) -> GeoSegError:
    return decode_error(ErrorRecord(**said))
