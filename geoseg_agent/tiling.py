"""A Toolbox that looks at a large region in overlapping tiles, and answers for the whole of it.

    encode        nothing yet: a tile is encoded when something is asked of it, and let go after
    similarity    a grid of each tile -> one raw grid of the region
    from_text     the objects of each tile -> objects of the region, one each
    from_points   the tile of each point -> those that its answer reaches over to -> one mask

It stands inside the recording: a trace holds one encoding, one grid and one answer of a route, whatever the number of
tiles, and replay knows nothing of them. It stands outside of the guard, so that nodata is taken out tile by tile.
"""

from __future__ import annotations

from asyncio import Semaphore, TaskGroup
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from geoseg_agent.errors import first_error
from geoseg_agent.lanes import Lane
from geoseg_agent.logs import log
from geoseg_agent.tiles.grid import is_tiled, tiles_of
from geoseg_agent.tiles.heat import merged_heat
from geoseg_agent.tiles.objects import found_in, merged_objects
from geoseg_agent.tiles.reach import Reach
from geoseg_agent.tiles.visits import Visits
from geoseg_tools.crop import Crop
from geoseg_tools.masks import Masks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from geoseg_agent.guard import GuardedToolbox
    from geoseg_agent.tiles.grid import Tile
    from geoseg_agent.tiles.reach import Prompt
    from geoseg_tools.arrays import Heat, Mask, Points

MARGIN = 8
"""A tile's side over its margin, where a toolset says nothing of it."""


class _Handle(NamedTuple):
    """A region that is tiled."""

    crop: Crop
    tiles: tuple[Tile, ...]
    visits: Visits


class _Whole(NamedTuple):
    """A region that is not."""

    inner: Any


class TiledToolbox:
    """A Toolbox for regions of any size, over one whose tools see a limited number of pixels.

    A region that is at most half as long again as a tile is handed on as it is.

    Args:
        inner: sees the tiles.
        side: of a tile, pixels.
        margin: a pixel is answered for by a tile in which it lies more than this many pixels from a cut; an eighth
            of the side where None.
        origin: x, y in absolute pixels where a tile's middle part begins.
        most: encoded tiles of one region alive at once.
    """

    def __init__(
        self,
        inner: GuardedToolbox,
        side: int,
        margin: int | None = None,
        *,
        origin: tuple[int, int] = (0, 0),
        most: int = 2,
    ) -> None:
        self.inner = inner
        self.engine = inner.engine
        self.defaults = inner.defaults
        self.working_side = inner.working_side
        self.side = side
        self.margin = side // MARGIN if margin is None else margin
        self._origin = origin
        self._most = most
        self._lane = Lane("tiles")

    @property
    def weights(self) -> Mapping[str, str]:
        """As `Toolbox.weights`."""
        return self.inner.weights

    @asynccontextmanager
    async def encode(self, crop: Crop) -> AsyncIterator[_Handle | _Whole]:
        """As `Toolbox.encode`; of a region in tiles none is encoded yet."""
        if not is_tiled(crop.size, self.side):
            async with self.inner.encode(crop) as handle:
                yield _Whole(handle)
            return
        tiles = self._tiles(crop)
        log.info("tiled", target=crop.target, tiles=len(tiles), side=self.side, region=list(crop.roi))
        visits = Visits(self.inner, [_cut(crop, tile) for tile in tiles], self._most)
        try:
            yield _Handle(crop, tiles, visits)
        finally:
            await visits.aclose()

    async def similarity(self, crop: Crop, phrase: str) -> Heat:
        """As `Toolbox.similarity`: one raw grid over the region."""
        if not is_tiled(crop.size, self.side):
            return await self.inner.similarity(crop, phrase)
        tiles, turn = self._tiles(crop), Semaphore(self._most)

        async def of(tile: Tile) -> Heat | None:
            async with turn:
                piece = _cut(crop, tile)
                return await self.inner.similarity(piece, phrase) if await self._lane.run(_seen, piece) else None

        with first_error():
            async with TaskGroup() as group:
                tasks = [group.create_task(of(tile)) for tile in tiles]
        heats = [task.result() for task in tasks]
        return await self._lane.run(merged_heat, crop.roi, tiles, heats, self.margin)

    async def from_points(
        self,
        handle: _Handle | _Whole,
        points: Points,
        positive: NDArray[np.bool_],
        earlier: Mask | None = None,
    ) -> Masks:
        """As `Toolbox.from_points`: one mask, or the objects that the tools tell apart."""
        if isinstance(handle, _Whole):
            more = () if earlier is None else (earlier,)
            return await self.inner.from_points(handle.inner, points, positive, *more)
        reach = Reach(handle.crop.roi, handle.tiles, self.margin, earlier)
        asked = reach.first(points, positive)
        while asked:
            answers = await self._pointed(handle, reach, asked)
            asked = await self._lane.run(reach.further, answers)
        return await self._lane.run(reach.merged)

    async def from_text(self, handle: _Handle | _Whole, phrase: str) -> Masks:
        """As `Toolbox.from_text`: the objects of the region."""
        if isinstance(handle, _Whole):
            return await self.inner.from_text(handle.inner, phrase)

        async def of(number: int) -> Masks | None:
            async def ask(encoded: Any) -> Masks:
                return await self.inner.from_text(encoded, phrase)

            return await self._asked(handle, number, ask)

        with first_error():
            async with TaskGroup() as group:
                tasks = [group.create_task(of(number)) for number in range(len(handle.tiles))]
        return await self._lane.run(self._joined, handle, [task.result() for task in tasks])

    async def aclose(self) -> None:
        """As `Toolbox.aclose`."""
        await self.inner.aclose()
        self._lane.close()

    async def warm_up(self) -> None:
        """As `GuardedToolbox.warm_up`."""
        await self.inner.warm_up()

    def _tiles(self, crop: Crop) -> tuple[Tile, ...]:
        return tiles_of(crop.roi, self.side, self.margin, self._origin)

    async def _pointed(self, handle: _Handle, reach: Reach, asked: Mapping[int, Prompt]) -> dict[int, Masks]:
        async def of(number: int, prompt: Prompt) -> Masks:
            base = reach.base(number)
            more = () if base is None else (base,)

            async def ask(encoded: Any) -> Masks:
                return await self.inner.from_points(encoded, *prompt, *more)

            answer = await self._asked(handle, number, ask)
            return Masks(handle.tiles[number].box.size) if answer is None else answer

        with first_error():
            async with TaskGroup() as group:
                tasks = {number: group.create_task(of(number, prompt)) for number, prompt in asked.items()}
        return {number: task.result() for number, task in tasks.items()}

    async def _asked(self, handle: _Handle, number: int, ask: Callable[[Any], Awaitable[Masks]]) -> Masks | None:
        """What a tile answers, or None where it holds nothing but nodata."""
        seen = await self._lane.run(_seen, _cut(handle.crop, handle.tiles[number]))
        return await handle.visits.ask(number, ask) if seen else None

    def _joined(self, handle: _Handle, answers: Sequence[Masks | None]) -> Masks:
        said = [(n, masks) for n, masks in enumerate(answers) if masks is not None]
        found = [one for n, masks in said for one in found_in(n, handle.tiles[n], masks)]
        objects = merged_objects(handle.crop.roi, handle.tiles, found, self.margin)
        scores = objects.scores if all(masks.scores is not None for _, masks in said) else None
        notes = tuple(dict.fromkeys(note for _, masks in said for note in masks.notes))
        return Masks(objects.size, objects.parts, scores, notes)


def tiled(tools: GuardedToolbox, side: int, most: int = 2) -> GuardedToolbox | TiledToolbox:
    """The tools, for regions of any size where they work on tiles.

    Args:
        tools: any.
        side: of the tiles in pixels, as the method has it; 0 for none.
        most: encoded tiles of one region alive at once.
    """
    if tools.tile_side is None or not side:
        return tools
    # A margin that was declared belongs to the declared side.
    margin = None if tools.tile_margin is None else tools.tile_margin * side // tools.tile_side
    return TiledToolbox(tools, side, margin, most=most)


def _cut(crop: Crop, tile: Tile) -> Crop:
    """The tile as a crop of its own; its box is what of the target's box lies in it."""
    return Crop(crop.scene, tile.box, crop.box.intersection(tile.box) or tile.box, crop.target)


def _seen(crop: Crop) -> bool:
    """Whether any pixel is valid. Reads a window of the scene: blocks where that is a file."""
    valid = crop.valid
    return valid is None or bool(valid.any())
