"""Local tools behind the asynchronous seam: every call runs on the lane of the instance it belongs to."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from geoseg_agent.encodings import Encodings
from geoseg_agent.lanes import Lane, apart
from geoseg_tools.errors import MemoryExhausted, ToolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from geoseg_tools.arrays import Heat, Mask, Points
    from geoseg_tools.crop import Crop
    from geoseg_tools.masks import Masks
    from geoseg_tools.protocols import Matcher, Segmenter

T = TypeVar("T")


class Makers(NamedTuple):
    """How the tools of one seat are built, each on its own lane: this is where a model is loaded.

    Where both are the same function, it is called once, and its one instance does both on one lane.
    """

    matcher: Callable[[], Matcher]
    segmenter: Callable[[], Segmenter]


class _Worker:
    """A tool on its lane, built by the first job there; one that cannot be built is tried again by the next."""

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        self.lane = Lane(name)
        self.jobs = 0
        self.tool: Any = None
        self._make = make
        self._closed = False

    async def run(self, job: Callable[..., T], *args: Any) -> T:
        if self._closed:
            raise ToolError("these tools are closed", hint="make new ones; an Agent closes the toolbox it was given")
        self.jobs += 1
        try:
            return await self.lane.run(self._do, job, args)
        finally:
            self.jobs -= 1

    def close(self) -> None:
        """Let the thread end and the tool go, also one that is being built; safe to call twice."""
        self._closed = True
        self.tool = None
        self.lane.close()

    def _do(self, job: Callable[..., T], args: tuple[Any, ...]) -> T:
        return job(self._ready(), *args)

    def _ready(self) -> Any:
        if self.tool is not None:
            return self.tool
        made = self._make()
        if not self._closed:
            self.tool = made
        return made


class _Seat(NamedTuple):
    """One instance of the tools: what it computes with, and the crops that it has encoded."""

    matcher: _Worker
    segmenter: _Worker
    encodings: Encodings

    async def ask(self, worker: _Worker, job: Callable[..., T], *args: Any) -> T:
        """What `job` gives for a tool of the seat; where memory ran out, what is idle there is let go."""
        try:
            return await worker.run(job, *args)
        except MemoryExhausted:
            self.encodings.forget_idle()
            raise

    @property
    def workers(self) -> tuple[_Worker, ...]:
        return (self.segmenter,) if self.matcher is self.segmenter else (self.matcher, self.segmenter)


class _Handle(NamedTuple):
    encoded: Any
    seat: _Seat


class LocalToolbox:
    """A Toolbox over one or more instances of the same local tools.

    Args:
        engine: label of the results.
        seats: how each instance is built.
        defaults: constants of the method that these tools replace.
        fixed: constants of the method that they were built with; an Agent that works with others is refused.
        max_encoded: encoded crops alive per seat; further ones wait.
        place: which seat a crop goes to: always the same for an "image", so that what an instance derives from
            the whole scene is found again, or the one with the least to do ("load").
        identity: crops with the same one share an encoding.
        keep: whether an encoding outlives its last user, for the next query on the same crop.
        working_side: as `Toolbox` says.
        tile_side: as `Toolbox` says.
    """

    def __init__(
        self,
        engine: str,
        seats: Sequence[Makers],
        *,
        defaults: Mapping[str, Any],
        fixed: Mapping[str, Any] = MappingProxyType({}),
        max_encoded: int = 2,
        place: Literal["image", "load"] = "image",
        identity: Callable[[Crop], Hashable] = lambda crop: crop,
        keep: bool = False,
        working_side: int | None = None,
        tile_side: int | None = None,
    ) -> None:
        self.engine = engine
        self.tile_side = tile_side
        self.working_side = working_side
        self.defaults = defaults
        self.fixed = fixed
        self._place = place
        self._identity = identity
        self._seats = [_seat(i, makers, Encodings(max_encoded, keep=keep)) for i, makers in enumerate(seats)]
        self._warming: asyncio.Task[None] | None = None

    @property
    def weights(self) -> dict[str, str]:
        """sha256 of each weight file in use, by name; empty until the models are loaded."""
        tools = [worker.tool for seat in self._seats for worker in seat.workers]
        return {name: digest for tool in tools for name, digest in getattr(tool, "weights", {}).items()}

    async def warm_up(self) -> None:
        """Build every instance that is not there yet, each on its lane; those who ask meanwhile wait for it.

        Raises:
            ToolError: an instance cannot be built; the next call tries again.
        """
        if all(worker.tool is not None for seat in self._seats for worker in seat.workers):
            return
        if self._warming is None:
            self._warming = asyncio.create_task(self._build(), context=apart())
        await asyncio.shield(self._warming)

    async def _build(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for seat in self._seats:
                    for worker in seat.workers:
                        group.create_task(worker.run(lambda _: None))
        finally:
            self._warming = None

    async def each(self, job: Callable[[Any], T]) -> list[T]:
        """What `job` gives for every instance, each on its own lane; for the doctor."""
        return [await worker.run(job) for seat in self._seats for worker in seat.workers]

    @asynccontextmanager
    async def encode(self, crop: Crop) -> AsyncIterator[_Handle]:
        """As `Toolbox.encode`."""
        key = self._identity(crop)
        seat = next((seat for seat in self._seats if key in seat.encodings), None)
        seat = seat or self._free(crop, lambda one: one.encodings.wanted)
        async with seat.encodings.of(key, partial(seat.ask, seat.segmenter, _encode, crop)) as encoded:
            yield _Handle(encoded, seat)

    async def similarity(self, crop: Crop, phrase: str) -> Heat:
        """As `Toolbox.similarity`."""
        seat = self._free(crop, lambda one: one.matcher.jobs)
        heat: Heat = await seat.ask(seat.matcher, _similarity, crop, phrase)
        return heat

    async def from_points(
        self, handle: _Handle, points: Points, positive: NDArray[np.bool_], earlier: Mask | None = None
    ) -> Masks:
        """As `Toolbox.from_points`."""
        encoded, seat = handle
        more = () if earlier is None else (earlier,)
        masks: Masks = await seat.ask(seat.segmenter, _from_points, encoded, points, positive, *more)
        return masks

    async def from_text(self, handle: _Handle, phrase: str) -> Masks:
        """As `Toolbox.from_text`."""
        encoded, seat = handle
        masks: Masks = await seat.ask(seat.segmenter, _from_text, encoded, phrase)
        return masks

    async def aclose(self) -> None:
        """As `Toolbox.aclose`."""
        for seat in self._seats:
            for worker in seat.workers:
                worker.close()
            seat.encodings.forget_idle()

    def _free(self, crop: Crop, load: Callable[[_Seat], int]) -> _Seat:
        if self._place == "image":
            return self._seats[int(crop.digest[:8], 16) % len(self._seats)]
        return min(self._seats, key=load)


def _seat(number: int, makers: Makers, encodings: Encodings) -> _Seat:
    segmenter = _Worker(f"segmenter-{number}", makers.segmenter)
    one: set[Callable[[], Any]] = {*makers}
    matcher = segmenter if len(one) == 1 else _Worker(f"matcher-{number}", makers.matcher)
    return _Seat(matcher, segmenter, encodings)


# What is asked of a tool, as functions and not as closures: see `Lane.run`.


def _encode(tool: Segmenter, crop: Crop) -> Any:
    return tool.encode(crop)


def _similarity(tool: Matcher, crop: Crop, phrase: str) -> Heat:
    return tool.similarity(crop, phrase)


def _from_points(tool: Segmenter, encoded: Any, *prompt: Any) -> Masks:
    return tool.from_points(encoded, *prompt)


def _from_text(tool: Segmenter, encoded: Any, phrase: str) -> Masks:
    return tool.from_text(encoded, phrase)
