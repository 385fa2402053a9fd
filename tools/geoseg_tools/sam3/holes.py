"""Small holes in a mask that points asked for, filled as upstream fills them on CUDA."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST = 256
"""Pixels of the coarse mask, of 288 x 288 in the released model; upstream's `max_hole_area`."""

_FILL = np.float32(10.0)
_EIGHT = np.ones((3, 3), dtype=np.int8)


def filled(logits: NDArray[np.float32], largest: int = LARGEST) -> NDArray[np.float32]:
    """Logits in which every patch of background of at most `largest` pixels is foreground.

    Patches hang together by edges and corners, and one at the border counts like any other, as in upstream's
    `SAM2Transforms.postprocess_masks`. That one labels patches with triton on CUDA, with scikit-image where that is
    installed, and elsewhere leaves the holes; here the answer is the same on every device.

    Args:
        logits: (h, w) float32, foreground where positive.
        largest: pixels of the largest hole.

    Returns:
        (h, w) float32, a new array.
    """
    labels, _ = ndimage.label(logits <= 0, structure=_EIGHT)
    small = np.bincount(labels.ravel()) <= largest
    small[0] = False  # the foreground
    return np.where(small[labels], _FILL, logits)
