"""A trace as grounder and tools: what was recorded answers what is asked."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from geoseg_agent.trace import codec
from geoseg_agent.trace.model import GroundStep, PointsStep, SimilarityStep, StabilityStep, TextStep
from geoseg_agent.trace.tape_steps import Call, Tape, decoded, stray

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from geoseg_agent.imagery import Image
    from geoseg_agent.segmentation import Segmentation
    from geoseg_agent.types import GroundingReply, Query
    from geoseg_tools.arrays import Heat, Mask, Points
    from geoseg_tools.crop import Crop
    from geoseg_tools.masks import Masks


class TapeGrounder:
    """A Grounder that answers from a tape."""

    whole_only = True

    def __init__(self, tape: Tape, engine: str) -> None:
        self.tape = tape
        self.engine = engine

    async def ground(self, image: Image, query: Query) -> GroundingReply:
        """As `Grounder.ground`.

        Raises:
            ReplayMismatch: the trace is of another image or query, or was asked already.
        """
        step = await self.tape.play(Call("ground", None, codec.ground_input(image, query)))
        return decoded(step, codec.decode_reply, step.output) if isinstance(step, GroundStep) else stray(step)

    async def aclose(self) -> None:
        """Nothing to release."""


class TapeToolbox:
    """A Toolbox that answers from a tape; it needs no pixels."""

    def __init__(self, tape: Tape, engine: str) -> None:
        self.tape = tape
        self.engine = engine
        # The constants in force then, so that a later change of a toolset's defaults breaks no old trace.
        self.defaults: Mapping[str, Any] = tape.trace.method
        self.weights: Mapping[str, str] = tape.trace.weights

    @asynccontextmanager
    async def encode(self, crop: Crop) -> AsyncIterator[Crop]:
        """As `Toolbox.encode`; the handle is the crop."""
        await self.tape.play(Call("encode", crop.target, codec.crop_input(crop)))
        yield crop

    async def similarity(self, crop: Crop, phrase: str) -> Heat:
        """As `Toolbox.similarity`."""
        step = await self.tape.play(Call("similarity", crop.target, codec.phrase_input(crop, phrase)))
        return decoded(step, codec.decode_heat, step.output) if isinstance(step, SimilarityStep) else stray(step)

    async def from_points(
        self, handle: Crop, points: Points, positive: NDArray[np.bool_], earlier: Mask | None = None
    ) -> Masks:
        """As `Toolbox.from_points`."""
        asked = codec.points_input(handle, points, positive, earlier)
        step = await self.tape.play(Call("points", handle.target, asked))
        return decoded(step, codec.decode_masks, step.output) if isinstance(step, PointsStep) else stray(step)

    async def from_text(self, handle: Crop, phrase: str) -> Masks:
        """As `Toolbox.from_text`."""
        step = await self.tape.play(Call("text", handle.target, codec.phrase_input(handle, phrase)))
        return decoded(step, codec.decode_masks, step.output) if isinstance(step, TextStep) else stray(step)

    async def aclose(self) -> None:
        """Nothing to release."""


class TapeSteadiness:
    """A Steadiness that answers from a tape; it runs nothing again."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape

    async def agreements(self, answer: Segmentation, runs: int) -> tuple[float, ...]:
        """As `Steadiness.agreements`."""
        step = await self.tape.play(Call("stability", None, codec.stability_input(answer.image, runs)))
        if not isinstance(step, StabilityStep):
            stray(step)
        return decoded(step, lambda record: codec.decode_agreements(record, runs), step.output)
