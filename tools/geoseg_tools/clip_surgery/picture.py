"""From pixels to what the image encoder takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from geoseg_tools.errors import ToolError

if TYPE_CHECKING:
    from torch import Tensor

    from geoseg_tools.arrays import Rgb, Size

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
"""Mean and deviation of red, green, blue in 0..1 that OpenAI's models, and most others, were trained with."""


def prepare(
    pixels: Rgb,
    size: Size,
    mean: tuple[float, float, float] = OPENAI_MEAN,
    std: tuple[float, float, float] = OPENAI_STD,
) -> Tensor:
    """The whole picture at exactly `size`, normalised; the aspect ratio is not kept and nothing is cut off.

    Pillow's bicubic filter on uint8, which antialiases where it shrinks, as in CLIP's own preprocessing; a bicubic
    resize of a tensor gives other numbers.

    Args:
        pixels: (h, w, 3) uint8 RGB, at least one pixel.
        size: (height, width) to resize to.
        mean: subtracted, per channel, in 0..1.
        std: divided by, per channel, in 0..1.

    Returns:
        (1, 3, height, width) float32 on the CPU.

    Raises:
        ToolError: the pixels are of another kind.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ToolError(f"a picture is (h, w, 3) uint8 and not empty, got {pixels.dtype} {pixels.shape}")
    # A crop is a view into its scene; Pillow copies one too, but at half the speed.
    resized = Image.fromarray(np.ascontiguousarray(pixels)).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    scaled = np.asarray(resized, dtype=np.float32) / np.float32(255)
    normal = (scaled - np.array(mean, dtype=np.float32)) / np.array(std, dtype=np.float32)
    return torch.from_numpy(np.ascontiguousarray(normal.transpose(2, 0, 1)[None]))
