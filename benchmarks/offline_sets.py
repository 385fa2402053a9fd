"""What the offline benchmark measures on and by: labelled pairs, wrong boxes, the next click, means over sources."""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from functools import lru_cache
from math import inf
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import PIL.Image

from geoseg_agent import Image, read_image
from geoseg_tools import Box

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

ALONE = 3
"""Most single boxes of one pair that are measured."""

FITS = 0.8
"""Least IoU of a box with the extent of what it holds, for it to be the box of that thing."""

SHAPES = ("jitter", "shift", "loose", "tight")


class Pair(NamedTuple):
    """One image-query pair, at the size that is measured."""

    id: str
    source: str
    query: str
    phrase: str
    image: Image
    truth: Mask
    boxes: tuple[Box, ...]


class Row(NamedTuple):
    """One figure: a pair answered in one way, with whatever else is known of it."""

    way: str
    id: str
    source: str
    iou: float
    more: Mapping[str, float] = {}


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


def load(folder: Path, record: Mapping, side: int | None = None) -> Pair:
    """A pair at full size, or reduced to a long side."""
    image = _picture(folder / record["image"], side)
    truth = np.asarray(PIL.Image.open(folder / record["mask"])) > 0
    scale_y, scale_x = image.size[0] / truth.shape[0], image.size[1] / truth.shape[1]
    if truth.shape != image.size:
        truth = _resized(truth, image.size)
    scaled = [(x1 * scale_x, y1 * scale_y, x2 * scale_x, y2 * scale_y) for x1, y1, x2, y2 in record["boxes"]]
    boxes = tuple(fitted(box, image.size) for box in scaled)
    return Pair(record["id"], record["source"], record["query"], record["phrase"], image, truth, boxes)


@lru_cache(maxsize=2)
def _picture(path: Path, side: int | None) -> Image:
    image = read_image(path)
    scale = (side or inf) / max(image.size)
    return image if scale >= 1 else resized(image, scale)


def resized(image: Image, scale: float) -> Image:
    """The image `scale` times as large."""
    height, width = (max(1, round(scale * length)) for length in image.size)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    pixels = cv2.resize(image.pixels, (width, height), interpolation=way)
    valid = None if image.valid is None else _resized(image.valid, (height, width))
    return Image.from_array(pixels, valid=valid, name=image.name)


def _resized(mask: Mask, size: tuple[int, int]) -> Mask:
    shrunk = cv2.resize(mask.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return shrunk >= 0.5


def fitted(box: Iterable[float], size: tuple[int, int]) -> Box:
    """The nearest whole box inside of the image, at least one pixel wide and high."""
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    x1, y1 = min(max(x1, 0), size[1] - 1), min(max(y1, 0), size[0] - 1)
    return Box(x1, y1, min(max(x2, x1 + 1), size[1]), min(max(y2, y1 + 1), size[0]))


def iou(a: Mask, b: Mask) -> float:
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 0.0


def filled(boxes: Iterable[Box], size: tuple[int, int]) -> Mask:
    canvas = np.zeros(size, dtype=bool)
    for box in boxes:
        canvas[box.slices] = True
    return canvas


def shaken(pair: Pair, shape: str, share: float, draw: int) -> tuple[Box, ...]:
    """The pair's boxes with every side moved by up to `share` of its length, inside of the image.

    "jitter" moves each of the four sides on its own, "shift" opposite sides alike, "loose" all outward and "tight"
    all inward. The same pair and draw give the same numbers for every share, so that shares are compared in pairs.
    """
    rng = np.random.default_rng([zlib.crc32(pair.id.encode()), SHAPES.index(shape), draw])
    out = []
    for box in pair.boxes:
        moved = share * rng.uniform(-1, 1, 4)
        if shape == "shift":
            moved[2:] = moved[:2]
        elif shape != "jitter":
            moved = np.abs(moved) * (-1, -1, 1, 1) * (1 if shape == "loose" else -1)
        sides = np.array([box.width, box.height] * 2)
        out.append(fitted(np.array([box.x1, box.y1, box.x2, box.y2]) + moved * sides, pair.image.size))
    return tuple(out)


def singles(pair: Pair, most: int = ALONE) -> list[tuple[Box, Mask]]:
    """Boxes that hold whole components of the mask and fit them, each with those components; the first `most`."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(pair.truth.astype(np.uint8), connectivity=8)
    spots = np.concatenate([stats[:, :2], stats[:, :2] + stats[:, 2:4]], axis=1)
    found = []
    for box in pair.boxes:
        held = (spots[:, :2] >= (box.x1 - 1, box.y1 - 1)) & (spots[:, 2:] <= (box.x2 + 1, box.y2 + 1))
        keep = held.all(axis=1)
        keep[0] = False
        if not keep.any():
            continue
        extent = Box(*map(int, [*spots[keep, :2].min(axis=0), *spots[keep, 2:].max(axis=0)]))
        common = box.intersection(extent)
        shared = common.area if common else 0
        if shared >= FITS * (box.area + extent.area - shared):
            found.append((box, keep[labels]))
        if len(found) == most:
            break
    return found


def largest(mask: Mask) -> Mask:
    """The largest component of a mask."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return labels == 1 + int(np.argmax(stats[1:, 4]))


def next_click(truth: Mask, found: Mask) -> tuple[int, int, bool] | None:
    """Where somebody clicks next, and whether to add: the point deepest inside of the largest region of error.

    What is missing and what is too much are regions of their own. None where nothing is wrong.
    """
    best, size, adds = None, 0, True
    for wrong, positive in ((truth & ~found, True), (found & ~truth, False)):
        _, labels, stats, _ = cv2.connectedComponentsWithStats(wrong.astype(np.uint8), connectivity=8)
        if len(stats) < 2:
            continue
        number = 1 + int(np.argmax(stats[1:, 4]))
        if stats[number, 4] > size:
            x, y, w, h, size = (int(value) for value in stats[number])
            best, adds = (x, y, labels[y : y + h, x : x + w] == number), positive
    if best is None:
        return None
    x, y, region = best
    depth = cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    row, column = np.unravel_index(int(np.argmax(depth[1:-1, 1:-1])), region.shape)
    return x + int(column), y + int(row), adds


def clicks_needed(curve: Sequence[float], goal: float = 0.8) -> int:
    """Clicks until the IoU first reaches the goal; all of them where it never does."""
    return next((count for count, value in enumerate(curve, 1) if value >= goal), len(curve))


def source_means(rows: Iterable[Row]) -> dict[str, float]:
    """Source to the mean of its pairs, a pair with several figures counting once."""
    parts: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        parts[row.source][row.id].append(row.iou)
    return {name: fmean(fmean(values) for values in part.values()) for name, part in parts.items()}


def over_sources(rows: Iterable[Row]) -> float:
    return fmean(source_means(rows).values())


class Cost(NamedTuple):
    """What refusing to answer under a threshold does.

    Attributes:
        refused: answers under the threshold.
        good: how many good ones there are.
        lost: good ones among the refused.
        kept: mean IoU of what is answered.
        poor: share under 0.2 of what is answered.
    """

    refused: int
    good: int
    lost: int
    kept: float
    poor: float


def abstaining(rows: Sequence[Row], threshold: float, good: float = 0.5) -> Cost:
    refused = [row for row in rows if row.more["confidence"] < threshold]
    kept = [row.iou for row in rows if row.more["confidence"] >= threshold] or [0.0]
    fine = sum(row.iou >= good for row in rows)
    lost = sum(row.iou >= good for row in refused)
    return Cost(len(refused), fine, lost, fmean(kept), fmean(value < 0.2 for value in kept))


def coverage(rows: Sequence[Row], share: float) -> list[Row]:
    """The surest share of the answers."""
    ranked = sorted(rows, key=lambda row: -row.more["confidence"])
    return ranked[: max(1, round(share * len(rows)))]
