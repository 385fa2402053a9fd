"""Evidence of colour words, on smoothed Lab; light and dark are relative to the scene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoseg_tools.classical import ops
from geoseg_tools.classical.ops import sig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_tools.classical.features import Features
    from geoseg_tools.classical.ops import Map


def colour(f: Features, name: str) -> Map:
    """(h, w) float32 evidence of one colour of the lexicon, 0..1; green is left to the vegetation."""
    light, a, b, chroma = f.lightness, f.green_red, f.blue_yellow, f.chroma
    low, high = ops.percentile(light[f.valid], 25, 75)
    match name:
        case "white":
            out = sig((light - np.clip(high, 60, 80)) / 4) * sig((16 - chroma) / 3)
        case "black":
            out = sig((np.clip(low, 15, 40) - light) / 4)
        case "grey":
            out = sig((11 - chroma) / 2) * sig((light - 25) / 4) * sig((78 - light) / 4)
        case "red":
            out = sig((a - 12) / 3) * sig((b - 2) / 3)
        case "orange":
            out = sig((a - 7) / 3) * sig((b - 16) / 3)
        case "brown":
            out = sig((a - 2) / 2) * sig((b - 8) / 3) * sig((70 - light) / 4)
        case "yellow":
            out = sig((b - 20) / 4) * sig((12 - a) / 3)
        case "green":
            out = sig((f.exg - 0.04) / 0.01) * sig((-a - 3) / 2)
        case "blue":
            out = sig((-b - 10) / 3) * sig((10 - a) / 3)
        case _:  # purple
            out = sig((a - 8) / 3) * sig((-b - 8) / 3)
    return out


def any_colour(f: Features, names: Sequence[str]) -> Map:
    """(h, w) float32, the best of several colours."""
    best = colour(f, names[0])
    for name in names[1:]:
        best = np.maximum(best, colour(f, name))
    return best
