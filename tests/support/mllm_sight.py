"""Eyes of the test server: it decodes the picture it was sent and finds solid rectangles by the colour asked for."""

import base64
import binascii
import functools
import io
import re

import cv2
import numpy as np
import PIL.Image

# Pure colours, which ground seen from above does not have; white only over ground that is darker all around.
PALETTE = {
    "red": ((255, 0, 0), (220, 30, 30)),
    "green": ((0, 255, 0), (0, 160, 0), (30, 180, 60)),
    "blue": ((0, 0, 255), (30, 60, 220)),
    "yellow": ((255, 255, 0), (250, 220, 30)),
    "magenta": ((255, 0, 255), (230, 40, 200)),
    "cyan": ((0, 255, 255), (40, 210, 220)),
    "orange": ((255, 128, 0), (255, 160, 30)),
    "purple": ((128, 0, 128), (130, 40, 180)),
    "white": ((255, 255, 255),),
}
ALIASES = {"violet": "purple", "pink": "magenta", "lime": "green", "turquoise": "cyan"}
# Colours nobody paints with here, which a query may still ask for: known words, never found.
STRANGERS = ("black", "grey", "gray", "brown", "beige", "teal", "navy", "olive", "gold", "silver")

_WORDS = re.compile(r"\b(" + "|".join([*PALETTE, *ALIASES, *STRANGERS]) + r")\b", re.IGNORECASE)
_TOLERANCE = 60.0  # RGB distance from the nearest shade of a colour that still counts as it
_SMALLEST = 16  # pixels of a rectangle
_SOLID = 0.8  # share of its bounding box that a rectangle fills


def colours_of(text):
    """The colour words of a text in order, each once, by the name of the palette."""
    words = (word.lower() for word in _WORDS.findall(text))
    return list(dict.fromkeys(ALIASES.get(word, word) for word in words))


@functools.lru_cache(maxsize=32)
def decode(url):
    """The picture (h, w, 3) uint8 of a data URI; ValueError where it is none."""
    head, _, data = url.partition(",")
    if not re.fullmatch(r"data:image/[a-z]+;base64", head):
        raise ValueError("invalid image input")
    try:
        with PIL.Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as picture:
            return np.asarray(picture.convert("RGB"))
    except (binascii.Error, OSError) as error:
        raise ValueError("invalid image input") from error


@functools.lru_cache(maxsize=256)
def find(url, colour):
    """The rectangles of a colour in the picture, largest first: x1, y1, x2, y2 as floats in its pixels, half-open.

    Edges are found to a fraction of a pixel, so that resizing and compression cost less than one.
    """
    pixels = decode(url)
    shades = PALETTE.get(colour)
    if shades is None:
        return ()
    mask = _distance(pixels, shades) < _TOLERANCE
    alike = pixels[mask]
    others = [shade for other, theirs in PALETTE.items() if other != colour for shade in theirs]
    mask[mask] = _distance(alike, shades) <= _distance(alike, others)
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    solid = [
        stat
        for stat in stats[1:count]
        if stat[4] >= _SMALLEST and min(stat[2], stat[3]) >= 3 and stat[4] >= _SOLID * stat[2] * stat[3]
    ]
    solid.sort(key=lambda stat: -stat[4])
    floor = 0.02 * solid[0][4] if solid else 0  # specks of texture beside what was drawn
    return tuple(_sharpen(pixels, stat[:4]) for stat in solid if stat[4] >= floor)


def _distance(pixels, shades):
    """RGB distance of (..., 3) uint8 pixels from the nearest of the shades, (...) float32."""
    planes = np.moveaxis(pixels, -1, 0).astype(np.float32)
    squares = [sum(np.square(p - np.float32(v)) for p, v in zip(planes, shade, strict=True)) for shade in shades]
    return np.sqrt(np.minimum.reduce(squares))


def _sharpen(pixels, stat):
    """The rectangle with each edge where half of the way from its colour to what lies beyond is gone."""
    x, y, w, h = (int(value) for value in stat)
    x1, x2 = _ends(pixels[y + h // 4 : y + h - h // 4], x, x + w)
    y1, y2 = _ends(pixels[:, x + w // 4 : x + w - w // 4].transpose(1, 0, 2), y, y + h)
    return (x1, y1, x2, y2)


def _ends(lines, first, last):
    """Both ends along axis 1 of (n, length, 3) lines that cross the rectangle, which fills `first`..`last`."""
    core = np.median(lines[:, (first + last) // 2].astype(np.float32), axis=0)
    length = lines.shape[1]

    def reach(inner, step):
        """Pixels that the colour covers from the sure one `inner` outwards, partly covered ones in part."""
        path = [inner + step * i for i in range(7)]
        path = [place for place in path if 0 <= place < length]
        if len(path) < 3:
            return float(len(path))
        away = np.sqrt(np.square(lines[:, path].astype(np.float32) - core).sum(axis=2))
        beyond = np.maximum(away[:, -2:].mean(axis=1, keepdims=True), 1.0)
        covered = 1.0 - np.clip(np.median(away / beyond, axis=0), 0.0, 1.0)
        covered = np.where(np.minimum.accumulate(covered) > 0.08, covered, 0.0)
        if len(path) < 7 and covered[-1] == 0 and np.median(away[:, -1]) < 30:
            return float(len(path))  # solid up to the border of the picture
        return float(np.where(covered > 0.92, 1.0, covered).sum())

    inner = min(2, (last - first) // 2)
    low, high = first + inner, last - 1 - inner
    return low + 1 - reach(low, -1), high + reach(high, 1)
