"""From pixels to what is sent: resized, nodata in grey, as a JPEG that blurs no colour and carries no metadata."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from PIL import Image as Pillow

if TYPE_CHECKING:
    from geoseg_agent.imagery import Image
    from geoseg_tools.arrays import Mask, Rgb, Size
    from geoseg_tools.geometry import Box

MEDIA_TYPE: Final = "image/jpeg"
QUALITY: Final = 92

NODATA: Final = 127
"""Grey of pixels that are not valid: nothing of the scene is to be seen there."""


def shown(image: Image, window: Box, size: Size) -> Rgb:
    """The window of the image at `size` (h, w): (h, w, 3) uint8 RGB, a new array.

    Raises:
        GeometryError: the window reaches over the image.
        NoPixelsError: the image was rebuilt from a trace.
    """
    crop = image.crop(window)
    return resized(*crop.scene.view(crop.roi, size), size)


def resized(pixels: Rgb, valid: Mask | None, size: Size) -> Rgb:
    """`pixels` at `size` (h, w), edges on edges, with nodata in grey: (h, w, 3) uint8 RGB, a new array.

    What is shrunk is averaged over areas, what is enlarged is interpolated bicubically; a picture may need both.

    Args:
        pixels: (h, w, 3) uint8 RGB; a view will do, nothing of its size is copied.
        valid: (h, w) bool, False on nodata, or None.
        size: (h, w) of the result.
    """
    height, width = (min(there, here) for there, here in zip(size, pixels.shape[:2], strict=True))
    # Shrinking comes first: a large image is never copied at its own size.
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    canvas = np.array(cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    if valid is not None:
        seen = cv2.resize(valid.view(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
        np.copyto(canvas, NODATA, where=(seen == 0)[..., None])
    return canvas


def jpeg(picture: Rgb) -> bytes:
    """(h, w, 3) uint8 RGB as JPEG: quality 92, colour at full resolution (4:4:4), no metadata.

    Small coloured things keep their edges and hues, which 4:2:0 would smear. Equal pictures give equal bytes.
    """
    buffer = io.BytesIO()
    Pillow.fromarray(picture).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()
