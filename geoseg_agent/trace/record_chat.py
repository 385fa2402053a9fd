"""Recording what a query asks of a multimodal model: proxies on its seams, as in `geoseg_agent.trace.record`.

A reply has been paid for, so it is on the disk before anybody sees it: after a crash it is taken from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoseg_agent.trace import codec_chat
from geoseg_agent.trace.codec import encode_reply
from geoseg_agent.trace.record import recorded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.grounding.chat import (
        Cache,
        ChatReply,
        ChatRequest,
        Dialect,
        Endpoint,
        Fit,
        Pictures,
        SentImage,
        Terms,
    )
    from geoseg_agent.grounding.search.plan import Plan
    from geoseg_agent.grounding.search.planner import Planner
    from geoseg_agent.imagery import Image
    from geoseg_agent.types import GroundingReply, Query, TargetMask
    from geoseg_tools.geometry import Box


class RecordingEndpoint:
    """An Endpoint that leaves "endpoint" and "chat" steps in the trace of the query it serves."""

    def __init__(self, inner: Endpoint) -> None:
        self.inner = inner
        self.address = inner.address
        self.model = inner.model

    async def terms(self) -> Terms:
        """As `Endpoint.terms`."""
        return await recorded(
            "endpoint",
            None,
            lambda: codec_chat.endpoint_input(self),
            self.inner.terms(),
            codec_chat.encode_terms,
        )

    async def complete(self, request: ChatRequest) -> ChatReply:
        """As `Endpoint.complete`; each attempt is a step, also one that fails."""
        return await recorded(
            "chat",
            None,
            lambda: codec_chat.chat_input(request),
            self._complete(request),
            codec_chat.encode_chat,
            paid=True,
        )

    async def _complete(self, request: ChatRequest) -> ChatReply:
        return codec_chat.joined(await self.inner.complete(request))

    def step_down(self, refused: Dialect) -> None:
        """As `Endpoint.step_down`."""
        self.inner.step_down(refused)

    async def aclose(self) -> None:
        """As `Endpoint.aclose`."""
        await self.inner.aclose()


class RecordingPictures:
    """A Pictures that leaves "sent" steps in the trace of the query it serves."""

    def __init__(self, inner: Pictures) -> None:
        self.inner = inner

    async def view(
        self, image: Image, window: Box, fit: Fit, *, overlay: Sequence[TargetMask] | None = None
    ) -> SentImage:
        """As `Pictures.view`."""
        return await recorded(
            "sent",
            None,
            lambda: codec_chat.sent_input(image, window, fit, overlay),
            self.inner.view(image, window, fit, overlay=overlay),
            codec_chat.encode_sent,
        )

    async def aclose(self) -> None:
        """As `Pictures.aclose`."""
        await self.inner.aclose()


class RecordingPlanner:
    """A Planner that leaves a "search" step in the trace of the query it serves."""

    def __init__(self, inner: Planner) -> None:
        self.inner = inner

    async def plan(self, image: Image, query: Query) -> Plan:
        """As `Planner.plan`."""
        return await recorded(
            "search",
            None,
            lambda: codec_chat.search_input(image, query),
            self.inner.plan(image, query),
            codec_chat.encode_plan,
        )

    async def aclose(self) -> None:
        """As `Planner.aclose`."""
        await self.inner.aclose()


class RecordingCache:
    """A Cache that leaves a "cache" step in the trace of the query it serves, with the reply or, at a miss, none."""

    def __init__(self, inner: Cache) -> None:
        self.inner = inner

    async def get(self, key: str) -> GroundingReply | None:
        """As `Cache.get`."""
        return await recorded(
            "cache",
            None,
            lambda: codec_chat.cache_input(key),
            self.inner.get(key),
            lambda reply: None if reply is None else encode_reply(reply),
        )

    async def put(self, key: str, reply: GroundingReply) -> None:
        """As `Cache.put`; nothing follows from it, so it is no step."""
        await self.inner.put(key, reply)

    async def aclose(self) -> None:
        """As `Cache.aclose`."""
        await self.inner.aclose()
