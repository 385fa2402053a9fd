"""What a cluster has room for, and what to say or end while it has none: arithmetic, with nothing of Ray in it."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from geoseg_agent.errors import ConfigError, GeoSegError, ToolFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOM_S: Final = 15.0
"""Seconds without room for a worker before that is said."""

AGAIN_S: Final = 60.0
"""Seconds between two times that it is said, while there is no worker at all."""

LOST_S: Final = 30.0
"""Seconds without a cluster, or without a node that could hold a worker, that end a batch. Ray itself ends the
process, without a word that a program could read, after 60 (its `gcs_rpc_server_reconnect_timeout_s`)."""

_STEP: Final = 1e-4
"""Ray counts resources in units of this size."""


class Demand(NamedTuple):
    """What one worker asks a node for.

    Attributes:
        cpus: >= 0.
        gpus: >= 0; above 1 a whole number.
    """

    cpus: float
    gpus: float

    def __str__(self) -> str:
        return self.of(self.cpus, self.gpus)

    def of(self, cpus: float, gpus: float) -> str:
        """Amounts in words; GPUs only where they are asked for."""
        said = f"{cpus:g} CPU{'' if cpus == 1 else 's'}"
        return f"{said} and {gpus:g} GPU{'' if gpus == 1 else 's'}" if self.gpus else said


class Node(NamedTuple):
    """What a node has, whoever uses it at the moment.

    Attributes:
        cpus: in all.
        gpus: in all.
    """

    cpus: float
    gpus: float


class Seen(NamedTuple):
    """One look at a cluster.

    Attributes:
        answers: whether it is there.
        nodes: those alive.
        free: what nobody uses, all nodes together.
        placed: workers of ours that have a place.
    """

    answers: bool
    nodes: tuple[Node, ...]
    free: Node
    placed: int


def check(demand: Demand) -> None:
    """Refuse what Ray cannot count.

    Raises:
        ConfigError: a number is negative, no number, finer than Ray counts, or a broken one of GPUs above 1.
    """
    for option, value in (("--worker-cpus", demand.cpus), ("--worker-gpus", demand.gpus)):
        if not (math.isfinite(value) and value >= 0) or abs(value / _STEP - round(value / _STEP)) > 1e-3:
            raise ConfigError(
                f"{option} {value:g} is no amount that Ray can give", hint="say one such as 0.25, 1 or 2"
            )
    if demand.gpus > 1 and demand.gpus != int(demand.gpus):
        raise ConfigError(
            f"--worker-gpus {demand.gpus:g}: above 1, Ray gives whole GPUs only",
            hint="say a part of one, or whole ones",
        )


def nodes_of(rows: Iterable[Mapping[str, Any]]) -> tuple[Node, ...]:
    """The nodes that are alive, from the rows of `ray.nodes()`."""
    return tuple(amount_of(row["Resources"]) for row in rows if row["Alive"])


def amount_of(resources: Mapping[str, float]) -> Node:
    """CPUs and GPUs from resources as Ray names them; what it does not name is 0."""
    return Node(resources.get("CPU", 0.0), resources.get("GPU", 0.0))


def places(node: Node, demand: Demand) -> float:
    """How many workers an empty node holds; infinity where they ask for nothing."""
    pairs = ((node.cpus, demand.cpus), (node.gpus, demand.gpus))
    return min((math.floor(has / asked + _STEP) for has, asked in pairs if asked), default=math.inf)


def room(nodes: Iterable[Node], demand: Demand) -> float:
    """How many workers an empty cluster holds; infinity where they ask for nothing."""
    return sum(places(node, demand) for node in nodes)


def default_workers(nodes: tuple[Node, ...], demand: Demand) -> int:
    """As many as the GPUs are enough for, where workers use them; else one for each node that holds one.

    Raises:
        ConfigError: no node could ever hold one.
    """
    found = room(nodes, demand) if demand.gpus else sum(1 for node in nodes if places(node, demand))
    if not found:
        raise no_room(nodes, demand)
    return int(found)


def no_room(nodes: tuple[Node, ...], demand: Demand) -> ConfigError:
    """That no node could ever hold a worker, with the numbers."""
    return ConfigError(
        f"no node of the cluster can hold a worker: one asks for {demand}, and there {_nodes(nodes, demand)}",
        hint="ask for less with --worker-cpus and --worker-gpus (0 works without), or start a node that has as much",
    )


class Watch:
    """What to do about a cluster, told by looks at it that follow each other.

    Args:
        demand: of a worker.
        workers: wanted.
        address: as the user knows the cluster.
    """

    def __init__(self, demand: Demand, workers: int, address: str) -> None:
        self._demand, self._workers = demand, workers
        self._where = "that was started here" if address == "local" else f"at {address}"
        self._gone: float | None = None
        self._fits: float | None = None
        self._short: float | None = None
        self._said: float | None = None

    def look(self, now: float, seen: Seen) -> str | GeoSegError | None:
        """What to tell the user, or what to end the batch with, if anything.

        Args:
            now: seconds of a clock that never goes back.
            seen: at that time.
        """
        if not seen.answers:
            self._gone = now if self._gone is None else self._gone
            return self._lost() if now - self._gone >= LOST_S else None
        self._gone = None
        if seen.placed >= self._workers:
            self._fits = self._short = self._said = None
            return None
        return self._unfit(now, seen) or self._waits(now, seen)

    def _lost(self) -> GeoSegError:
        return ToolFailed(
            f"the Ray cluster {self._where} has not answered for {LOST_S:.0f} s: its head node, or Ray on this "
            "machine, is gone",
            hint="start it again, and then the same command: what is done is kept, and nothing paid is asked again",
        )

    def _unfit(self, now: float, seen: Seen) -> GeoSegError | None:
        """The nodes that could hold a worker have gone, and none comes back."""
        if seen.placed or room(seen.nodes, self._demand):
            self._fits = None
            return None
        self._fits = now if self._fits is None else self._fits
        return no_room(seen.nodes, self._demand) if now - self._fits >= LOST_S else None

    def _waits(self, now: float, seen: Seen) -> str | None:
        self._short = now if self._short is None else self._short
        if now - self._short < ROOM_S or (self._said is not None and (seen.placed or now - self._said < AGAIN_S)):
            return None
        self._said = now
        waits = f"waiting since {now - self._short:.0f} s for room" if not seen.placed else "the rest waits for room"
        return (
            f"{seen.placed} of {self._workers} workers run, {waits}: one asks for {self._demand}, there "
            f"{_nodes(seen.nodes, self._demand)}, of which in all {self._demand.of(*seen.free)} are free now. "
            "It goes on by itself; Ctrl-C stops it, and the same command goes on later"
        )


def _nodes(nodes: tuple[Node, ...], demand: Demand) -> str:
    """As in "is 1 node with 8 CPUs and 1 GPU": the largest kinds, as many as a person reads."""
    if not nodes:
        return "is no node"
    kinds = Counter(node if demand.gpus else Node(node.cpus, 0) for node in nodes).most_common()
    kinds.sort(key=lambda kind: (kind[0].gpus, kind[0].cpus), reverse=True)
    parts = [f"{count} node{'' if count == 1 else 's'} with {demand.of(*node)}" for node, count in kinds[:4]]
    rest = sum(count for _, count in kinds[4:])
    if rest:
        parts.append(f"{rest} with less")
    return ("is " if len(nodes) == 1 else "are ") + ", ".join(parts)
