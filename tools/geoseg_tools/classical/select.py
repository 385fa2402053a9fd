"""Which components of the evidence a query means: by shape, size, place, relation and superlative."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geoseg_tools.classical import ops
from geoseg_tools.classical.ops import sig
from geoseg_tools.classical.relations import related

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask
    from geoseg_tools.classical.evidence import Evidence
    from geoseg_tools.classical.ops import Components, Map
    from geoseg_tools.classical.reading import Reading

_SMALL = frozenset({"pool", "ship", "vehicle"})
_SPREAD = frozenset({"road", "paved", "field", "vegetation", "tree", "grass", "bare"})
_WEIGHED = 0.35


class Choice(NamedTuple):
    """The components a query means.

    Attributes:
        evidence: (h, w) float32 evidence of the target at working size.
        found: its components.
        chosen: labels of the chosen ones, best first.
        weight: (n,) how well each component fits the query, row 0 is the background.
    """

    evidence: Map
    found: Components
    chosen: NDArray[np.int64]
    weight: NDArray[np.float64]

    @property
    def region(self) -> Mask:
        """(h, w) bool, everything chosen, at working size."""
        keep = np.zeros(len(self.found.area), np.bool_)
        keep[self.chosen] = True
        return self.found.only(keep)


def choose(evidence: Evidence, reading: Reading) -> Choice:
    """Weigh the components of the target's evidence and pick those the query means."""
    values = evidence.target(reading.concepts, reading.colours, learnt=not reading.selective)
    small = bool(_SMALL & set(reading.concepts))
    least = 12.0 if small else max(20.0, 0.00025 * values.size)
    found = ops.components(values > 0.5)
    big = found.area >= least
    found = ops.components(found.only(big))
    fit = found.mean(values)
    fit[0] = 0
    weight = fit * _shape(found, reading) * _size(found, reading)
    for place in reading.places:
        weight = weight * _place(place, found, reading.places)
    relation = reading.relation
    if relation is not None and relation.references:
        masks = [evidence.of(concept) > 0.5 for concept in relation.references]
        if any(mask.any() for mask in masks):
            weight = weight * related(relation.kind, found, masks)
    weight[0] = 0
    return Choice(values, found, _pick(found, weight, reading, evidence), weight)


def _shape(found: Components, reading: Reading) -> NDArray[np.float32]:
    out = np.ones(len(found.area), np.float32)
    if not reading.shapes and reading.superlative not in {"longest", "roundest"}:
        return out
    elongation, fill = outline(found)
    for shape in reading.shapes:
        if shape == "round":
            out *= sig((1.7 - elongation) / 0.15) * sig((fill - 0.7) / 0.06)
        elif shape == "long":
            out *= sig((elongation - 2.2) / 0.3)
        else:
            out *= sig((fill - 0.75) / 0.05)
    return out


def outline(found: Components) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n,) elongation (1 for a disc) and rectangular fill (1 for a filled rectangle) from second moments."""
    n = len(found.area)
    flat = found.labels.ravel()
    where = np.flatnonzero(flat)
    of = flat[where]
    width = found.labels.shape[1]
    dx = where % width - found.centre[of, 0]
    dy = where // width - found.centre[of, 1]
    area = np.maximum(found.area, 1)
    xx = np.bincount(of, dx * dx, n) / area + 1 / 12
    yy = np.bincount(of, dy * dy, n) / area + 1 / 12
    xy = np.bincount(of, dx * dy, n) / area
    root = np.sqrt(((xx - yy) / 2) ** 2 + xy * xy)
    major, minor = (xx + yy) / 2 + root, np.maximum((xx + yy) / 2 - root, 1e-6)
    return np.sqrt(major / minor), area / (12 * np.sqrt(np.maximum(major * minor, 1e-9)))


def _size(found: Components, reading: Reading) -> NDArray[np.float64]:
    out = np.ones(len(found.area))
    area = found.area[1:]
    if not len(area):
        return out
    if "large" in reading.sizes:
        out *= np.sqrt(found.area / area.max())
    if "small" in reading.sizes:
        out *= (area.min() / np.maximum(found.area, 1)) ** 0.25
    return out


def _place(place: str, found: Components, others: tuple[str, ...]) -> NDArray[np.float32]:
    height, width = found.labels.shape
    x, y = (found.centre[:, 0] + 0.5) / width, (found.centre[:, 1] + 0.5) / height
    side = {"left": x, "right": 1 - x, "top": y, "bottom": 1 - y}
    if place in side:
        return sig((0.5 - side[place]) / 0.06)
    if place.startswith("edge-"):
        x1, y1, x2, y2 = found.box.T
        gap = {"left": x1 / width, "right": 1 - x2 / width, "top": y1 / height, "bottom": 1 - y2 / height}
        touches: NDArray[np.float32] = (gap[place.removeprefix("edge-")] < 0.06).astype(np.float32)
        return touches
    if place == "middle":
        off = x if {"top", "bottom", "edge-top", "edge-bottom"} & set(others) else y
        return sig((0.25 - np.abs(off - 0.5)) / 0.05)
    return sig((0.25 - np.hypot(x - 0.5, y - 0.5)) / 0.05)


def _pick(found: Components, weight: NDArray[np.float64], reading: Reading, evidence: Evidence) -> NDArray[np.int64]:
    order: NDArray[np.int64] = np.argsort(-weight, kind="stable").astype(np.int64)
    order = order[weight[order] > 0]
    if not len(order):
        return order
    best = weight[order[0]]
    attributed = bool(reading.shapes or reading.sizes or reading.places or reading.relation)
    if reading.superlative is not None:
        able = order[weight[order] >= _WEIGHED * best]
        merit = _merit(reading.superlative, found, evidence)[able]
        order = able[np.argsort(-merit, kind="stable")][: reading.number or 1]
    elif reading.number is not None:
        order = order[: reading.number]
    elif not reading.plural and (attributed or reading.colours):
        if not attributed:
            order = order[np.argsort(-(weight * np.sqrt(found.area))[order], kind="stable")]
        order = order[:1]
    elif attributed:
        order = order[weight[order] >= 0.5 * best]
    elif not reading.plural and not _SPREAD & set(reading.concepts):
        order = order[found.area[order] >= 0.25 * found.area[order].max()]
    return order


def _merit(superlative: str, found: Components, evidence: Evidence) -> NDArray[np.float64]:
    """(n,) what a superlative wants most of."""
    height, width = found.labels.shape
    x, y = found.centre.T
    by_place = {"leftmost": -x, "rightmost": x, "topmost": -y, "bottommost": y}
    merit: NDArray[np.float64] = found.area.astype(np.float64)
    if superlative == "smallest":
        merit = -merit
    elif superlative == "longest":
        merit = np.hypot(*(found.box[:, 2:] - found.box[:, :2]).T)
    elif superlative in {"brightest", "darkest"}:
        merit = found.mean(evidence.features.lightness) * (1 if superlative == "brightest" else -1)
    elif superlative == "roundest":
        merit = -outline(found)[0]
    elif superlative == "central":
        merit = -np.hypot(x - width / 2, y - height / 2)
    elif superlative in by_place:
        merit = by_place[superlative]
    return merit
