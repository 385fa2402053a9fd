"""What every picture with targets on it is drawn with: a colour for each target, tinted masks, and letters."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import cv2
import numpy as np
from PIL import ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_agent.types import TargetMask
    from geoseg_tools.arrays import Mask, Rgb, Size
    from geoseg_tools.geometry import Box

_COLOURS: Final = (
    (255, 196, 0),
    (0, 200, 255),
    (255, 82, 140),
    (126, 231, 90),
    (186, 130, 255),
    (255, 126, 41),
    (64, 224, 182),
    (255, 240, 150),
)

PAPER: Final = (22, 24, 29)
"""Under light letters and around outlines."""

_FILL = 0.36
_SLAB_PIXELS = 1 << 22


class View(NamedTuple):
    """Picture pixels per image pixel, (h, w) of the picture, and the width of a line in it."""

    scale: float
    size: Size
    unit: float


Spot: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom of something in a picture, in its pixels."""


def colour_of(number: int) -> tuple[int, int, int]:
    """The colour of target `number`, from 1; the same in every picture and page."""
    return _COLOURS[(number - 1) % len(_COLOURS)]


def tint(canvas: Rgb, target: TargetMask, view: View, colour: tuple[int, int, int]) -> None:
    """Fill the target's mask with its colour, and draw its outline with a dark halo. Changes `canvas`."""
    (top, left), mask = _scaled(target.mask, target.roi, view)
    if not mask.any():
        return
    part = canvas[top : top + mask.shape[0], left : left + mask.shape[1]]
    for channel, value in enumerate(colour):  # by a table: floats of a large part would take 16 times its bytes
        table = (np.arange(256) * (1 - _FILL) + value * _FILL).astype(np.uint8)
        part[..., channel][mask] = table[part[..., channel][mask]]
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    line = max(1, round(1.6 * view.unit))
    # Around specks a strong outline would be larger than they are, and bury what lies between them.
    strong = [contour for contour in contours if cv2.contourArea(contour) >= (8 * line) ** 2]
    halo = part.copy()
    cv2.drawContours(halo, strong, -1, PAPER, line + 2 * max(1, round(view.unit)), cv2.LINE_AA)
    part[:] = cv2.addWeighted(halo, 0.55, part, 0.45, 0)
    cv2.drawContours(part, contours, -1, colour, 1, cv2.LINE_8)
    cv2.drawContours(part, strong, -1, colour, line, cv2.LINE_AA)


def _scaled(mask: Mask, roi: Box, view: View) -> tuple[tuple[int, int], Mask]:
    """The mask in picture pixels and the row and column where it starts; nearest, by majority where reduced."""
    top, left = int(roi.y1 * view.scale), int(roi.x1 * view.scale)
    bottom = min(view.size[0], int(np.ceil(roi.y2 * view.scale)))
    right = min(view.size[1], int(np.ceil(roi.x2 * view.scale)))
    if view.scale == 1:
        return (top, left), mask
    rows = _sources(top, bottom, roi.y1, roi.y2, view.scale)
    columns = _sources(left, right, roi.x1, roi.x2, view.scale)
    # Below one half, so that things a pixel wide do not vanish from the picture.
    return (top, left), sampled_means(mask, rows, columns, max(1, round(1 / view.scale))) > 0.4


def sampled_means(
    mask: Mask, rows: NDArray[np.int64], columns: NDArray[np.int64], side: int, slab_pixels: int = _SLAB_PIXELS
) -> NDArray[np.float32]:
    """The share of set pixels in the square of `side` around each of `rows` x `columns`, outside the mask none.

    Args:
        mask: (h, w) bool; about `slab_pixels` of it are looked at at once, or as many rows as one square has.
        rows: in ascending order.
        columns: of any order.
        side: of the square, in pixels.
        slab_pixels: bounds the memory: a mask of the whole image is never blurred in one piece.
    """
    means = np.zeros((len(rows), len(columns)), dtype=np.float32)
    step = max(1, slab_pixels // mask.shape[1])
    first = 0
    while first < len(rows):
        last = max(first + 1, int(np.searchsorted(rows, rows[first] + step)))
        above = max(0, int(rows[first]) - side)
        slab = mask[above : int(rows[last - 1]) + side + 1]
        if slab.any():
            values = cv2.blur(slab.astype(np.float32), (side, side), borderType=cv2.BORDER_CONSTANT)
            means[first:last] = values[np.ix_(rows[first:last] - above, columns)]
        first = last
    return means


def _sources(start: int, stop: int, low: int, high: int, scale: float) -> NDArray[np.int64]:
    centres = ((np.arange(start, stop) + 0.5) / scale).astype(np.int64)
    return np.clip(centres, low, high - 1) - low


def overlaps(one: Spot, other: Spot) -> bool:
    """Whether the two share more than an edge."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def letters(size: float, *, bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib ships and which knows more scripts than Pillow's own font."""
    return _loaded(max(9, round(size)), "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")


@lru_cache(maxsize=32)
def _loaded(size: int, name: str) -> ImageFont.FreeTypeFont:
    spec = importlib.util.find_spec("matplotlib")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    return ImageFont.truetype(str(folder / "mpl-data" / "fonts" / "ttf" / name), size)
