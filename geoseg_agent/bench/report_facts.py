"""What is known of a run beside its figures: what was asked for, when, and with which versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from geoseg_agent.bench.plan import Plan
from geoseg_agent.errors import TraceError
from geoseg_agent.trace.ids import is_id, time_of
from geoseg_agent.trace.store import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from geoseg_agent.bench.records import PairResult
    from geoseg_agent.bench.summary import Summary

_ENGINES = 4
_NAMED = ("profile", "grounder", "model", "tools", "frame", "samples", "verify_rounds")
_USUAL = {"samples": 1, "verify_rounds": 0}


class Known(NamedTuple):
    """What a run left beside its results.

    Attributes:
        plan: of the run; None where there is none, or it is not of these results.
        versions: package to version as the traces record it, from the first trace and, where it differs, the last.
        asked: when the first and the last query began, UTC; None without traces.
        traced: results with a trace.
    """

    plan: Plan | None
    versions: dict[str, str]
    asked: tuple[datetime, datetime] | None
    traced: int


def known_of(folder: Path, results: Sequence[PairResult]) -> Known:
    """Look into `run.json` and two traces of the folder; what is not there or cannot be read is left out."""
    ids = sorted(one.trace for one in results if one.trace is not None and is_id(one.trace))
    asked = (time_of(ids[0]), time_of(ids[-1])) if ids else None
    plan = _plan(folder / "run.json")
    traced = bool(ids) or all(one.engine == "none" for one in results)
    fits = plan is not None and plan.pairs == len(results) and (traced or plan.masks is not None)
    ends = [_versions(folder / "traces" / f"{name}.json") for name in dict.fromkeys((*ids[:1], *ids[-1:]))]
    return Known(plan if fits else None, _joined(ends), asked, len(ids))


def facts(known: Known, summary: Summary) -> dict[str, str]:
    """What stands under the title, by its heading."""
    engines = [name for name in summary.engines if name != "none"] or ["none, every pair failed before it was asked"]
    more = f" and {len(engines) - _ENGINES} more" if len(engines) > _ENGINES else ""
    overall, plan = summary.overall, known.plan
    sources = len(summary.strata["source"])
    data = f"{_count(overall.n, 'pair')} of {_count(overall.images, 'image')}"
    data += f", {sources} sources" if sources > 1 else ""
    found = {
        "Engine": ", ".join(engines[:_ENGINES]) + more,
        "Data": data + ("" if plan is None else f", layout {plan.data.kind}"),
        "Asked": _asked(known, summary),
    }
    if plan is not None:
        found["Pairs"] = f"sha256 {plan.digest[:16]}…"
    if plan is not None and plan.masks is not None:
        found["Masks"] = f"{plan.masks}{', brought to the size of the images' if plan.resized else ''}"
    elif plan is not None:
        said = {name: plan.settings.get(name) for name in _NAMED}
        kept = [f"{name} {value}" for name, value in said.items() if value not in (None, _USUAL.get(name))]
        # Without it, seconds mean nothing.
        kept += [f"{' and '.join(map(str, plan.concurrency))} pairs at once"] if plan.concurrency else []
        found["Settings"] = ", ".join(kept) or "not recorded"
        found["Method"] = ", ".join(f"{name} {value}" for name, value in plan.method.items())
    return found


def settings_of(plan: Plan) -> dict[str, Any]:
    """The settings that were set, or have a default of their own."""
    return {name: value for name, value in plan.settings.items() if value is not None}


def _plan(file: Path) -> Plan | None:
    try:
        return Plan.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def _versions(file: Path) -> dict[str, str]:
    try:
        return load(file).versions
    except TraceError:
        return {}


def _joined(ends: Iterable[dict[str, str]]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for versions in ends:
        for name, version in versions.items():
            if version not in found.setdefault(name, []):
                found[name].append(version)
    return {name: ", then ".join(versions) for name, versions in found.items()}


def _asked(known: Known, summary: Summary) -> str:
    if known.asked is not None:
        return _span(*known.asked)
    return "no query came so far" if summary.engines == ("none",) else "not recorded: masks without traces"


def _span(first: datetime, last: datetime) -> str:
    day, end = f"{first.day} {first:%B %Y}", f"{last.day} {last:%B %Y}"
    if day != end:
        return f"{day} to {end}, UTC"
    clock = f"{first:%H:%M}" if f"{first:%H:%M}" == f"{last:%H:%M}" else f"{first:%H:%M} to {last:%H:%M}"
    return f"{day}, {clock} UTC"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
