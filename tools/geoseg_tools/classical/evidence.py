"""One scene's evidence, concept by concept, computed when first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoseg_tools.classical import building, colours, others, road, vegetation, water
from geoseg_tools.classical.both import both
from geoseg_tools.classical.features import Features, Thumbnail, extract
from geoseg_tools.classical.layer import Layer, scene_layer
from geoseg_tools.classical.lazy import lazy
from geoseg_tools.classical.relearn import relearn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_tools.arrays import Size
    from geoseg_tools.classical.ops import Map

PLANTS = frozenset({"tree", "grass", "vegetation"})

_UNLEARNT = frozenset({"ship", "vehicle", "water", "road", "paved"})
"""Too small to learn from, or learnt from their own seeds already."""

_RELATED = {
    **dict.fromkeys((*PLANTS, "field"), PLANTS),
    "pool": frozenset({"water"}),
}

_SAYS_NOTHING = {
    # Dark water and green trees are what the words mean anyway; the evidence already asks for it.
    "water": {"green", "black", "blue", "white", "grey"},
    **{name: {"green", "black", "white"} for name in PLANTS},
    "pool": {"blue"},
}


class Evidence:
    """Evidence maps of one thumbnail: (h, w) float32 at working size, 0..1, 0.5 is the decision.

    Invalid pixels have no evidence of anything. Maps are shared: do not write to them.

    Args:
        thumb: the scene.
        threads: 1 or 2 to compute it on.
    """

    def __init__(self, thumb: Thumbnail, threads: int = 2) -> None:
        self.thumb = thumb
        self._threads = threads
        self._learnt: dict[str, Map] = {}
        self._layer: Layer | None = None

    @lazy
    def features(self) -> Features:
        """The features all evidence is read from."""
        return extract(self.thumb, self._threads)

    @property
    def size(self) -> Size:
        """(h, w), the working size."""
        height, width = self.thumb.valid.shape
        return height, width

    @lazy
    def blank(self) -> bool:
        """Nothing valid, or nothing but one colour: there is nothing to see."""
        rgb, valid = self.thumb.rgb, self.thumb.valid
        return not valid.any() or all(float(np.ptp(rgb[..., c][valid])) < 0.02 for c in range(3))

    def of(self, concept: str) -> Map:
        """The evidence of one concept of the lexicon; zero for a concept without evidence."""
        if self.blank or concept not in _KNOWN:
            return np.zeros(self.size, np.float32)
        found: Map = getattr(self, f"_{concept}")
        return found

    def union(self, concepts: Sequence[str]) -> Map:
        """The best evidence of several concepts, pixel by pixel."""
        best = np.zeros(self.size, np.float32)
        for concept in concepts:
            best = np.maximum(best, self.of(concept))
        return best

    def learnt(self, concept: str) -> Map:
        """The evidence of a concept after learning from its own sure regions in this scene."""
        if concept in _UNLEARNT or self.blank or concept not in _KNOWN:
            return self.of(concept)
        if concept not in self._learnt:
            against = [other for other in ("water", "vegetation") if other not in _RELATED.get(concept, ())]
            features = self.features
            # Superpixels are cut from the features alone, so evidence may be found meanwhile.
            (found, others), layer = both(
                lambda: (self.of(concept), [self.of(other) for other in against]),
                lambda: self._superpixels(features),
                self._threads,
            )
            self._learnt[concept] = relearn(layer, found, others)
        return self._learnt[concept]

    def _superpixels(self, features: Features) -> Layer:
        if self._layer is None:
            self._layer = scene_layer(features)
        return self._layer

    def target(self, concepts: Sequence[str], colour_names: Sequence[str], *, learnt: bool = False) -> Map:
        """Evidence of concepts that also have one of the colours, where colour tells them apart.

        With `learnt`, evidence is sharpened by its own examples first: better outlines of everything, but what
        was apart may grow together, so single components are better picked without it.
        """
        best = np.zeros(self.size, np.float32)
        for concept in concepts:
            found = self.learnt(concept) if learnt else self.of(concept)
            telling = [c for c in colour_names if c not in _SAYS_NOTHING.get(concept, set())]
            if telling and not self.blank:
                shade = colours.any_colour(self.features, telling)
                if concept == "building":
                    # A roof in a plain colour may be too faint an edge for the detector: colour helps it.
                    found = np.sqrt(np.maximum(found, 0.25) * shade) * (shade > 0.4) * self.thumb.valid
                else:
                    found = found * shade
            best = np.maximum(best, found)
        return best

    @lazy
    def _water(self) -> Map:
        return water.water(self.features)

    @lazy
    def _vegetation(self) -> Map:
        return vegetation.vegetation(self.features, self._water)

    @lazy
    def _tree(self) -> Map:
        return vegetation.tree(self.features, self._vegetation)

    @lazy
    def _grass(self) -> Map:
        return vegetation.grass(self.features, self._vegetation)

    @lazy
    def _roads(self) -> road.Roads:
        return road.roads(self.features, self._water, self._vegetation)

    @lazy
    def _road(self) -> Map:
        return self._roads.road

    @lazy
    def _paved(self) -> Map:
        return self._roads.paved

    @lazy
    def _building(self) -> Map:
        free = self.features, self._water, self._vegetation
        return building.building(*free, lambda: self._road, threads=self._threads)

    @lazy
    def _field(self) -> Map:
        return others.field(self.features, self._water, self._road)

    @lazy
    def _pool(self) -> Map:
        return others.pool(self.features, self.thumb)

    @lazy
    def _bare(self) -> Map:
        return others.bare(self.features, self._water, self._vegetation)

    @lazy
    def _ship(self) -> Map:
        return others.ship(self.features, self._water)

    @lazy
    def _vehicle(self) -> Map:
        return others.vehicle(self.features)


_KNOWN = frozenset(
    {
        "water",
        "vegetation",
        "tree",
        "grass",
        "road",
        "paved",
        "building",
        "field",
        "pool",
        "bare",
        "ship",
        "vehicle",
    }
)
