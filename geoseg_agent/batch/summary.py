"""A batch in one look: how its items ended, what they cost, what they found; and `summary.json`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from geoseg_agent.batch.plan import load_plan
from geoseg_agent.batch.results import load_results
from geoseg_agent.runs.lines import put_file
from geoseg_agent.trace.record_base import Record

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from geoseg_agent.batch.results import ItemResult


class Summary(Record):
    """A batch in numbers.

    Attributes:
        items: of the plan.
        done: with a line.
        statuses: how many ended how, by status; failures among them.
        failures: by code.
        engines: how many were answered by each.
        objects: outlines in the layer.
        placeless: answers with a target whose image has no place on the ground: they are not in the layer.
        area_px, area_m2: of all masks.
        seconds: of all queries, from start to answer; those that ran side by side count each.
        calls: requests to a model.
        tokens: prompts and replies together, or None where a server did not tell them all.
    """

    items: int
    done: int
    statuses: dict[str, int]
    failures: dict[str, int]
    engines: dict[str, int]
    objects: int
    placeless: int
    area_px: int
    area_m2: float
    seconds: float
    calls: int
    tokens: int | None

    @property
    def failed(self) -> int:
        """How many have no answer."""
        return self.statuses.get("failed", 0)


def summarise(items: int, results: Iterable[ItemResult]) -> Summary:
    """Sum up the results, one in memory at a time."""
    statuses, failures, engines = Counter[str](), Counter[str](), Counter[str]()
    done = objects = placeless = pixels = calls = 0
    area = seconds = 0.0
    tokens: int | None = 0
    for one in results:
        done += 1
        statuses[one.status] += 1
        if one.error is not None:
            failures[one.error.code] += 1
        if one.engine != "none":
            engines[one.engine] += 1
            tokens = None if tokens is None or one.tokens is None else tokens + one.tokens
        objects += 0 if one.objects is None else one.objects.count
        placeless += bool(one.targets) and one.area_m2 is None
        pixels += one.area_px
        area += one.area_m2 or 0.0
        calls += one.calls or 0
        seconds += one.seconds or 0.0
    return Summary(
        items=items,
        done=done,
        statuses=_sorted(statuses),
        failures=_sorted(failures),
        engines=_sorted(engines),
        objects=objects,
        placeless=placeless,
        area_px=pixels,
        area_m2=round(area, 3),
        seconds=round(seconds, 3),
        calls=calls,
        tokens=tokens,
    )


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def write_summary(folder: Path) -> Summary:
    """Write `summary.json` of the batch in `folder`. Blocks.

    Raises:
        DatasetError: there is no batch, or the disk says no.
    """
    summary = summarise(load_plan(folder).items, load_results(folder / "batch.jsonl"))
    put_file(folder / "summary.json", summary.model_dump_json(indent=1).encode())
    return summary
