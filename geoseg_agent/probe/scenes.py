"""Pictures with known boxes: solid rectangles in pure colours, on grey and over drawn aerial texture.

Sizes are chosen so that, as they are sent, the frames differ: a side of 1000 px would look the same in 0..1000 and
in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np

from geoseg_agent.imagery import Image
from geoseg_agent.samples.texture import fractal
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from geoseg_tools.arrays import Rgb, Size

Style = Literal["plain", "texture"]

COLOURS: Final = {"red": (255, 0, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0)}
SIZES: Final[tuple[Size, ...]] = ((2048, 2048), (1024, 1536), (1600, 896), (480, 704), (777, 1333))
"""(h, w): a square, 3:2, a tall one, a small one that is enlarged, and one whose sides are multiples of nothing."""

_GREY = 128
_SOIL, _GRASS = (150, 133, 104), (86, 104, 66)
_PLACES = 3


class Drawn(NamedTuple):
    """One picture of the probe.

    Attributes:
        image: the picture.
        style: what is behind the rectangles.
        boxes: colour to box, absolute pixels.
    """

    image: Image
    style: Style
    boxes: dict[str, Box]


def draw(seed: int = 0) -> list[Drawn]:
    """Every size in both styles, one rectangle of each colour in each; the same seed draws the same."""
    rng = np.random.default_rng(seed)
    return [_drawn(rng, size, style) for size in SIZES for style in ("plain", "texture")]


def _drawn(rng: np.random.Generator, size: Size, style: Style) -> Drawn:
    pixels = _texture(rng, size) if style == "texture" else np.full((*size, 3), _GREY, dtype=np.uint8)
    boxes = dict(zip(COLOURS, _boxes(rng, size), strict=True))
    for colour, box in boxes.items():
        pixels[box.slices] = COLOURS[colour]
    name = f"{style}-{size[1]}x{size[0]}"
    return Drawn(Image.from_array(pixels, name=name), style, boxes)


def _boxes(rng: np.random.Generator, size: Size) -> list[Box]:
    """One box for each colour, in cells of their own, so that they never touch; 8 to 25 % of each side."""
    cells = rng.choice(_PLACES * _PLACES, size=len(COLOURS), replace=False)
    found = []
    for cell in cells:
        spans = []
        for side, place in ((size[1], cell % _PLACES), (size[0], cell // _PLACES)):
            length = round(side * rng.uniform(0.08, 0.25))
            room = side // _PLACES - length - 8
            low = int(place) * side // _PLACES + 4 + int(rng.integers(0, room + 1))
            spans.append((low, low + length))
        (x1, x2), (y1, y2) = spans
        found.append(Box(x1, y1, x2, y2))
    return found


def _texture(rng: np.random.Generator, size: Size) -> Rgb:
    """(h, w, 3) uint8: soil and grass in patches, with grain; nothing in it is as pure as a rectangle's colour."""
    share = 1 / (1 + np.exp(-2 * fractal(rng, size, max(size) / 8)))
    light = 1 + 0.12 * fractal(rng, size, 6, octaves=2)
    soil, grass = (np.array(colour, dtype=np.float32) for colour in (_SOIL, _GRASS))
    mixed = share[..., None] * soil + (1 - share[..., None]) * grass
    pixels: Rgb = np.clip(mixed * light[..., None], 0, 255).astype(np.uint8)
    return pixels
