"""A toolbox that remembers: what a trace holds is answered from it, the rest by live tools, each call once.

What identifies a call is what identifies it in a trace (`geoseg_agent.trace.codec`): image digest and size, region,
box, and phrase or points. The number of a target is a label and no part of it. Answers are remembered as they leave
the guard, as recorded ones were, so both kinds pass for each other.

Encoding is put off: `encode` promises a handle, and the live tools encode the crop with the first call that the
memory cannot answer. The promise may be given several times over; a handle lives until the outermost block ends. So
who holds `encode(crop)` around everything that is asked of a crop pays for one encoding at the most, and never holds
two at once: live tools bound how many may be alive, and a pair that kept all of its crops encoded would wait for
itself.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from geoseg_agent.errors import ConfigError, ReplayMismatch
from geoseg_agent.guard import GuardedToolbox
from geoseg_agent.tiling import tiled
from geoseg_agent.trace import codec
from geoseg_agent.trace.model import PhraseInput, PointsInput, PointsStep, SimilarityStep, TextStep
from geoseg_agent.trace.tape_steps import Call, Tape, decoded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from geoseg_agent.seams import Toolbox
    from geoseg_agent.tiling import TiledToolbox
    from geoseg_agent.trace.model import Seam, Trace
    from geoseg_tools.arrays import Heat, Mask, Points
    from geoseg_tools.crop import Crop
    from geoseg_tools.masks import Masks

    _Live = GuardedToolbox | TiledToolbox

T = TypeVar("T")
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Calls:
    """How often live tools were called, and how often memory answered in their place (`hits`)."""

    encode: int = 0
    similarity: int = 0
    points: int = 0
    text: int = 0
    hits: int = 0

    def __add__(self, other: Calls) -> Calls:
        return Calls(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __sub__(self, other: Calls) -> Calls:
        return Calls(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))

    @property
    def live(self) -> int:
        """Calls of live tools, of every kind."""
        return self.encode + self.similarity + self.points + self.text


@dataclass(slots=True, eq=False)
class _Promise:
    """A crop that somebody may want encoded."""

    users: int = 0
    made: bool = False
    handle: Any = None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class MemoToolbox:
    """A Toolbox over the steps of one trace, and live tools for what they do not answer.

    Args:
        trace: of one query.
        live: the tools that the trace was made with; None where nothing may run. They are the caller's to close.
        text: whether recorded answers to phrases count; False where the live tools were built to answer otherwise.

    Raises:
        ConfigError: the live tools are not those of the trace.

    Attributes:
        calls: what was called so far.
    """

    def __init__(self, trace: Trace, live: Toolbox | None = None, *, text: bool = True) -> None:
        if live is not None and trace.engine != live.engine and not trace.engine.endswith(f"+{live.engine}"):
            raise ConfigError(
                f"the trace {trace.id} was made by {trace.engine}, the live tools are {live.engine}: their answers "
                "cannot be mixed",
                hint="build the tools from the settings in the trace",
            )
        self.engine = trace.engine if live is None else live.engine
        self.defaults: Mapping[str, Any] = trace.method
        self.weights: Mapping[str, str] = trace.weights
        self.calls = Calls()
        self._trace = trace
        side = trace.method.get("tile_side", 0)
        self._live = None if live is None else tiled(GuardedToolbox(live), side)
        self._steps = {
            _key(step.seam, step.input): step
            for step in trace.steps
            if isinstance(step, SimilarityStep | PointsStep | TextStep) and step.error is None
            if text or not isinstance(step, TextStep)
        }
        self._answers: dict[_Key, Any] = {}
        self._promises: dict[Crop, _Promise] = {}

    @asynccontextmanager
    async def encode(self, crop: Crop) -> AsyncIterator[Crop]:
        """As `Toolbox.encode`, once it is needed; the handle is the crop. Blocks of one crop may be nested."""
        promise = self._promises.setdefault(crop, _Promise())
        promise.users += 1
        try:
            yield crop
        finally:
            promise.users -= 1
            if not promise.users:
                del self._promises[crop]
                await promise.stack.aclose()

    async def similarity(self, crop: Crop, phrase: str) -> Heat:
        """As `Toolbox.similarity`.

        Raises:
            ReplayMismatch: the trace does not hold it, and there are no live tools.
            ToolFailed: the live tools crashed.
        """
        return await self._answer(
            "similarity",
            crop,
            codec.phrase_input(crop, phrase),
            lambda step: decoded(step, codec.decode_heat, step.output),
            lambda live: live.similarity(crop, phrase),
        )

    async def from_points(
        self, handle: Crop, points: Points, positive: NDArray[np.bool_], earlier: Mask | None = None
    ) -> Masks:
        """As `Toolbox.from_points`; raises as `similarity`."""
        prompt = (points, positive) if earlier is None else (points, positive, earlier)
        asked = codec.points_input(handle, *prompt)

        async def run(live: _Live) -> Masks:
            return await live.from_points(await self._encoded(live, handle), *prompt)

        return await self._answer("points", handle, asked, _masks, run)

    async def from_text(self, handle: Crop, phrase: str) -> Masks:
        """As `Toolbox.from_text`; raises as `similarity`."""
        asked = codec.phrase_input(handle, phrase)

        async def run(live: _Live) -> Masks:
            return await live.from_text(await self._encoded(live, handle), phrase)

        return await self._answer("text", handle, asked, _masks, run)

    async def aclose(self) -> None:
        """Nothing to release: the live tools are the caller's."""

    async def _answer(
        self,
        seam: Seam,
        crop: Crop,
        asked: PhraseInput | PointsInput,
        recall: Callable[[Any], T],
        run: Callable[[_Live], Awaitable[T]],
    ) -> T:
        key = _key(seam, asked)
        if key not in self._answers and key in self._steps:
            self._answers[key] = recall(self._steps[key])
        if key in self._answers:
            self.calls += Calls(hits=1)
            kept: T = self._answers[key]
            return kept
        if self._live is None:
            call = Call(seam, crop.target, asked)
            raise ReplayMismatch(
                f"{call.name}, in the region {tuple(crop.roi)}, was not recorded and there are no live tools to run "
                f"it: {Tape(self._trace).mismatch(call).message}",
                hint="give the image and the tools that the trace was made with",
            )
        await self._ready(self._live)
        self.calls += Calls(**{seam: 1})
        answer = self._answers[key] = await run(self._live)
        return answer

    async def _ready(self, live: _Live) -> None:
        await live.warm_up()
        if dict(live.weights) != dict(self._trace.weights):
            raise ConfigError(
                f"the trace {self._trace.id} was made with the weights {dict(self._trace.weights)}, the live tools "
                f"have {dict(live.weights)}: their answers cannot be mixed",
                hint="give the weight files of the recorded run",
            )

    async def _encoded(self, live: _Live, crop: Crop) -> Any:
        promise = self._promises[crop]
        async with promise.turn:
            if not promise.made:
                self.calls += Calls(encode=1)
                promise.handle = await promise.stack.enter_async_context(live.encode(crop))
                promise.made = True
        return promise.handle


def _key(seam: str, asked: PhraseInput | PointsInput) -> _Key:
    return seam, asked.model_dump_json()


def _masks(step: PointsStep | TextStep) -> Masks:
    return decoded(step, codec.decode_masks, step.output)
