"""What runs on a Ray cluster: one set of backends in a process of its own, and what it tells the one that asks."""

from __future__ import annotations

import pickle
from typing import Any

from geoseg_agent.batch.engines import LocalEngine
from geoseg_agent.errors import GeoSegError
from geoseg_agent.trace.codec import decode_error, encode_error
from geoseg_agent.trace.model import ErrorRecord


class Worker:
    """What runs in a process of its own, somewhere.

    Ray keeps what a worker is made with, and shows it to who may look at the cluster; the settings, and the key in
    them, come with the first call, which goes from process to process.
    """

    async def here(self) -> None:
        """Nothing; that it answers says that it has a place."""

    async def start(self, settings: bytes, at_once: int) -> dict[str, Any] | None:
        """Load the models, once; what went wrong, if anything.

        Args:
            settings: of the batch, pickled.
            at_once: items at a time.
        """
        self._engine = LocalEngine(pickle.loads(settings), at_once)  # noqa: S301 - what our own driver sent
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


def _told(error: GeoSegError) -> dict[str, Any]:
    return encode_error(error).model_dump()


def as_error(said: dict[str, Any]) -> GeoSegError:
    """The error that a worker told of instead of an answer."""
    return decode_error(ErrorRecord(**said))
