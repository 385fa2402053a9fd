"""Whether a run that goes on asks what it began with: the same prompt, and the same model behind its endpoint."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from geoseg_agent.backends import asks_model
from geoseg_agent.errors import ConfigError, TraceError
from geoseg_agent.grounding.messages import prompt_of
from geoseg_agent.trace.model import EndpointStep
from geoseg_agent.trace.store import load

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from geoseg_agent.grounding.chat import Endpoint
    from geoseg_agent.lanes import Lane
    from geoseg_agent.settings import Settings

_LOOKED_AT = 20  # traces that may say which model the run was begun with; where none is asked, none does


def prompt_said(settings: Settings) -> str | None:
    """What a model is asked with, for the plan; None where none is asked."""
    if not asks_model(settings):
        return None
    prompt = prompt_of(settings.profile)
    return f"{prompt.name} {prompt.version} ({prompt.sha256[:12]})"


async def check_model(endpoint: Endpoint, settings: Settings, folder: Path, traces: Iterable[Path], io: Lane) -> None:
    """Refuse an endpoint that serves another model now, where no setting names one.

    Args:
        endpoint: that is asked from now on.
        settings: of the run.
        folder: of the run, for messages.
        traces: files of its queries so far; the first of them are looked into, and need not be there.
        io: where files are read.

    Raises:
        ConfigError: it does.
        EndpointError: it does not list its models.
    """
    known = None if settings.model else await io.run(_model_before, traces)
    if known is not None and (found := (await endpoint.terms()).model) != known:
        raise ConfigError(
            f"the endpoint {endpoint.address} serves {found}, and the run in {folder} was begun with {known}",
            hint=f"serve {known}, or name a new folder with --out",
        )


def _model_before(traces: Iterable[Path]) -> str | None:
    """The model that the run was begun with, by one of its first traces, or None: they do not say."""
    for path in islice(traces, _LOOKED_AT):
        with suppress(TraceError):
            for step in load(path).steps:
                if isinstance(step, EndpointStep) and step.output is not None:
                    return step.output.model
    return None
