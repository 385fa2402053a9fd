"""What comes out of a backend is checked here once, whoever wrote it; behind the guard it is trusted.

A crash becomes `ToolFailed`, so that a caller can catch it; shapes and numbers are checked; and no mask keeps a
pixel that the image marks as nodata.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from geoseg_agent.errors import (
    ConfigError,
    GeoSegError,
    InvalidReply,
    OutOfMemory,
    ToolFailed,
    WeightsMissing,
    first_error,
)
from geoseg_agent.lanes import Lane
from geoseg_tools.errors import DeviceError, MemoryExhausted, ModelError, ToolError, WeightsError
from geoseg_tools.geometry import Box, nearest, whole
from geoseg_tools.masks import Masks, Part, tight

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from geoseg_agent.correct import Reviewer
    from geoseg_agent.grounding.review import Review
    from geoseg_agent.imagery import Image
    from geoseg_agent.seams import Grounder, Toolbox
    from geoseg_agent.types import GroundingReply, Query, TargetMask
    from geoseg_tools.arrays import Heat, Mask, Points, Size
    from geoseg_tools.crop import Crop


WIDE = 1 << 22
"""Pixels of a region of an opened raster from which on its validity is read only where masks are."""

_NOTHING = Part(Box(0, 0, 1, 1), np.zeros((1, 1), dtype=np.bool_))


@contextmanager
def faults(of: str) -> Iterator[None]:
    """Map what the block, which is `of` a backend, raises to the error tree; the one place for tools."""
    try:
        yield
    except GeoSegError:
        raise
    except WeightsError as error:
        raise WeightsMissing(str(error), hint=error.hint) from error
    except (DeviceError, ModelError) as error:
        raise ConfigError(str(error), hint=error.hint) from error
    except MemoryExhausted as error:
        raise OutOfMemory(str(error), hint=error.hint) from error
    except ToolError as error:
        raise ToolFailed(f"{of} failed: {error}", hint=error.hint) from error
    except MemoryError as error:
        raise OutOfMemory(f"{of} ran out of memory", hint="use a smaller image or box, or fewer at a time") from error
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, without importing torch
            raise OutOfMemory(f"{of} ran out of device memory: {error}", hint="lower GEOSEG_MAX_ENCODED") from error
        raise ToolFailed(f"{of} failed: {type(error).__name__}: {error}") from error


class GuardedGrounder:
    """A Grounder whose targets lie inside the image and whose crashes are `ToolFailed`.

    Attributes:
        rounds: how often it may correct a result; 0 where it cannot.
    """

    def __init__(self, inner: Grounder) -> None:
        self.inner = inner
        self.engine = inner.engine
        self.rounds: int = getattr(inner, "rounds", 0)
        self.working_side: int | None = getattr(inner, "working_side", None)

    async def ground(self, image: Image, query: Query) -> GroundingReply:
        """As `Grounder.ground`.

        Raises:
            InvalidReply: a target's box reaches over the image.
        """
        with faults(f"grounder {self.engine}"):
            reply = await self.inner.ground(image, query)
        for number, target in enumerate(reply.targets, start=1):
            if not whole(image.size).contains(target.box):
                raise InvalidReply(
                    f"target {number}: box {tuple(target.box)} reaches over the image of "
                    f"{image.size[1]} x {image.size[0]} pixels"
                )
        return reply

    async def review(self, image: Image, query: Query, targets: Sequence[TargetMask]) -> Review:
        """As `Reviewer.review`, of a grounder that is one."""
        with faults(f"grounder {self.engine}"):
            return await cast("Reviewer", self.inner).review(image, query, targets)

    async def aclose(self) -> None:
        """As `Grounder.aclose`."""
        await self.inner.aclose()


class _Handle(NamedTuple):
    inner: Any
    crop: Crop


def declared(tools: Toolbox) -> Mapping[str, Any]:
    """The constants of the method that a toolset replaces, its `tile_side` among them where it has one."""
    side: int | None = getattr(tools, "tile_side", None)
    return tools.defaults if side is None else {**tools.defaults, "tile_side": side}


class GuardedToolbox:
    """A Toolbox whose masks fit the crop and spare nodata, and whose crashes are `ToolFailed`."""

    def __init__(self, inner: Toolbox) -> None:
        self.inner = inner
        self.engine = inner.engine
        self.tile_side: int | None = getattr(inner, "tile_side", None)
        self.tile_margin: int | None = getattr(inner, "tile_margin", None)
        self.defaults = declared(inner)
        self.fixed: Mapping[str, Any] = getattr(inner, "fixed", {})
        self.working_side: int | None = getattr(inner, "working_side", None)
        self._checking = Lane("check")

    @property
    def weights(self) -> Mapping[str, str]:
        """As `Toolbox.weights`."""
        return self.inner.weights

    async def warm_up(self) -> None:
        """Load what the tools need before anything is paid; nothing where they have nothing to load.

        Raises:
            ConfigError: a device, a model or its weights are not there.
            ToolFailed: they are, and it failed all the same.
        """
        warm_up = getattr(self.inner, "warm_up", None)
        if warm_up is not None:
            with faults("loading the models"), first_error():
                await warm_up()

    @asynccontextmanager
    async def encode(self, crop: Crop) -> AsyncIterator[_Handle]:
        """As `Toolbox.encode`."""
        entered = self.inner.encode(crop)
        with faults("encode"):
            handle = await entered.__aenter__()
        try:
            yield _Handle(handle, crop)
        finally:
            with faults("encode"):
                await entered.__aexit__(None, None, None)

    async def similarity(self, crop: Crop, phrase: str) -> Heat:
        """As `Toolbox.similarity`; a finite two-dimensional float32 grid."""
        with faults("similarity"):
            heat = np.asarray(await self.inner.similarity(crop, phrase))
        if heat.ndim != 2 or heat.size == 0 or not np.isfinite(heat).all():
            raise ToolFailed(f"similarity gave {heat.dtype} of shape {heat.shape}, not a finite (gh, gw) grid")
        return heat.astype(np.float32, copy=False)

    async def from_points(
        self, handle: _Handle, points: Points, positive: NDArray[np.bool_], earlier: Mask | None = None
    ) -> Masks:
        """As `Toolbox.from_points`; tools that know of no earlier mask work as long as there is none."""
        more = () if earlier is None else (earlier,)
        with faults("points"):
            return await self._checked(
                await self.inner.from_points(handle.inner, points, positive, *more), handle.crop
            )

    async def from_text(self, handle: _Handle, phrase: str) -> Masks:
        """As `Toolbox.from_text`."""
        with faults("text"):
            return await self._checked(await self.inner.from_text(handle.inner, phrase), handle.crop)

    async def aclose(self) -> None:
        """As `Toolbox.aclose`."""
        self._checking.close()
        await self.inner.aclose()

    async def _checked(self, masks: Masks, crop: Crop) -> Masks:
        if crop.scene.opened and crop.scene.has_pixels:  # its validity may have to be decoded first
            return await self._checking.run(_checked, masks, crop)
        return _checked(masks, crop)


def _checked(masks: Masks, crop: Crop) -> Masks:
    """The masks without nodata pixels, at the resolution of the crop where there are any; none that is nodata only.

    Raises:
        ToolError: they are no masks.
    """
    if not isinstance(masks, Masks):
        raise ToolError(f"a route gave {type(masks).__name__}, not Masks")
    if not len(masks):
        return masks
    reaches = [_reach(part.box, masks.size, crop.size) for part in masks.parts]
    if crop.scene.opened and crop.roi.area > WIDE and 2 * sum(box.area for box in reaches if box) <= crop.roi.area:
        # What a mask does not reach need not be decoded.
        valid = [None if box is None else crop.scene.seen(box.offset(crop.roi)) for box in reaches]
        if all(seen is None or seen.all() for seen in valid):
            return masks
    else:
        whole_valid = crop.valid
        if whole_valid is None or whole_valid.all():
            return masks
        valid = [None if box is None else whole_valid[box.slices] for box in reaches]
    parts = [
        _sharp(part, masks.size, crop.size, box, seen)
        for part, box, seen in zip(masks.parts, reaches, valid, strict=True)
    ]
    left = np.array([part.pixels.any() for part in parts])
    scores = None if masks.scores is None else masks.scores[left]
    return Masks(crop.size, tuple(part for part, some in zip(parts, left, strict=True) if some), scores, masks.notes)


def _reach(box: Box, frame: Size, size: Size) -> Box | None:
    """A box of a frame, in one of `size` that shows the same: where its pixels come to lie, None for nowhere."""
    if frame == size:
        return box
    y1, y2 = np.searchsorted(nearest(size[0], frame[0]), (box.y1, box.y2)).tolist()
    x1, x2 = np.searchsorted(nearest(size[1], frame[1]), (box.x1, box.x2)).tolist()
    return Box(x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def _sharp(part: Part, frame: Size, size: Size, box: Box | None, valid: Mask | None) -> Part:
    """A part of masks of `frame` in one of `size`, where it lies in `box`, without what is not valid there."""
    if box is None:
        return _NOTHING
    if frame == size:
        return part if valid is None else Part(box, part.pixels & valid)
    rows = nearest(size[0], frame[0])[box.y1 : box.y2] - part.box.y1
    cols = nearest(size[1], frame[1])[box.x1 : box.x2] - part.box.x1
    pixels = part.pixels[np.ix_(rows, cols)]
    inside = tight(pixels if valid is None else pixels & valid)
    return Part(inside.box.offset(box), inside.pixels)
