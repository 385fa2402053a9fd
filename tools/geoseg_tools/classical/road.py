"""Evidence of roads: long straight grey seeds, a colour model learnt from them, long parts of what it covers."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from geoseg_tools.classical import ops
from geoseg_tools.classical.ops import sig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask
    from geoseg_tools.classical.features import Features
    from geoseg_tools.classical.ops import Map

_DIRECTIONS = 12
_STEP = 9


class Roads(NamedTuple):
    """Evidence of roads, and of everything paved: roads, parking areas, yards. Both (h, w) float32, 0..1."""

    road: Map
    paved: Map


def roads(f: Features, water: Map, veg: Map) -> Roads:
    """Evidence of roads; zero everywhere when no straight grey line is long enough to start from."""
    nothing = np.zeros(f.size, np.float32)
    free = f.valid & (water <= 0.3) & (veg <= 0.6)
    if free.sum() < 100:
        return Roads(nothing, nothing)
    seeds = _seeds(_greyness(f, free), f)
    if seeds.sum() < 0.001 * f.count:
        return Roads(nothing, nothing)
    alike = sig((7 - _mahalanobis(f, seeds)) / 1.5) * free
    mask = ops.closed(ops.opened(alike > 0.5, 1), 1)
    lines = straight(mask, 31)
    lines = ops.closed(ops.dilate(lines, 3) & mask | lines, 3) & (water <= 0.3) & f.valid
    road = ops.blur(lines, 0.8) * f.valid
    wide = np.where(ops.opened(alike > 0.5, 5), np.float32(0.7), np.float32(0)) * f.valid
    return Roads(road, np.maximum(road, wide))


def _greyness(f: Features, free: Mask) -> Map:
    light = np.clip(ops.otsu(f.lightness[free], 45.0), 30.0, 62.0)
    neutral = sig((14 - f.chroma) / 2.5)
    asphalt = sig((26 - f.lightness) / 2) * sig((f.green_red + 2) / 1.5)
    grey = np.maximum(neutral, asphalt) * sig((light - f.lightness) / 3) * sig((0.012 - f.exg) / 0.01)
    out: Map = grey * free
    return out


def _seeds(grey: Map, f: Features) -> Mask:
    mask = ops.opened(grey > 0.5, 1)
    seeds = np.zeros(f.size, np.bool_)
    for length in (91, 61, 41):
        seeds = straight(mask, length)
        if seeds.sum() >= 0.004 * f.count:
            break
    return seeds


def straight(mask: Mask, length: int) -> Mask:
    """The long thin parts of a mask: what a straight line of `length` pixels fits into, without broad areas."""
    thin = mask & ~ops.dilate(ops.opened(mask, 30), 6)
    lines = np.zeros_like(mask)
    if min(thin.shape) < 2 or not thin.any():
        return lines
    source = thin.view(np.uint8)
    for direction in range(_DIRECTIONS):
        short, sparse = _line(length, direction)
        kept = cv2.erode(cv2.erode(source, short), sparse)
        if kept.any():
            # Erosion and dilation by a symmetric element in two factors; the product is one opening.
            lines |= cv2.dilate(cv2.dilate(kept, sparse), short).view(np.bool_)
    lines &= thin
    found = ops.components(lines)
    extent = (found.box[:, 2:] - found.box[:, :2]).max(axis=1)
    inradius = np.maximum(found.peak(ops.distance(lines)), 1e-3)
    return found.only((extent > 0.12 * max(mask.shape)) & (found.area / (4 * inradius**2) > 5))


@lru_cache(maxsize=64)
def _line(length: int, direction: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two elements whose product is a line: a short segment, and points one segment apart."""
    angle = math.pi * direction / _DIRECTIONS
    reach = (length - 1) // 2
    half = _STEP // 2
    short = _element([(t * math.cos(angle), t * math.sin(angle)) for t in np.linspace(-half, half, 4 * _STEP)])
    steps = max(1, math.ceil((reach - half) / _STEP))
    far = np.linspace(-(reach - half), reach - half, 2 * steps + 1)
    return short, _element([(t * math.cos(angle), t * math.sin(angle)) for t in far])


def _element(points: list[tuple[float, float]]) -> NDArray[np.uint8]:
    cells = np.rint(np.array(points)).astype(int)
    reach = int(np.abs(cells).max())
    out = np.zeros((2 * reach + 1, 2 * reach + 1), np.uint8)
    out[cells[:, 1] + reach, cells[:, 0] + reach] = 1
    return out


def _mahalanobis(f: Features, seeds: Mask) -> Map:
    """(h, w) squared distance to the colour of the seeds, without their most unusual fifth."""
    inside = f.lab[seeds]
    median = np.median(inside, axis=0)
    off = np.abs(inside - median).sum(axis=1)
    kept = inside[off <= np.percentile(off, 80)]
    spread = np.cov(kept.T.astype(np.float64)) if len(kept) > 3 else np.zeros((3, 3))
    inverse = np.linalg.inv(spread + np.diag([12.0, 0.8, 0.8])).astype(np.float32)
    delta = f.lab - kept.mean(axis=0)
    part = (delta @ inverse) * delta
    # In the order of numpy's sum over the last axis, which is slow where that is short.
    out: Map = part[..., 0] + (part[..., 1] + part[..., 2])
    return out
