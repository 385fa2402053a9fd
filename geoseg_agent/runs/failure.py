"""Why a question has no answer, as the lines of a run say it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from geoseg_agent.trace.record_base import Record


class Failure(Record):
    """Why there is no answer: the code of a `GeoSegError`, or of what goes on around it, and one sentence."""

    code: Annotated[str, Field(min_length=1)]
    message: str
