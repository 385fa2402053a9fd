"""A batch on a Ray cluster: workers that each hold one set of backends, and answer many items at a time.

Each worker is an actor around a `LocalEngine`, so an item takes the same way as in one process. Only the process that
gives the items out writes the lines of the batch; a worker writes traces, and files of answers, into the folder of
the batch, which every node therefore has to see under the same path, like the images.

A worker gets no more than `at_once` items at a time. One that dies is replaced; the items it had come back as
`WorkerLost`, and whoever gave them takes what was paid for or answered from their traces, and gives the rest again.

Nothing waits without an end or a word: the cluster is looked at all the time, and `ray_room` says what follows.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from geoseg_agent.batch.engines import WorkerLost
from geoseg_agent.batch.ray_cluster import join, listen, ports, ray_package
from geoseg_agent.batch.ray_room import (
    Demand,
    Node,
    Seen,
    Watch,
    amount_of,
    check,
    default_workers,
    no_room,
    nodes_of,
    room,
)
from geoseg_agent.batch.ray_worker import Worker, as_error
from geoseg_agent.errors import GeoSegError, ToolFailed
from geoseg_agent.lanes import Lane
from geoseg_agent.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from geoseg_agent.batch.engines import Task
    from geoseg_agent.batch.results import Answered
    from geoseg_agent.settings import Settings

DEATHS: Final = 3
"""Times that each worker may be replaced without one answer between: then something kills them all."""

LOOK_S: Final = 3.0
"""Seconds between two looks at the cluster."""


class Cluster(NamedTuple):
    """Which cluster, and what of it.

    Attributes:
        address: "local" to start one on this machine; "auto", HOST:PORT or ray://... to join one.
        workers: how many; None for as many as the GPUs are enough for where workers use them, else one per node.
        cpus: that a worker asks the cluster for.
        gpus: likewise; None for 1 where the tools are models, else 0.
    """

    address: str = "local"
    workers: int | None = None
    cpus: float = 1.0
    gpus: float | None = None


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
        told: is given what the user should know, in a sentence.

    Raises:
        MissingExtra: Ray is not installed.
        ConfigError: there is no such cluster, or no node of it could ever hold a worker.
    """

    def __init__(
        self,
        settings: Settings,
        at_once: int,
        cluster: Cluster,
        told: Callable[[str], None] = log.warning,
    ) -> None:
        gpus = (1.0 if settings.tools == "models" else 0.0) if cluster.gpus is None else cluster.gpus
        self._demand = Demand(cluster.cpus, gpus)
        check(self._demand)
        self._ray = ray_package()
        self._settings = _portable(settings)
        self._per_worker = at_once
        self._told = told
        self._hands: list[_Hand] = []
        self._actors: list[Any] = []
        self._placed = 0
        self._free = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._fault: GeoSegError | None = None
        self._over = asyncio.Event()
        self._deaths = 0
        self._lane = Lane("ray")
        self._aside = contextlib.ExitStack()
        self._ours = not self._ray.is_initialized()
        if self._ours:
            join(self._ray, cluster.address)
        try:
            self._ports = ports(self._ray, cluster.address)
            nodes = nodes_of(self._ray.nodes())
            if not room(nodes, self._demand):
                raise no_room(nodes, self._demand)  # noqa: TRY301 - what was started ends in one place
            self.workers = cluster.workers or default_workers(nodes, self._demand)
        except BaseException:
            self._leave()
            raise
        self._watch = Watch(self._demand, self.workers, cluster.address)
        self.at_once = at_once * self.workers

    async def start(self) -> None:
        """As `Engine.start`; returns with the first worker that is ready."""
        self._aside.enter_context(contextlib.redirect_stdout(sys.stderr))  # Ray says there what happens to its nodes
        self._also(self._watched())
        for _ in range(self.workers):
            self._also(self._hired())
        async with self._free:
            await self._free.wait_for(lambda: self._hands or self._fault)
        if self._fault is not None:
            raise self._fault

    async def aclose(self) -> None:
        """As `Engine.aclose`."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._hands = []
        for actor in self._actors[:]:
            self._kill(actor)
        self._lane.close()
        self._leave()
        self._aside.close()

    async def answer(self, task: Task) -> Answered:
        """As `Engine.answer`."""
        hand = await self._least_busy()
        try:
            said = await self._unless_over(hand.actor.answer.remote(pickle.dumps(task)))
        except self._ray.exceptions.RayTaskError as error:  # it lives, and would say the same of every item
            raise ToolFailed(f"a worker failed at {task.item.id}: {_reason(error)}") from error
        except (self._ray.exceptions.RayError, ConnectionError) as error:  # the second with ray://
            await self._bury(hand)
            raise WorkerLost(_reason(error)) from error
        finally:
            async with self._free:
                hand.busy -= 1
                self._free.notify()
        if isinstance(said, dict):
            raise as_error(said)
        self._deaths = 0
        answered: Answered = pickle.loads(said)  # noqa: S301 - what our own worker sent
        return answered

    async def _unless_over(self, reply: Awaitable[Any]) -> Any:
        """What a worker says, or the error that ends everything, where that comes first: the dead do not answer."""
        over = asyncio.ensure_future(self._over.wait())
        said = asyncio.ensure_future(_awaited(reply))
        try:
            await asyncio.wait((over, said), return_when=asyncio.FIRST_COMPLETED)
            if said.done():
                return said.result()
        finally:
            over.cancel()
            said.cancel()
        assert self._fault is not None  # noqa: S101 - for the type checker; nothing else ends it
        raise self._fault

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
        self._placed -= 1
        self._kill(hand.actor)  # it may only be out of reach, and would keep its place
        self._told(
            f"a worker is lost, of {self.workers} there are {len(self._hands)} left; what it had is given out again"
        )
        await self._replace("workers died one after the other, none with an answer", "")

    async def _replace(self, what: str, why: str) -> None:
        """Look for another worker, or end it all where one after the other dies."""
        self._deaths += 1
        if self._deaths > DEATHS * self.workers:
            await self._give_up(ToolFailed(f"{self._deaths} {what}{why}"))
        else:
            self._also(self._hired())

    def _also(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it beside the rest; a fault in it ends everything, where it would else be waited for in vain."""

        async def done() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits
                hint = "what is done is kept: the same command goes on once the cluster is well"
                await self._give_up(ToolFailed(f"the Ray cluster cannot be used: {_reason(error)}", hint=hint))

        task = asyncio.get_running_loop().create_task(done())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hired(self) -> None:
        """Make a worker, wait until it is ready, and let it take items."""
        options = {
            "num_cpus": self._demand.cpus,
            "num_gpus": self._demand.gpus,
            "max_restarts": 0,
            "max_task_retries": 0,
            "max_concurrency": self._per_worker + 1,
            "scheduling_strategy": "SPREAD",
        }
        actor = self._ray.remote(Worker).options(**options).remote()
        self._actors.append(actor)
        placed = False
        try:
            await actor.here.remote()
            placed = True
            self._placed += 1
            complaint = await actor.start.remote(pickle.dumps(self._settings), self._per_worker)
        except self._ray.exceptions.RayError as error:
            self._placed -= placed
            self._kill(actor)
            await self._replace("workers could not start one after the other, the last with: ", _reason(error))
            return
        if complaint is not None:
            await self._give_up(as_error(complaint))
            return
        async with self._free:
            self._hands.append(_Hand(actor))
            self._free.notify_all()

    async def _watched(self) -> None:
        """Look at the cluster until there is nothing more to wait for."""
        now = asyncio.get_running_loop().time
        while self._fault is None:
            found = self._watch.look(now(), await self._seen())
            if isinstance(found, str):
                self._told(found)
            elif found is not None:
                await self._give_up(found)
            await asyncio.sleep(LOOK_S)

    async def _seen(self) -> Seen:
        """What is there. The nodes are asked for only where it matters: who is asked may be the one that is gone."""
        if not await listen(self._ports):
            return Seen(False, (), Node(0, 0), self._placed)
        if self._placed >= self.workers:
            return Seen(True, (), Node(0, 0), self._placed)
        try:
            rows = await self._lane.run(self._ray.nodes)
            free = await self._lane.run(self._ray.available_resources)
        except Exception:  # noqa: BLE001 - it is told by how long it lasts
            return Seen(False, (), Node(0, 0), self._placed)
        return Seen(True, nodes_of(rows), amount_of(free), self._placed)

    async def _give_up(self, error: GeoSegError) -> None:
        async with self._free:
            self._fault = self._fault or error
            self._over.set()
            self._free.notify_all()

    def _kill(self, actor: Any) -> None:
        with contextlib.suppress(Exception):  # it may be dead, and so may who should kill it
            self._actors.remove(actor)
            self._ray.kill(actor)

    def _leave(self) -> None:
        if self._ours and self._ray.is_initialized():
            self._ray.shutdown()


async def _awaited(reply: Awaitable[Any]) -> Any:
    return await reply


def _reason(error: Exception) -> str:
    """The first and the last of what an error of Ray says, which may be a page."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= 300 else f"{said[:100]} ... {said[-200:]}"


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
