"""A trace as a multimodal model: the other side of the seams of `geoseg_agent.grounding.chat`.

Asking, reading, re-asking, merging samples and reviewing run for real; only what came from outside is the tape's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from geoseg_agent.errors import ReplayMismatch
from geoseg_agent.trace import codec, codec_chat
from geoseg_agent.trace.model import CacheStep, ChatStep, EndpointStep, SearchStep, SentStep
from geoseg_agent.trace.record_chat import (
    RecordingCache,
    RecordingEndpoint,
    RecordingPictures,
    RecordingPlanner,
)
from geoseg_agent.trace.tape_steps import Call, decoded, stray
from geoseg_agent.trace.tape_tools import TapeGrounder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.grounding.chat import ChatReply, ChatRequest, Dialect, Fit, SentImage, Terms
    from geoseg_agent.grounding.search.plan import Plan
    from geoseg_agent.imagery import Image
    from geoseg_agent.seams import Grounder
    from geoseg_agent.settings import Settings
    from geoseg_agent.trace.model import Trace
    from geoseg_agent.trace.tape_steps import Tape
    from geoseg_agent.types import GroundingReply, Query, TargetMask
    from geoseg_tools.geometry import Box


class TapeEndpoint:
    """An Endpoint that answers from a tape; it connects to nothing."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        asked = next((step.input for step in tape.trace.steps if isinstance(step, EndpointStep)), None)
        settings = tape.trace.settings
        self.address: str = str(settings.get("base_url")) if asked is None else asked.address
        self.model: str | None = settings.get("model") if asked is None else asked.model

    async def terms(self) -> Terms:
        """As `Endpoint.terms`."""
        step = await self.tape.play(Call("endpoint", None, codec_chat.endpoint_input(self)))
        return decoded(step, codec_chat.decode_terms, step.output) if isinstance(step, EndpointStep) else stray(step)

    async def complete(self, request: ChatRequest) -> ChatReply:
        """As `Endpoint.complete`; an attempt that failed fails again."""
        step = await self.tape.play(Call("chat", None, codec_chat.chat_input(request)))
        return decoded(step, codec_chat.decode_chat, step.output) if isinstance(step, ChatStep) else stray(step)

    def step_down(self, refused: Dialect) -> None:
        """Nothing to remember: the terms of every query come from its trace."""

    async def aclose(self) -> None:
        """Nothing to release."""


class TapePictures:
    """A Pictures that answers from a tape; it needs no pixels and makes none."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape

    async def view(
        self, image: Image, window: Box, fit: Fit, *, overlay: Sequence[TargetMask] | None = None
    ) -> SentImage:
        """As `Pictures.view`, but without data."""
        call = Call("sent", None, codec_chat.sent_input(image, window, fit, overlay))
        step = await self.tape.play(call)
        if not isinstance(step, SentStep):
            stray(step)
        return decoded(step, lambda record: codec_chat.decode_sent(record, window), step.output)

    async def aclose(self) -> None:
        """Nothing to release."""


class TapePlanner:
    """A Planner that answers from a tape; it looks at nothing."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape

    async def plan(self, image: Image, query: Query) -> Plan:
        """As `Planner.plan`."""
        step = await self.tape.play(Call("search", None, codec_chat.search_input(image, query)))
        if not isinstance(step, SearchStep):
            stray(step)
        return decoded(step, lambda record: codec_chat.decode_plan(record, image.size), step.output)

    async def aclose(self) -> None:
        """Nothing to release."""


class TapeCache:
    """A Cache that answers from a tape, misses included, and keeps nothing."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape

    async def get(self, key: str) -> GroundingReply | None:
        """As `Cache.get`."""
        step = await self.tape.play(Call("cache", None, codec_chat.cache_input(key)))
        if not isinstance(step, CacheStep):
            stray(step)
        return None if step.output is None else decoded(step, codec.decode_reply, step.output)

    async def put(self, key: str, reply: GroundingReply) -> None:
        """Nothing to keep."""

    async def aclose(self) -> None:
        """Nothing to release."""


def replayed_grounder(tape: Tape, trace: Trace, settings: Settings) -> Grounder:
    """The grounder of a trace: one that speaks to the tape as it spoke to its model, or that simply answers.

    What crosses the seams is recorded once more, so that a query that is answered with it leaves a trace of its own.

    Args:
        tape: of the trace.
        trace: with a prompt where a multimodal model was asked.
        settings: of the trace.

    Raises:
        ReplayMismatch: the prompt is not, or not any more, the one that the trace was made with.
    """
    if trace.prompt is None:
        return TapeGrounder(tape, trace.engine.partition("+")[0])
    from geoseg_agent.grounding.mllm import Asking, MllmGrounder  # noqa: PLC0415 - only where a model was asked
    from geoseg_agent.grounding.search.grounder import SearchGrounder  # noqa: PLC0415 - as above

    cached = settings.cache is not None or any(isinstance(step, CacheStep) for step in trace.steps)
    try:
        asking = Asking.of(settings, (trace.prompt.name, trace.prompt.version))
    except LookupError as error:
        raise ReplayMismatch(f"prompt: {error}", hint="replay with the version that wrote the trace") from error
    if asking.prompt.sha256 != trace.prompt.sha256:
        raise ReplayMismatch(
            f"prompt.sha256 is {trace.prompt.sha256!r} in the trace and {asking.prompt.sha256!r} in this version"
        )
    grounder = MllmGrounder(
        RecordingEndpoint(TapeEndpoint(tape)),
        RecordingPictures(TapePictures(tape)),
        RecordingCache(TapeCache(tape)) if cached else None,
        asking,
        sleep=no_wait,
    )
    if any(isinstance(step, SearchStep) for step in trace.steps):
        return SearchGrounder(grounder, RecordingPlanner(TapePlanner(tape)), settings.max_targets)
    grounder.whole_only = True
    return grounder


async def no_wait(_: float) -> None:
    """Let the others run once: a replay does not repeat the pauses between requests."""
    await asyncio.sleep(0)
