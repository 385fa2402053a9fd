"""A mask that another system wrote, taken for one only where it is plain what it says.

Besides 0 it holds at most one other value: a map of probabilities, or of several objects, is no mask until somebody
decides where to cut it. Palettes count by their indices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from geoseg_agent.bench.datasets.mask_file import read_values
from geoseg_agent.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

    from geoseg_tools.arrays import Mask, Size


class MaskFault(Exception):
    """Why a file is not the mask of its pair.

    Attributes:
        code: missing_mask, several_masks, unreadable_mask, wrong_size or no_mask.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def read_prediction(path: Path, size: Size, *, resize: bool = False) -> Mask:
    """(H, W) bool: where the file is not zero.

    Args:
        path: a PNG or TIFF.
        size: (H, W) that it must have.
        resize: take any size and bring it to `size`, nearest neighbour.

    Raises:
        MaskFault: it cannot be read, has another size, or is no mask.
    """
    try:
        values = read_values(path)
    except ImageError as problem:
        raise MaskFault("unreadable_mask", problem.message) from problem
    if values.shape != size and not resize:
        height, width = values.shape
        told = f"{path.name} has {width} x {height} pixels, the image has {size[1]} x {size[0]}"
        raise MaskFault("wrong_size", told)
    mask: Mask = np.ascontiguousarray(values != 0)
    other = values[mask]
    if other.size and (other != other[0]).any():
        told = f"{path.name} holds several values besides 0, from {other.min()} to {other.max()}: which are the mask?"
        raise MaskFault("no_mask", told)
    if mask.shape == size:
        return mask
    scaled = cv2.resize(mask.view(np.uint8), (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return scaled.astype(np.bool_)
