"""Local tools behind the asynchronous seam: every call runs on the lane of the instance it belongs to."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from geoseg_agent.lanes import Lane
from geoseg_tools.protocols import Matcher, Segmenter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from geoseg_tools.arrays import Heat, Points
    from geoseg_tools.crop import Crop
    from geoseg_tools.protocols import Masks


class LocalTools(Matcher, Segmenter, Protocol):
    """One instance that does both: the classical tools."""


class _Seat(NamedTuple):
    """An instance, its thread, and how many encoded crops it may hold."""

    tools: LocalTools
    lane: Lane
    places: asyncio.Semaphore


class _Handle(NamedTuple):
    encoded: Any
    seat: _Seat


class LocalToolbox:
    """A Toolbox over one or more instances of the same local tools.

    All work on one image goes to one instance, so that what an instance derives from the whole scene is found
    again. At most `max_encoded` encoded crops are alive per lane; further ones wait.

    Args:
        engine: label of the results.
        make: builds an instance; called once per lane.
        defaults: constants of the method that these tools replace.
        lanes: how many instances.
        max_encoded: encoded crops alive per lane.
        weights: sha256 of the weight files in use.
    """

    def __init__(
        self,
        engine: str,
        make: Callable[[], LocalTools],
        *,
        defaults: Mapping[str, Any],
        lanes: int = 1,
        max_encoded: int = 2,
        weights: Mapping[str, str] | None = None,
    ) -> None:
        self.engine = engine
        self.defaults = defaults
        self.weights = weights or {}
        self._seats = [_Seat(make(), Lane(f"tools-{i}"), asyncio.Semaphore(max_encoded)) for i in range(lanes)]

    def _seat(self, crop: Crop) -> _Seat:
        return self._seats[int(crop.digest[:8], 16) % len(self._seats)]

    @asynccontextmanager
    async def encode(self, crop: Crop) -> AsyncIterator[_Handle]:
        """As `Toolbox.encode`."""
        seat = self._seat(crop)
        async with seat.places:
            yield _Handle(await seat.lane.run(seat.tools.encode, crop), seat)

    async def similarity(self, crop: Crop, phrase: str) -> Heat:
        """As `Toolbox.similarity`."""
        seat = self._seat(crop)
        return await seat.lane.run(seat.tools.similarity, crop, phrase)

    async def from_points(self, handle: _Handle, points: Points, positive: NDArray[np.bool_]) -> Masks:
        """As `Toolbox.from_points`."""
        return await handle.seat.lane.run(handle.seat.tools.from_points, handle.encoded, points, positive)

    async def from_text(self, handle: _Handle, phrase: str) -> Masks:
        """As `Toolbox.from_text`."""
        return await handle.seat.lane.run(handle.seat.tools.from_text, handle.encoded, phrase)

    async def aclose(self) -> None:
        """As `Toolbox.aclose`."""
        for seat in self._seats:
            seat.lane.close()
