"""From one target to its mask: refine, two routes at the same time, fuse (GeoSeg Eq. 2 to 7).

roi = refine(box)                                                     pure
crop = image.crop(roi)                                                a view
encode(crop)  beside  similarity(crop, phrase)
  route A: similarity -> keypoints (pure) -> from_points              skipped when there are none
  route B: from_text                                                  does not wait for A
mask, rule = fuse(A, B), limited to `within`                          pure

A variant of the method may leave a route out; it then counts as invalid (Eq. 6). Where the caller only points,
route A runs from these points alone: there are no words for a similarity map or for route B.
"""

from __future__ import annotations

from asyncio import TaskGroup
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geoseg_agent.errors import ToolFailed
from geoseg_agent.instances import instances_of
from geoseg_agent.regions import check_reach, check_region
from geoseg_agent.tiles.grid import picking
from geoseg_agent.types import Areas, Hints, PointHint, Similarity, Target, TargetMask
from geoseg_tools.errors import ToolError
from geoseg_tools.fusion import fuse
from geoseg_tools.geometry import Box, refine, resize_nearest
from geoseg_tools.keypoints import Keypoints, threshold_points, topk_nms
from geoseg_tools.masks import Masks, extent

if TYPE_CHECKING:
    from asyncio import Task

    from numpy.typing import NDArray

    from geoseg_agent.imagery import Image
    from geoseg_agent.lanes import Lane
    from geoseg_agent.method import Method
    from geoseg_agent.seams import Toolbox
    from geoseg_tools.arrays import Heat, Mask, Points, Size
    from geoseg_tools.crop import Crop
    from geoseg_tools.fusion import Rule


AT_ONCE = 1 << 22
"""Pixels of a region that are fused on the event loop: a few hundredths of a second at most."""


class _Prompt(NamedTuple):
    """What route A starts from: its own keypoints, and all points with the caller's, RoI frame."""

    keypoints: Keypoints
    points: Points
    positive: NDArray[np.bool_]


class _Routes(NamedTuple):
    """What the routes gave; a route that was left out gave no masks, and route A no grid either."""

    heat: Heat | None
    prompt: _Prompt
    points: Masks
    text: Masks


async def segment_target(
    tools: Toolbox,
    method: Method,
    image: Image,
    target: Target,
    hints: Hints,
    number: int,
    lane: Lane | None = None,
    max_pixels: int | None = None,
) -> TargetMask:
    """Segment target `number` (from 1) of a query on both routes and fuse them.

    A large region is fused on `lane`, so that other queries go on meanwhile; the result is the same. With
    `max_pixels`, the setting, a region of an opened image that is too large is refused.

    Raises:
        ImageError: the region is too large.
        ToolFailed: a tool crashed; the other route's result is not used instead, but stays in the trace.
    """
    crop = _crop(method, image, target, number)
    if max_pixels is not None:
        grounded = hints.box is None and method.plan.grounds
        check_region(image, crop.roi, number, max_pixels, box=target.box, grounded=grounded)
    return await _fused(await _run(tools, method, crop, target.phrase, hints), method.gamma, crop, target, lane)


async def segment_clicked(
    tools: Toolbox,
    method: Method,
    image: Image,
    target: Target,
    hints: Hints,
    number: int,
    lane: Lane | None = None,
    max_pixels: int | None = None,
) -> TargetMask:
    """Segment target `number` from the caller's points alone; any mask counts, however small. The rest is as above.

    Raises:
        ImageError: what the points are on is too large.
        ToolFailed: a tool crashed.
    """
    crop = _crop(method, image, target, number)
    if max_pixels is not None and hints.earlier is not None:
        remedy = "leave the earlier mask out, and give the points with a box of the part that matters"
        check_region(image, crop.roi, number, max_pixels, remedy=remedy)
    prompt = _with_points(_NO_KEYPOINTS, crop.roi, hints.points)
    async with tools.encode(crop) as handle:
        if hints.earlier is None:
            points = await _from_points(tools, handle, crop.size, prompt, method)
        else:
            earlier = hints.earlier[crop.roi.slices]
            points = await tools.from_points(handle, prompt.points, prompt.positive, earlier)
    if max_pixels is not None:
        check_reach(image, crop.roi, points, number, max_pixels)
    # A click on a small thing must not be lost to Eq. 6, so gamma is 0.
    return await _fused(_Routes(None, prompt, points, Masks(crop.size)), 0.0, crop, target, lane)


def region(method: Method, box: Box, size: Size) -> Box:
    """The refined box (Eq. 2) in an image of `size` (h, w), as the method has it."""
    return refine(box, size, method.alpha, method.beta, rounding=method.rounding, min_side=method.min_crop)


def _crop(method: Method, image: Image, target: Target, number: int) -> Crop:
    return image.crop(region(method, target.box, image.size), target.box, number)


async def _fused(found: _Routes, gamma: float, crop: Crop, target: Target, lane: Lane | None) -> TargetMask:
    # A replay has no pixels, and counts the turns of the event loop: it does everything there.
    if lane is None or crop.roi.area <= AT_ONCE or not crop.scene.has_pixels:
        return _target_mask(found, gamma, crop, target)
    return await lane.run(_target_mask, found, gamma, crop, target)


def _target_mask(found: _Routes, gamma: float, crop: Crop, target: Target) -> TargetMask:
    """Fuse what the routes gave, within what the target is limited to."""
    roi = crop.roi
    points_mask, text_mask = _union(found.points, roi.size), _union(found.text, roi.size)
    areas = int(np.count_nonzero(points_mask)), int(np.count_nonzero(text_mask))
    fused = fuse(points_mask, text_mask, has_keypoints=len(found.prompt.points) > 0, gamma=gamma)
    del points_mask, text_mask  # each may be as large as the image
    mask = fused.mask if target.within is None else _limited(fused.mask, target.within, target.box, roi)
    score = _score(fused.rule, found.points, found.text)
    parts = found.text if fused.rule in {"both", "text"} else found.points
    notes = (*found.points.notes, *found.text.notes)
    if fused.rule == "both" and not fused.mask.any():
        notes = (
            *notes,
            f"the two routes of target {crop.target} ({target.phrase}) do not overlap, so its mask is empty",
        )
    return TargetMask(
        target=target,
        roi=roi,
        mask=mask,
        instances=instances_of(mask, parts, roi, score),
        areas=Areas(*areas, int(np.count_nonzero(mask))),
        rule=fused.rule,
        score=score,
        keypoints=found.prompt.keypoints,
        similarity=None if found.heat is None else _summary(found.heat),
        notes=notes,
    )


async def _run(tools: Toolbox, method: Method, crop: Crop, phrase: str, hints: Hints) -> _Routes:
    """Both routes of the method side by side, or the one that the variant has."""

    async def by_points(similarity: Task[Heat], handle: Any) -> tuple[Heat, _Prompt, Masks]:
        heat = await similarity
        prompt = _prompt(heat, crop.roi, hints.points, method)
        return heat, prompt, await _from_points(tools, handle, crop.size, prompt, method)

    async with TaskGroup() as beside:
        similarity = beside.create_task(tools.similarity(crop, phrase)) if method.plan.points else None
        async with tools.encode(crop) as handle, TaskGroup() as both:
            route_a = None if similarity is None else both.create_task(by_points(similarity, handle))
            route_b = both.create_task(tools.from_text(handle, phrase)) if method.plan.text else None
    heat, prompt, points = (None, _NO_PROMPT, Masks(crop.size)) if route_a is None else route_a.result()
    return _Routes(heat, prompt, points, Masks(crop.size) if route_b is None else route_b.result())


async def _from_points(tools: Toolbox, handle: Any, size: Size, prompt: _Prompt, method: Method) -> Masks:
    if not prompt.positive.any():
        return Masks(size)
    if method.point_prompt == "together":
        return await tools.from_points(handle, prompt.points, prompt.positive)
    each = [
        await tools.from_points(handle, prompt.points[i : i + 1], prompt.positive[i : i + 1])
        for i in np.flatnonzero(prompt.positive)
    ]
    return _joined(each)


_NO_POINTS = np.zeros((0, 2), dtype=np.int64)
_NO_KEYPOINTS = Keypoints(_NO_POINTS, np.zeros(0), _NO_POINTS, np.zeros(0))
_NO_PROMPT = _Prompt(_NO_KEYPOINTS, _NO_POINTS, np.zeros(0, dtype=np.bool_))


def _prompt(heat: Heat, roi: Box, hints: tuple[PointHint, ...], method: Method) -> _Prompt:
    try:
        if method.picker == "topk-nms":
            k, radius = picking(method.k, method.tile_side, roi.size, (heat.shape[0], heat.shape[1]))
            keypoints = topk_nms(heat, roi.size, k, method.tau, radius, method.heat_norm)
        else:
            keypoints = _stock(heat, roi.size)
    except ToolError as error:
        raise ToolFailed(
            f"no keypoints can be picked: {error}", hint="the stock picker wants a square grid"
        ) from error
    return _with_points(keypoints, roi, hints)


def _with_points(keypoints: Keypoints, roi: Box, hints: tuple[PointHint, ...]) -> _Prompt:
    """The keypoints and the caller's points that lie in the region."""
    inside = [p for p in hints if roi.x1 <= p.x < roi.x2 and roi.y1 <= p.y < roi.y2]
    given = np.array([(p.x - roi.x1, p.y - roi.y1) for p in inside], dtype=np.int64).reshape(-1, 2)
    positive = np.array([p.positive for p in inside], dtype=np.bool_)
    return _Prompt(
        keypoints,
        np.concatenate([keypoints.points, given]),
        np.concatenate([np.ones(len(keypoints), dtype=np.bool_), positive]),
    )


def _stock(heat: Heat, size: Size) -> Keypoints:
    """The released code's choice: positives of the stock picker, or nine points two pixels apart about the centre."""
    picked = threshold_points(heat, size)
    points = picked.points[picked.positive]
    if not len(points):
        (height, width), steps = size, (-2, 0, 2)
        around = [(width // 2 + i, height // 2 + j) for j in steps for i in steps]
        points = np.unique(np.clip(around, 0, (width - 1, height - 1)), axis=0).astype(np.int64)
    cells = points[:, ::-1] * np.array(heat.shape) // np.array(size)
    raw = heat[tuple(cells.T)].astype(np.float64)
    span = float(heat.max()) - float(heat.min())
    return Keypoints(points, (raw - float(heat.min())) / span if span else np.zeros_like(raw), cells, raw)


def _summary(heat: Heat) -> Similarity:
    return Similarity(float(heat.min()), float(heat.max()), float(heat.mean(dtype=np.float64)))


def _union(masks: Masks, size: Size) -> Mask:
    return resize_nearest(masks.union(), size)


def _joined(each: list[Masks]) -> Masks:
    """The masks of several calls as those of one; they all have one size."""
    scored = [masks.scores for masks in each if masks.scores is not None]
    return Masks(
        each[0].size,
        tuple(part for masks in each for part in masks.parts),
        np.concatenate(scored) if len(scored) == len(each) else None,
        tuple(dict.fromkeys(note for masks in each for note in masks.notes)),
    )


def _limited(mask: Mask, within: Mask, box: Box, roi: Box) -> Mask:
    """What a mask of `roi` and one of `box` both hold, in the frame of `roi`."""
    canvas = np.zeros(roi.size, dtype=np.bool_)
    reach = extent(mask)
    common = None if reach is None else box.intersection(reach.offset(roi))
    if common is not None:
        here = common.relative_to(roi).slices
        np.logical_and(mask[here], within[common.relative_to(box).slices], out=canvas[here])
    return canvas


def _score(rule: Rule, points: Masks, text: Masks) -> float | None:
    """The product of what the routes in use report: predicted IoU of A, mean instance score of B."""
    used = {"both": (points, text), "points": (points,), "text": (text,), "none": ()}[rule]
    if not used or any(route.scores is None for route in used):
        return None
    return float(np.prod([route.scores.mean() for route in used if route.scores is not None]))
