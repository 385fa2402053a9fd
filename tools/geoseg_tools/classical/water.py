"""Evidence of water: dark, blue or green, smooth and compact, grown from sure cores by their own colour.

Method and constants: the classical baseline this project measured, section on water. 0.5 is the decision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoseg_tools.classical import ops
from geoseg_tools.classical.ops import sig

if TYPE_CHECKING:
    from geoseg_tools.arrays import Mask
    from geoseg_tools.classical.features import Features
    from geoseg_tools.classical.ops import Components, Map

_YELLOW = 18.0
_COLOUR_FLOOR = (2.5, 1.5, 1.5)


def water(f: Features) -> Map:
    """(h, w) float32 evidence of water, 0..1."""
    dark, candidate = _candidate(f)
    raw = ops.closed((candidate > 0.5) & f.valid, 2)
    texture = np.clip(ops.percentile(f.std[f.valid], 30)[0], 1.2, 4.0)
    flat = ops.opened(raw & (sig((1.3 * texture - f.std) / (0.3 * texture)) > 0.35), 3)
    found = ops.components(flat)
    keep = _keep(f, found, dark, flat)
    if not (keep > 0.3).any():
        return np.zeros(f.size, np.float32)
    cores = found.only(keep > 0.3)
    grown = ops.dilate(cores, 6) & raw | cores
    grown |= _modelled(f, found, keep)
    grown = ops.closed(grown, 2)
    value = np.where(grown, np.maximum(ops.spread(keep[found.labels], 6), 0.8), 0).astype(np.float32)
    return ops.blur(value, 0.8) * f.valid


def _candidate(f: Features) -> tuple[Map, Map]:
    lightness, a, b = f.lightness, f.green_red, f.blue_yellow
    limit = np.clip(0.5 * ops.percentile(lightness[f.valid], 50)[0], 14.0, 30.0)
    dark = sig((limit - lightness) / 2.5)
    if f.grey:
        return dark, dark
    blue = sig((-b - 6) / 2) * sig((4 - a) / 2) * sig((70 - lightness) / 6)
    # Green water has little yellow in it; a smooth meadow has a lot.
    green = sig((-a - 8) / 2) * sig((50 - lightness) / 4) * sig((3 - f.std) / 0.5) * sig((_YELLOW - b) / 2)
    return dark, np.maximum(np.maximum(dark, blue), green)


def _keep(f: Features, found: Components, dark: Map, flat: Mask) -> Map:
    inradius = np.maximum(found.peak(ops.distance(flat)), 1e-3)
    keep = (
        sig((inradius - 8) / 1.5)
        * sig((14 - found.area / (4 * inradius**2)) / 2)
        * sig((3.5 - found.mean(f.std)) / 0.8)
    )
    keep[(found.area < 0.0008 * f.count) | (inradius < 6)] = 0
    keep[0] = 0
    # Many small dark patches are the shadows of buildings or trees, not ponds.
    shadow = (keep > 0.3) & (found.area < 0.012 * f.count) & (found.mean(dark) > 0.5)
    if shadow.sum() >= 6:
        keep[shadow] = 0
    return keep


def _modelled(f: Features, found: Components, keep: Map) -> Mask:
    """The largest cores extended over every touching pixel of their own colour."""
    out = np.zeros(f.size, np.bool_)
    cores = [i for i in np.argsort(-found.area, kind="stable") if keep[i] > 0.3][:8]
    calm = (f.std < 5) & f.valid
    channels = (f.lightness, f.green_red, f.blue_yellow)
    for i in cores:
        x1, y1, x2, y2 = found.box[i]
        core = found.labels == i
        inside = f.lab[y1:y2, x1:x2][core[y1:y2, x1:x2]]
        median = np.median(inside, axis=0)
        spread = np.maximum(1.48 * np.median(np.abs(inside - median), axis=0), _COLOUR_FLOOR)
        near = [np.abs(c - m) / s < 3.2 for c, m, s in zip(channels, median, spread, strict=True)]
        alike = ops.opened(np.logical_and.reduce([*near, calm]), 2)
        parts = ops.components(alike | core)
        touched = np.zeros(len(parts.area), np.bool_)
        touched[parts.labels[core]] = True
        region = parts.only(touched)
        if region.sum() < 3 * found.area[i]:
            out |= region
    return out
