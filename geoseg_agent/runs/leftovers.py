"""To which question a trace belongs that a run left without a line."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from geoseg_agent.trace.model import Trace


def names_of(trace: Trace, places: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What the trace's picture may be called in its source, and the query: the longest name first.

    Args:
        trace: of a query of the run.
        places: path to name of every picture. Where the source has moved since, the end of the path is the name.
    """
    path = trace.image.path or ""
    if path in places:
        yield places[path], trace.query
        return
    parts = PurePath(path).parts
    yield from (("/".join(parts[at:]), trace.query) for at in range(1, len(parts)))
