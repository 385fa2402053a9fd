"""An earlier mask and clicks that say where it is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoseg_tools.classical import ops
from geoseg_tools.classical.points import HELD, amend
from geoseg_tools.classical.upscale import reduced

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask
    from geoseg_tools.classical.encoded import Encoded
    from geoseg_tools.masks import Masks

_MOST = 1 + HELD
_LEAVES, _JOINS = (1 - HELD / _MOST) / 2, (1 + HELD / _MOST) / 2


def correct(encoded: Encoded, inside: NDArray[np.int64], outside: NDArray[np.int64], earlier: Mask) -> Masks:
    """The earlier mask, changed only where clicks move what is believed of a pixel over the boundary.

    Every pixel starts from what the mask says of it and moves with its superpixel, so that untouched outlines are not
    drawn again, and what is removed leaves no fringe in superpixels that it only reaches into.

    Args:
        encoded: the crop.
        inside: superpixels of its canvas clicked as target.
        outside: superpixels clicked as not; they win over `inside`.
        earlier: (h, w) bool of the RoI.

    Returns:
        One mask of the RoI or none; its score is how decided the superpixels are on average.
    """
    if not len(inside) and not len(outside):
        return encoded.answer(earlier, HELD)
    canvas = encoded.canvas
    layer = canvas.layer
    held = reduced(earlier, layer.window.size, encoded.crop.roi.relative_to(layer.window), layer.valid.shape)
    share = layer.mean(held)
    moved = amend(canvas, inside, outside, share)
    belief = np.where(share > 0.5, HELD, -HELD) + moved
    pixel = canvas.pixels((moved / _MOST + 1) / 2)
    for settled, value in ((inside, 1.0), (outside, 0.0)):
        pixel[layer.where(settled)] = value
    pixel[_crumbs(held > 0, pixel <= _LEAVES, (belief > 0)[layer.labels])] = 0
    stays, joins = (encoded.above(layer, pixel, threshold) for threshold in (_LEAVES, _JOINS))
    return encoded.answer(np.where(earlier, stays, joins), float(np.abs(belief).mean()))


def _crumbs(held: Mask, gone: Mask, believed: Mask) -> Mask:
    """(h, w) bool: what hung on the part of a mask that is gone, mostly in superpixels that were never the mask's."""
    left = ops.components(held & ~gone)
    hung = np.zeros(len(left.area), np.bool_)
    hung[left.labels[ops.dilate(held & gone, 1)]] = True
    return ops.dilate(left.only(hung & (left.mean(believed) < 0.5)), 1) & ~(believed & ~held)
