"""Targets and instances as layers of vectors: outlines on the ground, and what is known of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geoseg_agent.geodesy import Footprint, Ground, footprints

if TYPE_CHECKING:
    from geoseg_agent.segmentation import Segmentation

_SOURCE: dict[str, type] = {
    "engine": str,
    "status": str,
    "confidence": float,
    "query": str,
    "trace_id": str,
}
TARGET_FIELDS: dict[str, type] = {
    "target": int,
    "phrase": str,
    "score": float,
    "rule": str,
    "instances": int,
    "area_m2": float,
    "area_px": int,
    "target_confidence": float,
    **_SOURCE,
}
INSTANCE_FIELDS: dict[str, type] = {
    "target": int,
    "instance": int,
    "phrase": str,
    "score": float,
    "area_m2": float,
    "area_px": int,
    **_SOURCE,
}


class Layer(NamedTuple):
    """Features of one kind: `fields` names and types the columns of `rows`, one footprint each."""

    fields: dict[str, type]
    footprints: list[Footprint]
    rows: list[dict[str, Any]]


def layers(answer: Segmentation, ground: Ground, stray: float = 0.0) -> dict[str, Layer]:
    """`targets`, one feature per target, and `instances`, one per object of a target.

    `confidence` is that of the answer, `target_confidence` the grounder's for the one target; `stray` as in
    `footprints`.

    Raises:
        pyproj.exceptions.ProjError: a mask reaches outside the domain of the image's CRS.
    """
    targets, instances = Layer(TARGET_FIELDS, [], []), Layer(INSTANCE_FIELDS, [], [])
    source = {name: getattr(answer, name) for name in _SOURCE}
    for number, target in enumerate(answer.targets, 1):
        (place,) = footprints([(target.mask, target.roi)], ground, stray)
        targets.footprints.append(place)
        common = {"target": number, "phrase": target.phrase} | source
        targets.rows.append(
            common
            | {
                "score": target.score,
                "rule": target.rule,
                "instances": len(target.instances),
                "area_m2": place.area_m2,
                "area_px": int(np.count_nonzero(target.mask)),
                "target_confidence": target.target.confidence,
            }
        )
        places = footprints([(instance.pixels, instance.box) for instance in target.instances], ground, stray)
        instances.footprints.extend(places)
        instances.rows.extend(
            common
            | {
                "instance": instance.id,
                "score": instance.score,
                "area_m2": place.area_m2,
                "area_px": int(np.count_nonzero(instance.pixels)),
            }
            for instance, place in zip(target.instances, places, strict=True)
        )
    return {"targets": targets, "instances": instances}
