"""Encoded crops of one model instance: every crop once, and never more of them alive than allowed."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from geoseg_agent.lanes import apart, stood_in_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable


@dataclass(slots=True, eq=False)
class _Entry:
    """A crop that is encoded, is being encoded, or waits for a place to be."""

    making: asyncio.Task[Any]
    users: int = 0


class Encodings:
    """A bounded store: those who ask for the same crop share one encoding, the others wait for a place.

    An encoding that nobody uses any more keeps its place until another crop wants it.

    Args:
        most: how many may be alive at once, >= 1.
        keep: whether an encoding outlives its last user at all.
    """

    def __init__(self, most: int, *, keep: bool) -> None:
        self._places = asyncio.Semaphore(most)
        self._keep = keep
        self._waiting = 0
        self._entries: dict[Hashable, _Entry] = {}  # the one that was idle the longest comes first

    def __contains__(self, crop: Hashable) -> bool:
        return crop in self._entries

    @property
    def wanted(self) -> int:
        """How many crops somebody uses or waits for."""
        return sum(entry.users > 0 for entry in self._entries.values())

    @asynccontextmanager
    async def of(self, crop: Hashable, encode: Callable[[], Awaitable[Any]]) -> AsyncIterator[Any]:
        """The encoding of `crop`, made by `encode` unless there is one; alive at least as long as the block."""
        entry = self._entries.get(crop)
        shared = entry is not None
        if entry is None:
            entry = self._entries[crop] = _Entry(asyncio.create_task(self._make(encode), context=apart()))
        entry.users += 1
        began = perf_counter()
        try:
            try:
                # Shielded: who gives up must not take it away from those who wait for the same crop.
                encoded = await asyncio.shield(entry.making)
            finally:
                if shared or not entry.making.done():
                    stood_in_line(perf_counter() - began)
            yield encoded
        finally:
            entry.users -= 1
            self._left(crop, entry)

    async def _make(self, encode: Callable[[], Awaitable[Any]]) -> Any:
        self._waiting += 1
        try:
            if self._places.locked():
                self._drop_idle()
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            return await encode()
        except BaseException:
            self._places.release()
            raise

    def forget_idle(self) -> None:
        """Let go of what nobody uses, to give its memory back."""
        for crop in [crop for crop, entry in self._entries.items() if not entry.users and entry.making.done()]:
            self._drop(crop)

    def _left(self, crop: Hashable, entry: _Entry) -> None:
        made = entry.making
        broken = made.done() and (made.cancelled() or made.exception() is not None)
        if entry.users and not broken:
            return
        if broken or not made.done():
            made.cancel()  # nobody waits for it any more, or it will never be; its place was or will be given back
            if self._entries.get(crop) is entry:
                del self._entries[crop]
        elif self._keep and not self._waiting:
            self._entries[crop] = self._entries.pop(crop)
        else:
            self._drop(crop)

    def _drop_idle(self) -> None:
        idle = (crop for crop, entry in self._entries.items() if not entry.users and entry.making.done())
        found = next(idle, None)
        if found is not None:
            self._drop(found)

    def _drop(self, crop: Hashable) -> None:
        del self._entries[crop]
        self._places.release()
