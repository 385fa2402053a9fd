"""What several Agents of a run share, and when a run gives up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from geoseg_agent.errors import EndpointError, OutOfMemory, ToolFailed

if TYPE_CHECKING:
    from geoseg_agent.grounding.chat import Endpoint
    from geoseg_agent.runs.failure import Failure
    from geoseg_agent.seams import Grounder, Toolbox
    from geoseg_agent.trace.model import ErrorRecord

GIVE_UP: Final = 16
"""Failures of endpoint or tools in a row that end a run: what is broken will not answer the next question either."""

BROKEN: Final = frozenset({EndpointError.code, ToolFailed.code, OutOfMemory.code})
"""The codes of those failures."""


def gave_up(last: Failure | ErrorRecord, things: str) -> EndpointError | ToolFailed:
    """The error that a run ends by after `GIVE_UP` failures, the last of which is given.

    Args:
        last: its code is one of `BROKEN`.
        things: what failed, in the plural.
    """
    kind = EndpointError if last.code == EndpointError.code else ToolFailed
    return kind(
        f"{GIVE_UP} {things} failed one after the other, the last with: {last.message}",
        hint="mend what is broken and start the same command: it goes on, and asks them once more",
    )


class Borrowed:
    """A toolbox, a grounder or an endpoint that several Agents use and none of them closes."""

    def __init__(self, lent: Toolbox | Grounder | Endpoint) -> None:
        self._lent = lent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lent, name)

    async def aclose(self) -> None:
        """Nothing: who lent it closes it."""
