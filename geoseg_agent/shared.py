"""`segment(...)` without an Agent: one shared Agent per event loop and settings, so that models load once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from geoseg_agent.agent import Agent
from geoseg_agent.settings import Settings

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import AsyncGenerator

    from geoseg_agent.agent import Picture
    from geoseg_agent.segmentation import Segmentation
    from geoseg_agent.types import Hints

_agents: WeakKeyDictionary[AbstractEventLoop, dict[Settings, tuple[Agent, AsyncGenerator[None]]]]
_agents = WeakKeyDictionary()


async def segment(
    image: Picture,
    query: str | None = None,
    *,
    hints: Hints | None = None,
    previous: Segmentation | None = None,
    settings: Settings | None = None,
    deadline: float | None = None,
) -> Segmentation:
    """Ask `image` for what `query` refers to, or for what is at the points in `hints`; see `Agent.segment`.

    Calls in one event loop with equal settings share one Agent. It is closed with the loop, or by `aclose()`.

    Raises:
        GeoSegError: one of the tree in `geoseg_agent.errors`.
    """
    agent = await _agent(settings or Settings())
    return await agent.segment(image, query, hints=hints, previous=previous, deadline=deadline)


async def aclose() -> None:
    """Close the shared Agents of the running event loop; the next `segment` makes a new one."""
    for agent, _ in _agents.pop(asyncio.get_running_loop(), {}).values():
        await agent.aclose()


async def _agent(settings: Settings) -> Agent:
    mine = _agents.setdefault(asyncio.get_running_loop(), {})
    if settings not in mine:
        agent = Agent(settings)
        keeper = _keep(agent)
        mine[settings] = agent, keeper
        await anext(keeper)
    return mine[settings][0]


async def _keep(agent: Agent) -> AsyncGenerator[None]:
    """Held open until the loop shuts its asynchronous generators down, which is the loop's own closing hook."""
    try:
        yield
    finally:
        await agent.aclose()
