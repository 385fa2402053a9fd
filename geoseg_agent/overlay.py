"""The answer as a picture for people: the image, its targets in colour, and a caption that says where it comes from.

The picture is made at its final resolution: small images are enlarged by a whole factor, large ones reduced, so that
lines and letters have the same weight everywhere. `mask.png` is the exact result; this is not.
"""

from __future__ import annotations

import importlib.util
import io
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_agent.segmentation import Segmentation
    from geoseg_agent.types import TargetMask
    from geoseg_tools.arrays import Mask, Rgb, Size
    from geoseg_tools.geometry import Box

SMALLEST_SIDE = 720
"""Images whose longer side is shorter are enlarged, so that labels do not cover them."""

LARGEST_SIDE = 4096
"""Longest side of the image part of a saved overlay: 16 megapixels at most."""

CAPTION_WIDTH = 360
"""The caption is at least this wide, in units of a line."""

CAPTION_LINES = 3
"""Longer queries are cut."""

MANY = 6
"""More targets than this are labelled with their numbers, as in the vector files, and named in the caption."""

_COLOURS = (
    (255, 196, 0),
    (0, 200, 255),
    (255, 82, 140),
    (126, 231, 90),
    (186, 130, 255),
    (255, 126, 41),
    (64, 224, 182),
    (255, 240, 150),
)
_FILL = 0.36
_NODATA = (44, 46, 52)
_PAPER = (22, 24, 29)
_INK = (240, 242, 245)
_FAINT = (164, 170, 180)


class _View(NamedTuple):
    """Picture pixels per image pixel, (h, w) of the picture, and the width of a line in it."""

    scale: float
    size: Size
    unit: float


def overlay_png(answer: Segmentation, max_side: int = 1024) -> bytes:
    """The overlay as PNG bytes, the longer side of the image about `max_side` pixels at most."""
    buffer = io.BytesIO()
    overlay(answer, max_side=max_side).save(buffer, "PNG")
    return buffer.getvalue()


def overlay(answer: Segmentation, max_side: int = LARGEST_SIDE) -> Pillow.Image:
    """The overlay as a Pillow RGB image, the longer side of the image about `max_side` pixels at most."""
    view = _view(answer.image.size, max_side)
    canvas = _base(answer, view)
    for number, target in enumerate(answer.targets):
        _tint(canvas, target, view, _colour(number))
    picture = Pillow.fromarray(canvas)
    draw = ImageDraw.Draw(picture, "RGBA")
    few = len(answer.targets) <= MANY
    for number, target in enumerate(answer.targets):
        _frame(draw, target.box, view, _colour(number), corners=few)
    names = [target.phrase if few else str(number) for number, target in enumerate(answer.targets, 1)]
    _labels(draw, answer.targets, names, view)
    return _captioned(picture, answer, view)


def _colour(number: int) -> tuple[int, int, int]:
    return _COLOURS[number % len(_COLOURS)]


def _view(size: Size, max_side: int) -> _View:
    longest = max(size)
    scale = max_side / longest
    if scale >= 1:
        scale = min(scale // 1, -(-SMALLEST_SIDE // longest)) if longest < SMALLEST_SIDE else 1.0
    height, width = (max(1, round(side * scale)) for side in size)
    return _View(scale, (height, width), max(1.0, max(height, width) / 1000))


def _base(answer: Segmentation, view: _View) -> Rgb:
    scene = answer.image.scene
    height, width = view.size
    if not scene.has_pixels:
        return np.full((height, width, 3), 96, dtype=np.uint8)
    how = cv2.INTER_AREA if view.scale < 1 else cv2.INTER_CUBIC
    canvas = cv2.resize(scene.pixels, (width, height), interpolation=how) if view.scale != 1 else scene.pixels.copy()
    if scene.valid is not None:
        seen = cv2.resize(scene.valid.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        canvas[seen == 0] = _NODATA
    return np.asarray(canvas, dtype=np.uint8)


def _tint(canvas: Rgb, target: TargetMask, view: _View, colour: tuple[int, int, int]) -> None:
    """Fill the target's mask with its colour, and draw its outline with a dark halo. Changes `canvas`."""
    (top, left), mask = _scaled(target.mask, target.roi, view)
    if not mask.any():
        return
    part = canvas[top : top + mask.shape[0], left : left + mask.shape[1]]
    part[mask] = (part[mask] * (1 - _FILL) + np.array(colour) * _FILL).astype(np.uint8)
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    line = max(1, round(1.6 * view.unit))
    # Around specks a strong outline would be larger than they are, and bury what lies between them.
    strong = [contour for contour in contours if cv2.contourArea(contour) >= (8 * line) ** 2]
    halo = part.copy()
    cv2.drawContours(halo, strong, -1, _PAPER, line + 2 * max(1, round(view.unit)), cv2.LINE_AA)
    part[:] = cv2.addWeighted(halo, 0.55, part, 0.45, 0)
    cv2.drawContours(part, contours, -1, colour, 1, cv2.LINE_8)
    cv2.drawContours(part, strong, -1, colour, line, cv2.LINE_AA)


def _scaled(mask: Mask, roi: Box, view: _View) -> tuple[tuple[int, int], Mask]:
    """The mask in picture pixels and the row and column where it starts; nearest, by majority where reduced."""
    top, left = int(roi.y1 * view.scale), int(roi.x1 * view.scale)
    bottom = min(view.size[0], int(np.ceil(roi.y2 * view.scale)))
    right = min(view.size[1], int(np.ceil(roi.x2 * view.scale)))
    if view.scale == 1:
        return (top, left), mask
    side = max(1, round(1 / view.scale))
    values = cv2.blur(mask.astype(np.float32), (side, side), borderType=cv2.BORDER_CONSTANT)
    rows = _sources(top, bottom, roi.y1, roi.y2, view.scale)
    columns = _sources(left, right, roi.x1, roi.x2, view.scale)
    # Below one half, so that things a pixel wide do not vanish from the picture.
    return (top, left), values[np.ix_(rows, columns)] > 0.4


def _sources(start: int, stop: int, low: int, high: int, scale: float) -> NDArray[np.int64]:
    centres = ((np.arange(start, stop) + 0.5) / scale).astype(np.int64)
    return np.clip(centres, low, high - 1) - low


def _frame(draw: ImageDraw.ImageDraw, box: Box, view: _View, colour: tuple[int, int, int], *, corners: bool) -> None:
    """The target's box: a hairline one can see through, with strong corners where there is room for them."""
    x1, y1, x2, y2 = (round(value * view.scale) for value in box)
    x2, y2 = max(x1 + 1, x2 - 1), max(y1 + 1, y2 - 1)
    draw.rectangle((x1, y1, x2, y2), outline=(*colour, 230 if corners else 110), width=max(1, round(0.8 * view.unit)))
    if not corners:
        return
    thick = max(2, round(2.4 * view.unit))
    arm = round(min(14 * view.unit, (x2 - x1) / 4, (y2 - y1) / 4))
    for x, dx in ((x1, 1), (x2, -1)):
        for y, dy in ((y1, 1), (y2, -1)):
            draw.line((x, y, x + dx * arm, y), fill=colour, width=thick)
            draw.line((x, y, x, y + dy * arm), fill=colour, width=thick)


def _labels(draw: ImageDraw.ImageDraw, targets: tuple[TargetMask, ...], names: list[str], view: _View) -> None:
    """Each name at its box, largest box first; one that would cover another moves, or is left out."""
    font = _font(14 * view.unit, bold=True)
    pad = round(4 * view.unit)
    taken: list[tuple[float, float, float, float]] = []
    height = sum(font.getmetrics()) + pad
    for number, target in sorted(enumerate(targets), key=lambda item: -item[1].box.area):
        text = _shortened(names[number], font, max(view.size[1] * 0.6, font.getlength("00")))
        width = font.getlength(text) + 2 * pad
        x1, y1, _, y2 = (value * view.scale for value in target.box)
        x = max(0.0, min(x1, view.size[1] - width))
        for y in (y1 - height, y1, y2 - height, y2):
            spot = (x, y, x + width, y + height)
            if 0 <= y <= view.size[0] - height and not any(_overlap(spot, other) for other in taken):
                draw.rounded_rectangle(spot, radius=pad, fill=_colour(number))
                draw.text((x + pad, y + height / 2), text, font=font, fill=_PAPER, anchor="lm")
                taken.append(spot)
                break


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _captioned(picture: Pillow.Image, answer: Segmentation, view: _View) -> Pillow.Image:
    """The picture with some lines of text below it: the query, and what is behind the answer."""
    pad = round(12 * view.unit)
    title, small = _font(17 * view.unit, bold=True), _font(13 * view.unit, bold=False)
    # A strip of an image would leave no room for words.
    width = max(picture.width, round(CAPTION_WIDTH * view.unit))
    room = width - 2 * pad
    lines = [(text, title, _INK) for text in _wrapped(answer.query, title, room)]
    lines.append((_shortened("   ·   ".join(_facts(answer)), small, room), small, _FAINT))
    height = sum(round(1.15 * sum(font.getmetrics())) for _, font, _ in lines)
    sheet = Pillow.new("RGB", (width, picture.height + height + 2 * pad), _PAPER)
    sheet.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(sheet)
    y = picture.height + pad
    for text, font, colour in lines:
        draw.text((pad, y), text, font=font, fill=colour)
        y += round(1.15 * sum(font.getmetrics()))
    return sheet


def _facts(answer: Segmentation) -> list[str]:
    count = len(answer.targets)
    status = answer.status.replace("_", " ")
    found = f"{status}: {count} target{'' if count == 1 else 's'}" if count else status
    phrases = list(dict.fromkeys(target.phrase for target in answer.targets))
    named = [", ".join(phrases)] if count > MANY else []
    sure = "no confidence given" if answer.confidence is None else f"confidence {answer.confidence:.2f}"
    return [found, sure, answer.engine, *named, answer.image.name]


def _wrapped(text: str, font: ImageFont.FreeTypeFont, room: float) -> list[str]:
    """`text` in up to `CAPTION_LINES` lines; what is left over is cut."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= room or not lines[-1] or len(lines) == CAPTION_LINES:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_shortened(line, font, room) for line in lines]


def _shortened(text: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    if font.getlength(text) <= room:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle] + "…") <= room else (low, middle - 1)
    return text[:low].rstrip() + "…"


def _font(size: float, *, bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib ships and which knows more scripts than Pillow's own font."""
    return _loaded(max(9, round(size)), "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")


@lru_cache(maxsize=32)
def _loaded(size: int, name: str) -> ImageFont.FreeTypeFont:
    spec = importlib.util.find_spec("matplotlib")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    return ImageFont.truetype(str(folder / "mpl-data" / "fonts" / "ttf" / name), size)
