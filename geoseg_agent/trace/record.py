"""Recording: proxies on the seams, which feed the recorder of the query they serve.

The controller passes no trace around. A proxy that is called outside of a query, or in one whose traces are off,
only passes the call on.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from geoseg_agent.lanes import timed
from geoseg_agent.trace import codec
from geoseg_agent.trace.recorder import Ended, Header, Recorder, current_recorder, recording

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from geoseg_agent.imagery import Image
    from geoseg_agent.seams import Grounder, Steadiness, Toolbox
    from geoseg_agent.segmentation import Segmentation
    from geoseg_agent.trace.model import Input, Output, Seam
    from geoseg_agent.types import GroundingReply, Query
    from geoseg_tools.arrays import Heat, Mask, Points
    from geoseg_tools.crop import Crop
    from geoseg_tools.masks import Masks

__all__ = [
    "Header",
    "Recorder",
    "RecordingGrounder",
    "RecordingSteadiness",
    "RecordingToolbox",
    "current_recorder",
    "recorded",
    "recording",
]

T = TypeVar("T")


async def recorded(
    seam: Seam,
    target: int | None,
    asked: Callable[[], Input],
    call: Awaitable[T],
    encode: Callable[[T], Output | None],
    *,
    paid: bool = False,
) -> T:
    """Await the call and keep it as a step of the current recorder.

    An answer that was `paid` for is on the disk before it is returned.
    """
    recorder = current_recorder.get()
    if recorder is None or not recorder.keeps:
        return await call
    began = perf_counter()

    async def keep(output: Callable[[], Output | None], error: BaseException | None = None) -> None:
        spent = perf_counter() - began
        # A call that ended on its lane has worked as long as the lane says; another only waited as long as is known.
        waited = max(spent - timing.took, 0.0) if timing.took else min(timing.waited, spent)
        ended = Ended(seam, target, asked, output, round(waited, 6), round(spent - waited, 6), error)
        await recorder.step(ended, paid=paid and error is None)

    with timed() as timing:
        try:
            answer = await call
        except BaseException as error:
            await keep(lambda: None, error)
            raise
        await keep(lambda: encode(answer))
        return answer


class RecordingGrounder:
    """A Grounder that leaves a "ground" step in the trace of the query it serves."""

    def __init__(self, inner: Grounder) -> None:
        self.inner = inner
        self.engine = inner.engine

    async def ground(self, image: Image, query: Query) -> GroundingReply:
        """As `Grounder.ground`."""
        return await recorded(
            "ground",
            None,
            lambda: codec.ground_input(image, query),
            self.inner.ground(image, query),
            codec.encode_reply,
        )

    async def aclose(self) -> None:
        """As `Grounder.aclose`."""
        await self.inner.aclose()


class _Handle(NamedTuple):
    inner: Any
    crop: Crop


class RecordingToolbox:
    """A Toolbox that leaves "encode", "similarity", "points" and "text" steps in the trace of the query it serves."""

    def __init__(self, inner: Toolbox) -> None:
        self.inner = inner
        self.engine = inner.engine
        self.defaults = inner.defaults

    @property
    def weights(self) -> Mapping[str, str]:
        """As `Toolbox.weights`."""
        return self.inner.weights

    @asynccontextmanager
    async def encode(self, crop: Crop) -> AsyncIterator[_Handle]:
        """As `Toolbox.encode`."""
        async with AsyncExitStack() as stack:
            entered = stack.enter_async_context(self.inner.encode(crop))
            handle = await recorded("encode", crop.target, lambda: codec.crop_input(crop), entered, lambda _: None)
            yield _Handle(handle, crop)

    async def similarity(self, crop: Crop, phrase: str) -> Heat:
        """As `Toolbox.similarity`."""
        return await recorded(
            "similarity",
            crop.target,
            lambda: codec.phrase_input(crop, phrase),
            self.inner.similarity(crop, phrase),
            codec.encode_heat,
        )

    async def from_points(
        self, handle: _Handle, points: Points, positive: NDArray[np.bool_], earlier: Mask | None = None
    ) -> Masks:
        """As `Toolbox.from_points`."""
        prompt = (points, positive) if earlier is None else (points, positive, earlier)
        return await recorded(
            "points",
            handle.crop.target,
            lambda: codec.points_input(handle.crop, *prompt),
            self.inner.from_points(handle.inner, *prompt),
            codec.encode_masks,
        )

    async def from_text(self, handle: _Handle, phrase: str) -> Masks:
        """As `Toolbox.from_text`."""
        return await recorded(
            "text",
            handle.crop.target,
            lambda: codec.phrase_input(handle.crop, phrase),
            self.inner.from_text(handle.inner, phrase),
            codec.encode_masks,
        )

    async def aclose(self) -> None:
        """As `Toolbox.aclose`."""
        await self.inner.aclose()


class RecordingSteadiness:
    """A Steadiness that leaves a "stability" step in the trace of the query it serves."""

    def __init__(self, inner: Steadiness) -> None:
        self.inner = inner

    async def agreements(self, answer: Segmentation, runs: int) -> tuple[float, ...]:
        """As `Steadiness.agreements`."""
        return await recorded(
            "stability",
            None,
            lambda: codec.stability_input(answer.image, runs),
            self.inner.agreements(answer, runs),
            codec.encode_agreements,
        )
