"""What is installed, which backends are ready, what is known of the endpoint, and how to get what is missing."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from geoseg_agent.backends import GROUNDERS, TOOLBOXES, grounder_of, toolbox_of
from geoseg_agent.errors import ConfigError, GeoSegError
from geoseg_agent.grounding.chat import FRAMES
from geoseg_agent.grounding.endpoint.verdicts import find, is_off
from geoseg_agent.grounding.messages import prompt_of
from geoseg_agent.grounding.model_profiles import agree
from geoseg_agent.models import EXTRA, NEEDS
from geoseg_agent.settings import Settings
from geoseg_agent.versions import versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geoseg_agent.grounding.chat import Verdict

State = Literal["ready", "missing", "broken"]

_RUN = "geoseg doctor grounding"


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
    return [*_packages(), *_backends(settings), *_endpoint(settings), _traces(settings), *_extra()]


def show(findings: list[Finding]) -> None:
    """Print the report of `examine` on standard output, and the backends there are."""
    from geoseg_agent.console import out  # noqa: PLC0415 - not for --help

    print_findings(findings)
    out.print(f"\ngrounders: {', '.join(GROUNDERS)}, entry point, module:factory")
    out.print(f"toolsets:  {', '.join(TOOLBOXES)}, entry point, module:factory")


def print_findings(findings: list[Finding]) -> None:
    """Print findings as a table on standard output."""
    from rich.markup import escape  # noqa: PLC0415 - not for --help
    from rich.table import Table  # noqa: PLC0415

    from geoseg_agent.console import print_table  # noqa: PLC0415 - as above

    colour = {"ready": "green", "missing": "yellow", "broken": "red"}
    table = Table(box=None, pad_edge=False)
    for name in ("part", "state", "detail"):
        table.add_column(name, overflow="fold")  # an address or a path that is cut is of no use
    for finding in findings:
        state = f"[{colour[finding.state]}]{finding.state}[/]"
        remedy = f"\n[bold]try:[/] {escape(finding.remedy)}" if finding.remedy else ""
        table.add_row(escape(finding.part), state, f"{escape(finding.detail)}{remedy}")
    print_table(table)


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


def _endpoint(settings: Settings) -> Iterator[Finding]:
    """What can be known of the endpoint for nothing: its address, the model, and what the last examination found."""
    address = settings.base_url
    if address is None:
        yield Finding("endpoint", "missing", "none is set", "GEOSEG_BASE_URL=http://localhost:8000/v1")
        return
    key = "without a key" if settings.api_key is None else "with a key"
    yield Finding("endpoint", "ready", f"{address}, {key}; not called")
    if settings.model is not None:
        yield Finding("model", "ready", settings.model)
        yield _verdict(settings, address, settings.model)
        return
    yield Finding("model", "ready", "not set: the only one there", "GEOSEG_MODEL=NAME where the endpoint has several")
    known = _examined(settings.verdicts.expanduser(), address)
    for model in known:
        yield _verdict(settings, address, model)
    if not known:
        yield Finding("verdict", "missing", "no model there was examined", _RUN)


def _verdict(settings: Settings, address: str, model: str) -> Finding:
    """Whether boxes of the model would be read as they were found to be."""
    verdict = find(settings.verdicts, address, model, prompt_of(settings.profile).sha256)
    frame = None if settings.frame is None else FRAMES[settings.frame]
    about = f"{model}, profile {settings.profile}: {_told(verdict)}"
    run = f"{_RUN} --profile {settings.profile}"
    try:
        read = agree(model, frame=frame, profile=settings.profile, verdict=verdict, max_targets=None).read
    except ConfigError as error:
        return Finding(
            "verdict", "broken", about, f"{run}, or set GEOSEG_FRAME" if verdict is None else error.hint or ""
        )
    if verdict is None:
        return Finding("verdict", "missing", f"{about}; boxes are read in {read}", run)
    if not is_off(verdict, read):
        return Finding("verdict", "ready", about)
    remedy = f"{run} says more"
    if verdict.frame not in {None, read}:
        remedy = f"GEOSEG_FRAME={verdict.frame}"
    return Finding("verdict", "broken", f"{about}; boxes are read in {read}", remedy)


def _told(verdict: Verdict | None) -> str:
    """A verdict in a line."""
    if verdict is None:
        return "never examined"
    day = verdict.found[:10]
    if verdict.frame is None:
        found = f"mixes {' and '.join(verdict.mixed)}" if verdict.mixed else "fits no frame"
        return f"{found}, on {day}"
    (sx, sy), (tx, ty) = verdict.scale, verdict.shift
    return (
        f"{verdict.frame}, IoU {verdict.iou:.2f}, scale {sx:.2f}, {sy:.2f}, shift {tx:+.0f}, {ty:+.0f} px, on {day}"
    )


def _examined(folder: Path, address: str) -> list[str]:
    """The models at an address that there are verdicts on, from the files; `find` is what trusts them or not."""
    models = set()
    for path in folder.glob("*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            entry = json.loads(path.read_bytes())
            if entry["address"] == address:
                models.add(str(entry["model"]))
    return sorted(models)


def _traces(settings: Settings) -> Finding:
    if settings.traces == "none":
        return Finding("traces", "missing", "switched off", "GEOSEG_TRACES=FOLDER")
    folder = Path(settings.traces)
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK):
        return Finding("traces", "ready", str(folder))
    return Finding("traces", "broken", f"{folder} cannot be written", "GEOSEG_TRACES=FOLDER")


def _extra() -> Iterator[Finding]:
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        yield Finding("[models] extra", "missing", f"no {', '.join(missing)}", EXTRA)
    else:
        yield Finding("[models] extra", "ready", "installed; geoseg doctor models tries the models")
