"""From one target to its mask: refine, two routes at the same time, fuse (GeoSeg Eq. 2 to 7).

roi = refine(box)                                                     pure
crop = image.crop(roi)                                                a view
encode(crop)  beside  similarity(crop, phrase)
  route A: similarity -> keypoints (pure) -> from_points              skipped when there are none
  route B: from_text                                                  does not wait for A
mask, rule = fuse(A, B), limited to `within`                          pure
"""

from __future__ import annotations

from asyncio import TaskGroup
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geoseg_agent.errors import ToolFailed
from geoseg_agent.instances import instances_of
from geoseg_agent.types import Areas, Hints, PointHint, Similarity, Target, TargetMask
from geoseg_tools.errors import ToolError
from geoseg_tools.fusion import fuse
from geoseg_tools.geometry import Box, refine, resize_nearest
from geoseg_tools.keypoints import Keypoints, threshold_points, topk_nms
from geoseg_tools.protocols import Masks

if TYPE_CHECKING:
    from asyncio import Task

    from numpy.typing import NDArray

    from geoseg_agent.imagery import Image
    from geoseg_agent.method import Method
    from geoseg_agent.seams import Toolbox
    from geoseg_tools.arrays import Heat, Mask, Points, Size
    from geoseg_tools.fusion import Rule


class _Prompt(NamedTuple):
    """What route A starts from: its own keypoints, and all points with the caller's, RoI frame."""

    keypoints: Keypoints
    points: Points
    positive: NDArray[np.bool_]


async def segment_target(
    tools: Toolbox, method: Method, image: Image, target: Target, hints: Hints, number: int
) -> TargetMask:
    """Segment target `number` (from 1) of a query on both routes and fuse them.

    Raises:
        ToolFailed: a tool crashed; the other route's result is not used instead, but stays in the trace.
    """
    a, b = method.alpha, method.beta
    roi = refine(target.box, image.size, a, b, rounding=method.rounding, min_side=method.min_crop)
    crop = image.crop(roi, target.box, number)

    async def by_points(similarity: Task[Heat], handle: Any) -> tuple[Heat, _Prompt, Masks]:
        heat = await similarity
        prompt = _prompt(heat, roi, hints.points, method)
        if not prompt.positive.any():
            return heat, prompt, Masks(np.zeros((0, *roi.size), dtype=np.bool_))
        if method.point_prompt == "together":
            return heat, prompt, await tools.from_points(handle, prompt.points, prompt.positive)
        each = [
            await tools.from_points(handle, prompt.points[i : i + 1], prompt.positive[i : i + 1])
            for i in np.flatnonzero(prompt.positive)
        ]
        return heat, prompt, _stack(each)

    async with TaskGroup() as beside:
        similarity = beside.create_task(tools.similarity(crop, target.phrase))
        async with tools.encode(crop) as handle, TaskGroup() as both:
            route_a = both.create_task(by_points(similarity, handle))
            route_b = both.create_task(tools.from_text(handle, target.phrase))
    heat, prompt, points_masks = route_a.result()
    text_masks = route_b.result()
    if method.text_mode == "best":
        text_masks = _best(text_masks)

    points_mask, text_mask = _union(points_masks, roi.size), _union(text_masks, roi.size)
    fused = fuse(points_mask, text_mask, has_keypoints=bool(prompt.positive.any()), gamma=method.gamma)
    mask = fused.mask if target.within is None else fused.mask & _placed(target.within, target.box, roi)
    score = _score(fused.rule, points_masks, text_masks)
    parts = text_masks if fused.rule in {"both", "text"} else points_masks
    notes = (*points_masks.notes, *text_masks.notes)
    if fused.rule == "both" and not fused.mask.any():
        notes = (*notes, f"the two routes of target {number} ({target.phrase}) do not overlap, so its mask is empty")
    return TargetMask(
        target=target,
        roi=roi,
        mask=mask,
        instances=instances_of(mask, parts, roi, score),
        areas=Areas(int(points_mask.sum()), int(text_mask.sum()), int(mask.sum())),
        rule=fused.rule,
        score=score,
        keypoints=prompt.keypoints,
        similarity=Similarity(float(heat.min()), float(heat.max()), float(heat.mean(dtype=np.float64))),
        notes=notes,
    )


def _prompt(heat: Heat, roi: Box, hints: tuple[PointHint, ...], method: Method) -> _Prompt:
    try:
        if method.picker == "topk-nms":
            keypoints = topk_nms(heat, roi.size, method.k, method.tau, normalise=method.heat_norm)
        else:
            keypoints = _stock(heat, roi.size)
    except ToolError as error:
        raise ToolFailed(
            f"no keypoints can be picked: {error}", hint="the stock picker wants a square grid"
        ) from error
    inside = [p for p in hints if roi.x1 <= p.x < roi.x2 and roi.y1 <= p.y < roi.y2]
    given = np.array([(p.x - roi.x1, p.y - roi.y1) for p in inside], dtype=np.int64).reshape(-1, 2)
    positive = np.array([p.positive for p in inside], dtype=np.bool_)
    return _Prompt(
        keypoints,
        np.concatenate([keypoints.points, given]),
        np.concatenate([np.ones(len(keypoints), dtype=np.bool_), positive]),
    )


def _stock(heat: Heat, size: Size) -> Keypoints:
    """The released code's choice: positives of the stock picker, or nine points about the centre."""
    picked = threshold_points(heat, size)
    points = picked.points[picked.positive]
    if not len(points):
        thirds = [(size[1] * (1 + i) // 4, size[0] * (1 + j) // 4) for j in range(3) for i in range(3)]
        points = np.unique(np.array(thirds, dtype=np.int64), axis=0)
    cells = points[:, ::-1] * np.array(heat.shape) // np.array(size)
    raw = heat[tuple(cells.T)].astype(np.float64)
    span = float(heat.max()) - float(heat.min())
    return Keypoints(points, (raw - float(heat.min())) / span if span else np.zeros_like(raw), cells, raw)


def _union(masks: Masks, size: Size) -> Mask:
    if not len(masks.masks):
        return np.zeros(size, dtype=np.bool_)
    united: Mask = np.any(masks.masks, axis=0)
    return resize_nearest(united, size)


def _stack(parts: list[Masks]) -> Masks:
    scored = [part.scores for part in parts if part.scores is not None]
    scores = np.concatenate(scored) if len(scored) == len(parts) else None
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    return Masks(np.concatenate([part.masks for part in parts]), scores, notes)


def _best(masks: Masks) -> Masks:
    if masks.scores is None or len(masks.masks) < 2:
        return masks
    i = int(masks.scores.argmax())
    return Masks(masks.masks[i : i + 1], masks.scores[i : i + 1], masks.notes)


def _placed(within: Mask, box: Box, roi: Box) -> Mask:
    """A mask of `box` in the frame of `roi`; False where they do not overlap."""
    canvas = np.zeros(roi.size, dtype=np.bool_)
    common = box.intersection(roi)
    if common is not None:
        canvas[common.relative_to(roi).slices] = within[common.relative_to(box).slices]
    return canvas


def _score(rule: Rule, points: Masks, text: Masks) -> float | None:
    """The product of what the routes in use report: predicted IoU of A, mean instance score of B."""
    used = {"both": (points, text), "points": (points,), "text": (text,), "none": ()}[rule]
    if not used or any(route.scores is None for route in used):
        return None
    return float(np.prod([route.scores.mean() for route in used if route.scores is not None]))
