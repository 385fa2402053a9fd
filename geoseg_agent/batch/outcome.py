"""What came of an item, read from its trace alone: a batch that was interrupted comes to the same as any other.

The outlines of its objects come along, one JSON line each: `wkb` in hex, longitude and latitude on WGS 84, and what
is known of the one object. They are what the layer of the batch is made of, so no image is read again for it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from geoseg_agent.batch.results import Answered, ItemResult
from geoseg_agent.errors import TraceCorrupt
from geoseg_agent.runs.failure import Failure
from geoseg_agent.trace.codec import decode_image
from geoseg_agent.trace.model import ChatStep
from geoseg_agent.trace.rle import decode_mask
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geoseg_agent.batch.items import Item
    from geoseg_agent.batch.results import Outcome
    from geoseg_agent.geodesy import Part
    from geoseg_agent.trace.model import TargetResult, Trace


def outcome_of(item: Item, trace: Trace, files: Mapping[str, str] | None = None) -> Answered:
    """The line of an item, and its outlines.

    Args:
        item: what was asked.
        trace: of a query that has ended; an interrupted one counts as failed.
        files: what was written for it beside the trace.

    Raises:
        TraceCorrupt: a mask of the trace is malformed.
    """
    chats = [step for step in trace.steps if isinstance(step, ChatStep)]
    used = [step.output.usage for step in chats if step.output is not None]
    known: dict[str, Any] = {
        "trace": trace.id,
        "engine": trace.engine,
        "seconds": trace.seconds,
        "calls": len(chats),
        "tokens": None if None in used else sum(one.prompt + one.completion for one in used if one is not None),
        "files": dict(files or {}),
    }
    result = trace.result
    if result is None:
        return Answered(_line(item, "failed", error=_failure(trace), **known))
    try:
        area, outlines = _on_the_ground(trace, result.targets)
    except ValueError as error:
        raise TraceCorrupt(f"trace {trace.id}: a mask does not fit its region: {error}") from error
    known |= {
        "confidence": result.confidence,
        "targets": len(result.targets),
        "area_px": sum(target.areas.mask for target in result.targets),
        "area_m2": area,
    }
    return Answered(_line(item, result.status, **known), outlines)


def failed(item: Item, failure: Failure) -> Answered:
    """The line of an item that could not even be asked, or whose query left no trace."""
    return Answered(_line(item, "failed", error=failure))


def _line(item: Item, status: Outcome, **known: Any) -> ItemResult:
    return ItemResult(number=item.number, id=item.id, source=item.row.name, query=item.query, status=status, **known)


def _failure(trace: Trace) -> Failure:
    if trace.error is None:
        return Failure(code="interrupted", message="the query never ended")
    return Failure(code=trace.error.code, message=trace.error.message)


def _on_the_ground(trace: Trace, targets: list[TargetResult]) -> tuple[float | None, bytes]:
    """Square metres of the targets, and the outlines of their objects; None and none without a place on the ground.

    Raises:
        ValueError: a mask is malformed.
    """
    from pyproj.exceptions import ProjError  # noqa: PLC0415 - only georeferenced images need the geographic libraries

    from geoseg_agent.geodesy import Ground, footprints  # noqa: PLC0415 - as above

    georeference = decode_image(trace.image).georeference
    if georeference is None:
        return None, b""
    lines: list[bytes] = []
    area = 0.0
    try:
        ground = Ground(georeference, (trace.image.height, trace.image.width))
        for number, target in enumerate(targets, 1):
            (whole,) = footprints([(decode_mask(target.mask), Box(*target.roi))], ground)
            area += whole.area_m2
            objects = _objects(target)
            places = footprints([part for part, _ in objects], ground)
            for known, place in zip((known for _, known in objects), places, strict=True):
                if place.lonlat is not None:
                    lines.append(_outline({"target": number} | known, place.lonlat, place.area_m2))
    except ProjError:
        return None, b""
    return area, b"".join(lines)


def _objects(target: TargetResult) -> list[tuple[Part, dict[str, Any]]]:
    """Each object's mask and place, and what is known of it; the whole target where no objects are known."""
    if not target.instances:
        whole = {"object": 0, "phrase": target.phrase, "score": target.score, "area_px": target.areas.mask}
        return [((decode_mask(target.mask), Box(*target.roi)), whole)]
    found: list[tuple[Part, dict[str, Any]]] = []
    for instance in target.instances:
        mask = decode_mask(instance.mask)
        known = {"object": instance.id, "phrase": target.phrase, "score": instance.score, "area_px": int(mask.sum())}
        found.append(((mask, Box(*instance.box)), known))
    return found


def _outline(known: dict[str, Any], lonlat: Any, area_m2: float) -> bytes:
    import shapely  # noqa: PLC0415 - as above

    value = known | {"area_m2": area_m2, "wkb": shapely.to_wkb(lonlat, hex=True)}
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode() + b"\n"
