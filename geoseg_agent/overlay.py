"""The answer as a picture for people: the image, its targets in colour, and a caption that says where it comes from.

The picture is made at its final resolution: small images are enlarged by a whole factor, large ones reduced, so that
lines and letters have the same weight everywhere. `mask.png` is the exact result; this is not.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from geoseg_agent.drawing import PAPER, Spot, View, colour_of, letters, overlaps, tint
from geoseg_tools.geometry import whole

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

    from geoseg_agent.imagery import Image
    from geoseg_agent.segmentation import Segmentation
    from geoseg_agent.types import TargetMask
    from geoseg_tools.arrays import Rgb, Size
    from geoseg_tools.geometry import Box

SMALLEST_SIDE = 720
"""Images whose longer side is shorter are enlarged, so that labels do not cover them."""

LARGEST_SIDE = 4096
"""Longest side of the image part of a saved overlay: 16 megapixels at most."""

OPENED_SIDE = 2048
"""The same where the image is opened and not read: overviews have that much at hand, and it is drawn in a second."""

CAPTION_WIDTH = 360
"""The caption is at least this wide, in units of a line."""

CAPTION_LINES = 3
"""Longer queries are cut."""

MANY = 6
"""More targets than this are labelled with their numbers, as in the vector files, and named in the caption."""

_NODATA = (44, 46, 52)
_INK = (240, 242, 245)
_FAINT = (164, 170, 180)


def side_of(image: Image) -> int:
    """The longest side, in pixels, of a saved overlay of an image."""
    return OPENED_SIDE if image.opened else LARGEST_SIDE


def overlay_png(answer: Segmentation, max_side: int = 1024) -> bytes:
    """The overlay as PNG bytes, the longer side of the image about `max_side` pixels at most."""
    buffer = io.BytesIO()
    overlay(answer, max_side=max_side).save(buffer, "PNG")
    return buffer.getvalue()


def overlay(answer: Segmentation, max_side: int = LARGEST_SIDE) -> Pillow.Image:
    """The overlay as a Pillow RGB image, the longer side of the image about `max_side` pixels at most."""
    view = _view(answer.image.size, max_side)
    canvas = _base(answer, view)
    for number, target in enumerate(answer.targets, start=1):
        tint(canvas, target, view, colour_of(number))
    picture = Pillow.fromarray(canvas)
    draw = ImageDraw.Draw(picture, "RGBA")
    few = len(answer.targets) <= MANY
    for number, target in enumerate(answer.targets, start=1):
        _frame(draw, target.box, view, colour_of(number), corners=few)
    names = [target.phrase if few else str(number) for number, target in enumerate(answer.targets, 1)]
    _labels(draw, answer.targets, names, view)
    return _captioned(picture, answer, view)


def _view(size: Size, max_side: int) -> View:
    longest = max(size)
    scale = max_side / longest
    if scale >= 1:
        scale = min(scale // 1, -(-SMALLEST_SIDE // longest)) if longest < SMALLEST_SIDE else 1.0
    height, width = (max(1, round(side * scale)) for side in size)
    return View(scale, (height, width), max(1.0, max(height, width) / 1000))


def _base(answer: Segmentation, view: View) -> Rgb:
    scene = answer.image.scene
    height, width = view.size
    if not scene.has_pixels:
        return np.full((height, width, 3), 96, dtype=np.uint8)
    how = cv2.INTER_AREA if view.scale < 1 else cv2.INTER_CUBIC
    pixels, valid = scene.view(whole(scene.size), view.size)
    canvas = cv2.resize(pixels, (width, height), interpolation=how) if view.scale != 1 else pixels.copy()
    if valid is not None:
        seen = cv2.resize(valid.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        canvas[seen == 0] = _NODATA
    return np.asarray(canvas, dtype=np.uint8)


def _frame(draw: ImageDraw.ImageDraw, box: Box, view: View, colour: tuple[int, int, int], *, corners: bool) -> None:
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


def _labels(draw: ImageDraw.ImageDraw, targets: tuple[TargetMask, ...], names: list[str], view: View) -> None:
    """Each name at its box, largest box first; one that would cover another moves, or is left out."""
    font = letters(14 * view.unit, bold=True)
    pad = round(4 * view.unit)
    taken: list[Spot] = []
    height = sum(font.getmetrics()) + pad
    for number, target in sorted(enumerate(targets, start=1), key=lambda item: -item[1].box.area):
        text = _shortened(names[number - 1], font, max(view.size[1] * 0.6, font.getlength("00")))
        width = font.getlength(text) + 2 * pad
        x1, y1, _, y2 = (value * view.scale for value in target.box)
        x = max(0.0, min(x1, view.size[1] - width))
        for y in (y1 - height, y1, y2 - height, y2):
            spot = (x, y, x + width, y + height)
            if 0 <= y <= view.size[0] - height and not any(overlaps(spot, other) for other in taken):
                draw.rounded_rectangle(spot, radius=pad, fill=colour_of(number))
                draw.text((x + pad, y + height / 2), text, font=font, fill=PAPER, anchor="lm")
                taken.append(spot)
                break


def _captioned(picture: Pillow.Image, answer: Segmentation, view: View) -> Pillow.Image:
    """The picture with some lines of text below it: the query, and what is behind the answer."""
    pad = round(12 * view.unit)
    title, small = letters(17 * view.unit, bold=True), letters(13 * view.unit, bold=False)
    # A strip of an image would leave no room for words.
    width = max(picture.width, round(CAPTION_WIDTH * view.unit))
    room = width - 2 * pad
    lines = [(text, title, _INK) for text in _wrapped(answer.query, title, room)]
    lines.append((_shortened("   ·   ".join(_facts(answer)), small, room), small, _FAINT))
    height = sum(round(1.15 * sum(font.getmetrics())) for _, font, _ in lines)
    sheet = Pillow.new("RGB", (width, picture.height + height + 2 * pad), PAPER)
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


def _wrapped(text: str, font: FreeTypeFont, room: float) -> list[str]:
    """`text` in up to `CAPTION_LINES` lines; what is left over is cut."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= room or not lines[-1] or len(lines) == CAPTION_LINES:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_shortened(line, font, room) for line in lines]


def _shortened(text: str, font: FreeTypeFont, room: float) -> str:
    if font.getlength(text) <= room:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle] + "…") <= room else (low, middle - 1)
    return text[:low].rstrip() + "…"
