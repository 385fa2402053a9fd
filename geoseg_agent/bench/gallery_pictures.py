"""Small pictures of a pair: where truth and prediction differ, and where they agree, laid over the image.

    truth only  green     prediction only  red     both  yellow

The colours are a layer of its own, so that a page can take it away.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Final, NamedTuple

import cv2
import numpy as np
from PIL import Image as Pillow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask, Size

TRUTH: Final = (46, 204, 113)
PREDICTION: Final = (226, 38, 54)
BOTH: Final = (255, 214, 10)

_FILL: Final = 108
_SEEN: Final = 0.4
_SMALL: Final = 0.03  # share of the picture under which a frame says where to look
_ROOM: Final = 7


class Frame(NamedTuple):
    """Left, top, width and height, in pixels of the picture."""

    x: int
    y: int
    width: int
    height: int


def layer(truth: Mask, prediction: Mask | None, size: Size) -> str:
    """The colours as a data address, transparent elsewhere; only the outline of the truth where `prediction` is None.

    Args:
        truth: (H, W) bool.
        prediction: the same, or None where nobody knows it any more.
        size: (h, w) of the picture, neither over the mask's.
    """
    kinds = reduced(truth, size).view(np.uint8).copy()
    if prediction is not None:
        kinds += reduced(prediction, size).view(np.uint8) * np.uint8(2)
    inner = _inner(kinds)
    if prediction is None:
        inner &= _inner(inner.view(np.uint8))  # nothing but a line: it has to be seen
    index = np.where(inner, kinds, kinds + np.uint8(4)) * (kinds > 0)
    picture = Pillow.fromarray(index.astype(np.uint8))
    colours = ((0, 0, 0), TRUTH, PREDICTION, BOTH)
    picture.putpalette([value for colour in (*colours, *colours) for value in colour])
    fill = 0 if prediction is None else _FILL
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", bits=4, transparency=bytes((0, fill, fill, fill, 0, 255, 255, 255)), compress_level=9)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def frame(mask: Mask, size: Size) -> Frame | None:
    """Where to look in a picture of `size` (h, w), where what there is to see is small; else None."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    down, across = size[0] / mask.shape[0], size[1] / mask.shape[1]
    top, left = int(rows[0] * down), int(columns[0] * across)
    bottom, right = int(np.ceil((rows[-1] + 1) * down)), int(np.ceil((columns[-1] + 1) * across))
    if (bottom - top) * (right - left) > _SMALL * size[0] * size[1]:
        return None
    x, y = max(1, left - _ROOM), max(1, top - _ROOM)
    return Frame(x, y, max(2, min(size[1] - 1, right + _ROOM) - x), max(2, min(size[0] - 1, bottom + _ROOM) - y))


def reduced(mask: Mask, size: Size) -> Mask:
    """The mask at `size` (h, w), neither over its own; it is empty only where the mask is.

    A pixel belongs to it that the mask covers by 0.4 of what it covers of any: below one half, so that narrow things
    do not vanish, and in proportion, so that a mask of nothing but things smaller than a pixel does not either.
    """
    if mask.shape == size:
        return mask
    # Not in 8 bit: there, a pixel of the mask in 512 of the picture's would round to nothing.
    covered = cv2.resize(np.multiply(mask, 65535, dtype=np.uint16), size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(covered >= max(1.0, _SEEN * float(covered.max())), dtype=np.bool_)


def _inner(kinds: NDArray[np.uint8]) -> Mask:
    """Pixels whose four neighbours are all of their kind."""
    padded = np.pad(kinds, 1, mode="edge")
    same: Mask = np.ones(kinds.shape, dtype=np.bool_)
    for neighbour in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        same &= neighbour == kinds
    return same
