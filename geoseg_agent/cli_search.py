"""`geoseg segment --search`: the plan is printed before anything is paid, and many calls want a yes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from geoseg_agent.console import note
from geoseg_agent.errors import BudgetExceeded

if TYPE_CHECKING:
    from pathlib import Path

    from geoseg_agent.grounding.search.plan import Plan
    from geoseg_agent.imagery import Image
    from geoseg_agent.settings import Settings
    from geoseg_agent.types import Hints

CONFIRMED = 16
"""Paid calls up to which nobody is asked."""


def confirm_search(settings: Settings, image: Path, query: str | None, hints: Hints, *, yes: bool) -> Image | None:
    """Print where a search of the image will look and what it may cost, and have it confirmed where that is much.

    Does nothing where there is no search: none is wanted, nothing is grounded, or the grounder takes whole images.

    Returns:
        The image, where it was read for the plan.

    Raises:
        BudgetExceeded: the plan is over `search_calls`, or nobody confirmed it; nothing was paid.
        ImageError, QueryError: as the query itself would raise.
    """
    if settings.search == "overview" or query is None or hints.box is not None:
        return None
    planned = _planned(settings, image, query)
    if planned is None:
        return None
    picture, plan = planned
    note(f"search in {plan.words}: {plan.price}")
    if not plan.tiled or plan.calls <= CONFIRMED or yes:
        return picture
    if sys.stdin.isatty() and typer.confirm(f"Make up to {plan.calls} calls?", err=True):
        return picture
    raise BudgetExceeded(
        f"the search may take {plan.calls} paid calls, more than {CONFIRMED}, and nobody confirmed it",
        hint="add --yes, or use --search overview",
    )


def _planned(settings: Settings, image: Path, query: str) -> tuple[Image, Plan] | None:
    """The image and the plan; None where the grounder that the settings name searches nothing."""
    import asyncio  # noqa: PLC0415 - only where there is something to plan

    from geoseg_agent.backends import grounder_of, searching  # noqa: PLC0415
    from geoseg_agent.grounding.search.planner import plan_of  # noqa: PLC0415
    from geoseg_agent.imagery import as_image  # noqa: PLC0415
    from geoseg_agent.types import Query  # noqa: PLC0415

    asked = Query(query)
    grounder = grounder_of(settings)
    try:
        if searching(grounder, settings) is grounder:
            return None
        picture = as_image(image, bands=settings.bands, max_pixels=settings.max_pixels)
        return picture, plan_of(picture, asked, grounder, settings)
    finally:
        asyncio.run(grounder.aclose())
