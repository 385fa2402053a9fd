"""The one picture that the judge sees: the plain image, and beside it the image with truth and prediction over it.

    truth only  green (0, 255, 0)     prediction only  red (255, 0, 0)     both  yellow (255, 255, 0)

A coloured pixel is (pixel + colour + 1) // 2 in each channel: half image, half colour. It has no outlines, letters or
legend, so that nothing but image and masks decides its pixels; equal arguments give equal pictures.

It is made at the very size at which it is sent, so a large image is shrunk once, before anything is drawn on it. No
mask vanishes by that, however small it is: no green and no yellow would tell the judge that there is nothing to find.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from geoseg_agent.bench.gallery_pictures import reduced
from geoseg_agent.errors import DatasetError
from geoseg_agent.grounding.picture.encode import resized
from geoseg_agent.grounding.picture.sent_size import sent_size
from geoseg_agent.imagery import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.grounding.chat import Fit
    from geoseg_tools.arrays import Mask, Rgb, Size

GREEN: Final = (0, 255, 0)
RED: Final = (255, 0, 0)
YELLOW: Final = (255, 255, 0)

GAP: Final = 4
"""White pixels between two parts; what is left over by division is white at the right edge."""

_WHITE: Final = 255


def composite(image: Image, truth: Mask, predicted: Sequence[Mask], fit: Fit, *, plain: bool = True) -> Image:
    """The parts side by side: the plain image where wanted, then one part for each of `predicted`.

    Its size is one that `sent_size` keeps, and its name says nothing.

    Args:
        image: the picture.
        truth: (H, W) bool in the frame of the image.
        predicted: the same, at least one.
        fit: how large a picture may be sent.
        plain: whether the image without colours comes first.

    Raises:
        DatasetError: the masks are not of the image's size.
    """
    for mask in (truth, *predicted):
        if mask.shape != image.size:
            raise DatasetError(
                f"{image.name} has {image.size[1]} x {image.size[0]} pixels, its mask "
                f"{mask.shape[1]} x {mask.shape[0]}"
            )
    parts = len(predicted) + plain
    height, width = sent_size((image.size[0], parts * image.size[1]), fit)
    size = (height, (width - GAP * (parts - 1)) // parts)
    base = resized(image.pixels, image.valid, size)
    known = _at(truth, size)
    shown = [base] if plain else []
    shown += [_coloured(base, known, _at(mask, size)) for mask in predicted]
    canvas = np.full((height, width, 3), _WHITE, dtype=np.uint8)
    for place, part in enumerate(shown):
        left = place * (size[1] + GAP)
        canvas[:, left : left + size[1]] = part
    return Image.from_array(canvas, name="composite")


def _coloured(base: Rgb, truth: Mask, predicted: Mask) -> Rgb:
    canvas = base.copy()
    for where, colour in ((truth & ~predicted, GREEN), (predicted & ~truth, RED), (truth & predicted, YELLOW)):
        canvas[where] = (base[where].astype(np.uint16) + np.array(colour, dtype=np.uint16) + 1) // 2
    return canvas


def _at(mask: Mask, size: Size) -> Mask:
    """The mask at `size` (h, w): `reduced` where it shrinks, by nearest pixel where it grows."""
    height, width = (min(there, here) for there, here in zip(size, mask.shape, strict=True))
    small = reduced(mask, (height, width)).view(np.uint8)
    return np.asarray(cv2.resize(small, size[::-1], interpolation=cv2.INTER_NEAREST) > 0)
