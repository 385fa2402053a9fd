"""An answer as one JSON object, for programs (`geoseg segment --json`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg_agent.trace.rle import MAX_AREA, encode_mask, encode_union
from geoseg_tools.masks import Part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from geoseg_agent.segmentation import Segmentation
    from geoseg_agent.types import Instance, TargetMask


def as_dict(
    answer: Segmentation, files: Mapping[str, Path], seconds: float, left_out: Sequence[str] = ()
) -> dict[str, Any]:
    """JSON values: boxes x1, y1, x2, y2 and keypoints x, y in image pixels, masks as COCO run-lengths (h, w).

    `mask` covers the image, an instance's mask its own box. It is None for images of more than `MAX_AREA` pixels:
    readers of run-lengths count in 32 bits. `left_out` joins the notes.
    """
    height, width = answer.image.size
    return {
        "status": answer.status,
        "confidence": answer.confidence,
        "engine": answer.engine,
        "query": answer.query,
        "image": {"path": answer.image.path, "width": width, "height": height, "sha256": answer.image.sha256},
        "targets": [_target(target) for target in answer.targets],
        "mask": _mask(answer),
        "reasoning": answer.reasoning,
        "notes": [*answer.notes, *left_out],
        "trace": None if answer.trace_path is None else str(answer.trace_path),
        "files": {name: str(path) for name, path in files.items()},
        "seconds": round(seconds, 3),
    }


def _mask(answer: Segmentation) -> dict[str, Any] | None:
    height, width = answer.image.size
    if height * width > MAX_AREA:
        return None
    parts = [Part(target.roi, target.mask) for target in answer.targets]
    return encode_union(parts, (height, width)).model_dump()


def _target(target: TargetMask) -> dict[str, Any]:
    points = target.keypoints.points + np.array([target.roi.x1, target.roi.y1])
    return {
        "box": list(target.box),
        "roi": list(target.roi),
        "phrase": target.phrase,
        "confidence": target.target.confidence,
        "rule": target.rule,
        "score": target.score,
        "area_px": target.areas.mask,
        "keypoints": points.tolist(),
        "instances": [_instance(instance) for instance in target.instances],
    }


def _instance(instance: Instance) -> dict[str, Any]:
    return {
        "id": instance.id,
        "box": list(instance.box),
        "score": instance.score,
        "area_px": int(instance.pixels.sum()),
        "mask": encode_mask(instance.pixels).model_dump(),
    }
