"""Targets drawn over the picture that is sent, so that a model can judge its own answer."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from geoseg_agent.drawing import PAPER, Spot, View, colour_of, letters, overlaps, tint
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geoseg_agent.types import TargetMask
    from geoseg_tools.arrays import Mask, Rgb, Size

_LETTERS = 18
"""Height of a number, in units of a line."""

_SEEN = 0.4
"""Share of a picture's pixel that makes it part of a mask: below one half, so that narrow things do not vanish."""


class _Placed(NamedTuple):
    """One target in pixels of the picture."""

    number: int
    box: Box
    target: TargetMask


def marked(picture: Rgb, window: Box, targets: Sequence[TargetMask]) -> Rgb:
    """The picture with each target's mask tinted and outlined in a colour of its own, and its number beside it.

    Numbers count from 1 in the order given. A target outside the window is left out and keeps its number.

    Args:
        picture: (h, w, 3) uint8 RGB that shows `window`.
        window: absolute pixels of the original image.
        targets: masks in the frame of their RoI.

    Returns:
        (h, w, 3) uint8 RGB, a new array.
    """
    canvas = picture.copy()
    size = (canvas.shape[0], canvas.shape[1])
    view = View(1.0, size, max(1.0, math.sqrt(size[0] * size[1]) / 1000))
    placed = [
        found
        for number, target in enumerate(targets, 1)
        if (found := _placed(number, target, window, size)) is not None
    ]
    for number, _, target in placed:
        tint(canvas, target, view, colour_of(number))
    return _numbered(canvas, placed, view)


def _placed(number: int, target: TargetMask, window: Box, size: Size) -> _Placed | None:
    """The target with RoI, mask and box in pixels of the picture, or None where it is not in the window."""
    part = target.roi.intersection(window)
    if part is None:
        return None
    roi = _scaled(part, window, size)
    mask = _resized(target.mask[part.relative_to(target.roi).slices], roi.size)
    box = _scaled(target.box.intersection(window) or part, window, size)
    return _Placed(number, box, replace(target, roi=roi, mask=mask))


def _scaled(box: Box, window: Box, size: Size) -> Box:
    """A box inside the window in pixels of the picture, rounded outward."""
    x1 = (box.x1 - window.x1) * size[1] // window.width
    y1 = (box.y1 - window.y1) * size[0] // window.height
    x2 = -((window.x1 - box.x2) * size[1] // window.width)
    y2 = -((window.y1 - box.y2) * size[0] // window.height)
    return Box(x1, y1, x2, y2)


def _resized(mask: Mask, size: Size) -> Mask:
    values = np.multiply(mask, 255, dtype=np.uint8)
    return np.asarray(cv2.resize(values, size[::-1], interpolation=cv2.INTER_AREA) > 255 * _SEEN)


def _numbered(canvas: Rgb, placed: list[_Placed], view: View) -> Rgb:
    """The numbers at their boxes, largest box first: where they cover no other number, if there is room."""
    picture = Pillow.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    font = letters(_LETTERS * view.unit, bold=True)
    pad = round(4 * view.unit)
    height = float(sum(font.getmetrics()) + pad)
    taken: list[Spot] = []
    for number, box, _ in sorted(placed, key=lambda item: -item.box.area):
        width = font.getlength(str(number)) + 2 * pad
        spots = [spot for spot in _spots(box, width, height) if _fits(spot, view.size)]
        free = (spot for spot in spots if not any(overlaps(spot, other) for other in taken))
        spot = next(free, spots[0] if spots else (0.0, 0.0, width, height))
        draw.rounded_rectangle(spot, radius=pad, fill=colour_of(number))
        draw.text((spot[0] + pad, spot[1] + height / 2), str(number), font=font, fill=PAPER, anchor="lm")
        taken.append(spot)
    return np.array(picture, dtype=np.uint8)


def _spots(box: Box, width: float, height: float) -> Iterator[Spot]:
    """Where a number may stand, best first: outside the box, for inside it would hide what it names."""
    outside = ((box.x1, box.y1 - height), (box.x1, box.y2), (box.x2, box.y1), (box.x1 - width, box.y1))
    corners = ((box.x2 - width, box.y1 - height), (box.x2 - width, box.y2), (box.x2, box.y2 - height))
    inside = (
        (box.x1, box.y1),
        (box.x2 - width, box.y2 - height),
        (box.x1, box.y2 - height),
        (box.x2 - width, box.y1),
    )
    for x, y in (*outside, *corners, *inside):
        yield x, y, x + width, y + height


def _fits(spot: Spot, size: Size) -> bool:
    return spot[0] >= 0 and spot[1] >= 0 and spot[2] <= size[1] and spot[3] <= size[0]
