"""Evidence of the smaller concepts: fields, swimming pools, bare ground, ships, vehicles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from geoseg_tools.classical import ops
from geoseg_tools.classical.features import hsv
from geoseg_tools.classical.ops import sig

if TYPE_CHECKING:
    from geoseg_tools.classical.features import Features, Thumbnail
    from geoseg_tools.classical.ops import Map


def field(f: Features, water: Map, road: Map) -> Map:
    """(h, w) float32 evidence of farmland: broad, even, coloured, without water and roads."""
    even = ops.opened((f.edges < 0.12) & (water <= 0.5) & (road <= 0.5) & f.valid, 9)
    found = ops.components(even)
    broad = ops.dilate(found.only(found.area > 0.02 * f.count), 6)
    return ops.blur(broad * sig((f.chroma - 8) / 2), 2) * f.valid


def pool(f: Features, thumb: Thumbnail) -> Map:
    """(h, w) float32 evidence of swimming pools: bright saturated turquoise."""
    if f.grey:
        return np.zeros(f.size, np.float32)
    hue, saturation, value = hsv(thumb)
    turquoise = sig((hue - 165) / 6) * sig((215 - hue) / 6) * sig((saturation - 0.18) / 0.03)
    return turquoise * sig((value - 0.45) / 0.05) * sig((4 - f.green_red) / 2) * f.valid


def bare(f: Features, water: Map, veg: Map) -> Map:
    """(h, w) float32 evidence of bare ground: light, without edges, not green, not water."""
    middle = ops.percentile(f.lightness[f.valid], 50)[0]
    open_ground = sig((f.lightness - 0.8 * middle) / 5) * sig((14 - 100 * f.edges) / 6)
    return open_ground * (1 - veg) * (1 - water) * f.valid


def ship(f: Features, water: Map) -> Map:
    """(h, w) float32 evidence of ships: small holes in the water."""
    surface = water > 0.5
    found = ops.components(ops.closed(surface, 12) & ~surface & f.valid)
    small = found.only((found.area >= 15) & (found.area <= 0.01 * f.count))
    return np.where(small, np.float32(0.7), np.float32(0))


def vehicle(f: Features) -> Map:
    """(h, w) float32 evidence of vehicles: small compact spots, lighter or darker than what is around them."""
    out = np.zeros(f.size, np.float32)
    if min(f.size) < 3:
        return out
    for radius in (5, 8):
        element = ops.disc(radius)
        light = cv2.morphologyEx(f.lightness, cv2.MORPH_TOPHAT, element)
        dark = 0.8 * cv2.morphologyEx(f.lightness, cv2.MORPH_BLACKHAT, element)
        for contrast in (light, dark):
            out = np.maximum(out, _compact(np.asarray(contrast, np.float32), radius))
    return out * f.valid


def _compact(contrast: Map, radius: int) -> Map:
    spots = contrast > 16
    found = ops.components(spots)
    side = (found.box[:, 2:] - found.box[:, :2]).astype(np.float64)
    long, short = side.max(axis=1), np.maximum(side.min(axis=1), 1)
    filled = found.area / (long * short) > 0.5
    shape = (long / short >= 1.0) & (long / short <= 4) & (long <= 3 * radius) & filled
    kept = found.only(shape & (found.area >= 12))
    return np.where(kept, sig((contrast - 16) / 6), np.float32(0))
