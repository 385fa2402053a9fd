"""The plan of a search, made before anybody is asked; a seam, so that a replay looks where the query looked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from geoseg_agent.grounding.search.plan import layout_of, planned
from geoseg_agent.grounding.search.scout import with_data
from geoseg_agent.grounding.search.sight import Sight
from geoseg_agent.lanes import Lane

if TYPE_CHECKING:
    from geoseg_agent.grounding.search.plan import Plan
    from geoseg_agent.imagery import Image
    from geoseg_agent.seams import Grounder
    from geoseg_agent.settings import Settings
    from geoseg_agent.types import Query


class Planner(Protocol):
    """Says how an image will be searched."""

    async def plan(self, image: Image, query: Query) -> Plan:
        """The plan; nobody is asked for it.

        Raises:
            BudgetExceeded: the search would take more calls than there may be.
        """
        ...

    async def aclose(self) -> None:
        """Release threads; safe to call twice."""
        ...


class LocalPlanner:
    """A Planner that looks at the image, on a thread of its own.

    Args:
        grounder: what will look.
        settings: `search`, `search_calls`, and those of the grounder.
    """

    def __init__(self, grounder: Grounder, settings: Settings) -> None:
        self._grounder = grounder
        self._settings = settings
        self._lane = Lane("search")

    async def plan(self, image: Image, query: Query) -> Plan:
        """As `Planner.plan`."""
        return await self._lane.run(plan_of, image, query, self._grounder, self._settings)

    async def aclose(self) -> None:
        """As `Planner.aclose`."""
        self._lane.close()


def plan_of(image: Image, query: Query, grounder: Grounder, settings: Settings) -> Plan:
    """What a search of the image would do and cost. Nobody is asked; the image is looked at coarsely. Blocks.

    Args:
        image: with its pixels.
        query: what to look for.
        grounder: what would look.
        settings: `search`, `search_calls`, and those of the grounder.

    Raises:
        BudgetExceeded: it would take more calls than there may be.
        NoPixelsError: the image was rebuilt from a trace.
    """
    sight, calls = Sight.of(grounder, settings, query), settings.search_calls
    layout = layout_of(image.size, image.georeference, query.text, sight, settings.search, calls)
    kept = with_data(image.scene, layout.windows) if len(layout.windows) > 1 else layout.windows
    return planned(layout, kept, sight, settings.search, calls, image.size)
