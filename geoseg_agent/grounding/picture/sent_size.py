"""How large a picture is sent, so that no server resizes it again.

Servers of models with dynamic resolution round each side to a multiple of patch x merge, scale areas outside their
limits into them, and refuse pictures over 200 times as long as wide: `smart_resize` of qwen-vl-utils, and the same in
transformers, vLLM, SGLang and llama.cpp. A size that obeys all three is left as it is, so that the pixels sent are
the pixels the model sees.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from geoseg_agent.grounding.chat import Fit
    from geoseg_tools.arrays import Size

LONGEST: Final = 200
"""Largest ratio of the sides that servers take."""

_AREA: Final = 0.1
"""What a change of area by a factor costs, against the same factor between the scales of the two sides."""

_ENLARGED: Final = 0.02
"""What it costs to enlarge where nothing has to be: a pixel of the original would be more than one of the picture."""


@lru_cache(maxsize=4096)
def sent_size(size: Size, fit: Fit) -> Size:
    """The (h, w) at which a picture of `size` (h, w) is sent.

    Both sides are multiples of `fit.align`, the area is `fit.least`..`fit.most` squares of that side, and neither
    side is over 200 times the other. Among such sizes the one that keeps the aspect best and changes the area least;
    a size that fits already is kept.

    Args:
        size: of the window of the original, at least 1 x 1.
        fit: the limits.

    Raises:
        ValueError: a side is under 1, or the limits leave no size (`most` under `least`, or hardly any between).
    """
    short, long = sorted(size)
    if short < 1:
        raise ValueError(f"a picture has at least 1 x 1 pixels, got {size[1]} x {size[0]}")
    best = min(_candidates(short, long, fit), default=None)
    if best is None:
        raise ValueError(f"no picture has {fit.least} to {fit.most} squares of {fit.align} px")
    _, few, many = best
    height, width = (few, many) if size[0] <= size[1] else (many, few)
    return height * fit.align, width * fit.align


def _candidates(short: int, long: int, fit: Fit) -> list[tuple[float, int, int]]:
    """(cost, squares along the short side, along the long one) for every count along the short side."""
    area = short * long / fit.align**2
    ideal = min(max(area, fit.least), fit.most)
    found = []
    for few in range(1, math.isqrt(fit.most) + 1):
        low, high = max(few, math.ceil(fit.least / few)), min(fit.most // few, LONGEST * few)
        if low > high:
            continue
        many = min(max(round(few * long / short), low), high)
        cost = abs(math.log(many / few * short / long)) + _AREA * abs(math.log(few * many / ideal))
        if area >= ideal and (few * fit.align > short or many * fit.align > long):
            cost += _ENLARGED
        found.append((cost, few, many))
    return found
