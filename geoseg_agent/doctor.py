"""What is installed, which backends are ready, what is missing and how to get it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from geoseg_agent.backends import GROUNDERS, TOOLBOXES, grounder_of, toolbox_of
from geoseg_agent.errors import GeoSegError
from geoseg_agent.settings import Settings
from geoseg_agent.versions import versions

if TYPE_CHECKING:
    from collections.abc import Iterator

State = Literal["ready", "missing", "broken"]

_MODELS = ("torch", "torchvision", "sam3", "open_clip", "psutil")


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        part: what was looked at.
        state: ready, missing (can be installed or set) or broken (is set, and wrong).
        detail: a version, a path, a reason.
        remedy: how to get it, or empty.
    """

    part: str
    state: State
    detail: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Look at everything, without loading a model or calling anybody.

    Raises:
        ConfigError: the settings themselves cannot be read.
    """
    settings = Settings()
    return [*_packages(), *_backends(settings), _traces(settings), *_extra()]


def show(findings: list[Finding]) -> None:
    """Print the report as a table on standard output."""
    from rich.markup import escape  # noqa: PLC0415 - not for --help
    from rich.table import Table  # noqa: PLC0415

    from geoseg_agent.console import out  # noqa: PLC0415 - as above

    colour = {"ready": "green", "missing": "yellow", "broken": "red"}
    table = Table("part", "state", "detail", "to get it", box=None, pad_edge=False)
    for finding in findings:
        state = f"[{colour[finding.state]}]{finding.state}[/]"
        table.add_row(escape(finding.part), state, escape(finding.detail), escape(finding.remedy))
    out.print(table)
    out.print(f"\ngrounders: {', '.join(GROUNDERS)}, entry point, module:factory")
    out.print(f"toolsets:  {', '.join(TOOLBOXES)}, entry point, module:factory")


def _packages() -> Iterator[Finding]:
    for name, number in versions().items():
        yield Finding(name, "ready", number)


def _backends(settings: Settings) -> Iterator[Finding]:
    for part, name, build in (
        ("grounder", settings.grounder, grounder_of),
        ("tools", settings.tools, toolbox_of),
    ):
        try:
            backend = build(settings)
        except GeoSegError as error:
            yield Finding(part, "broken", f"{name}: {error.message}", error.hint or "")
        else:
            yield Finding(part, "ready", f"{name} -> {backend.engine}")


def _traces(settings: Settings) -> Finding:
    if settings.traces == "none":
        return Finding("traces", "missing", "switched off", "GEOSEG_TRACES=FOLDER")
    folder = Path(settings.traces)
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK):
        return Finding("traces", "ready", str(folder))
    return Finding("traces", "broken", f"{folder} cannot be written", "GEOSEG_TRACES=FOLDER")


def _extra() -> Iterator[Finding]:
    missing = [name for name in _MODELS if find_spec(name) is None]
    if missing:
        yield Finding("[models] extra", "missing", f"no {', '.join(missing)}", "pip install 'geoseg-agent[models]'")
    else:
        yield Finding("[models] extra", "ready", "installed")
