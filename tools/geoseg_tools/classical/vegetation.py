"""Evidence of vegetation, trees and grass: excess green with an adaptive threshold, split by texture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoseg_tools.classical import ops
from geoseg_tools.classical.ops import sig

if TYPE_CHECKING:
    from geoseg_tools.classical.features import Features
    from geoseg_tools.classical.ops import Map


def vegetation(f: Features, water: Map) -> Map:
    """(h, w) float32 evidence of any vegetation, 0..1. A grey image only has dark texture to go by."""
    if f.grey:
        middle = ops.percentile(f.lightness[f.valid], 50)[0]
        textured: Map = sig((f.std6 - 10) / 2) * sig((middle - f.lightness) / 8) * f.valid
        return textured
    limit = np.clip(ops.otsu(f.exg[f.valid], 0.05), 0.02, 0.05)
    green = (
        sig((f.exg - limit) / 0.01)
        # Keeps grey-blue roofs out, whose green is merely their least missing colour.
        * sig((f.blue_yellow + 3) / 1.2)
        * sig((f.lightness - 6) / 2)
        * sig((8 - f.green_red) / 3)
    )
    out: Map = ops.blur(green, 1) * (1 - water) * f.valid
    return out


def tree(f: Features, veg: Map) -> Map:
    """(h, w) float32 evidence of trees and shrubs: the rough and dark part of the vegetation."""
    return veg * sig((_roughness(f, veg) - 0.5) / 0.1)


def grass(f: Features, veg: Map) -> Map:
    """(h, w) float32 evidence of grass and low plants: the smooth and light part of the vegetation."""
    out: Map = np.clip(1.1 * veg * (1 - sig((_roughness(f, veg) - 0.5) / 0.1)), 0, 1)
    return out


def _roughness(f: Features, veg: Map) -> Map:
    inside = veg > 0.5
    rough = np.clip(ops.otsu(f.std6[inside], 5.0), 3.5, 6.5)
    light = np.clip(ops.otsu(f.lightness[inside], 50.0), 35.0, 65.0)
    return ops.blur(sig((f.std6 - rough) / 1.2 + (light - f.lightness) / 8), 3)
