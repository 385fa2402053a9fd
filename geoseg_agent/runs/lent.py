"""What several Agents of a run share, and when a run gives up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from geoseg_agent.errors import EndpointError, OutOfMemory, ToolFailed

if TYPE_CHECKING:
    from geoseg_agent.grounding.chat import Endpoint
    from geoseg_agent.seams import Grounder, Toolbox

GIVE_UP: Final = 16
"""Failures of endpoint or tools in a row that end a run: what is broken will not answer the next question either."""

BROKEN: Final = frozenset({EndpointError.code, ToolFailed.code, OutOfMemory.code})
"""The codes of those failures."""


class Borrowed:
    """A toolbox, a grounder or an endpoint that several Agents use and none of them closes."""

    def __init__(self, lent: Toolbox | Grounder | Endpoint) -> None:
        self._lent = lent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lent, name)

    async def aclose(self) -> None:
        """Nothing: who lent it closes it."""
