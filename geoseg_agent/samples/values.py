"""What a sample scene is made of: pixels, exact masks, objects, place on the ground, and queries with answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geoseg_agent.georeference import Georeference
    from geoseg_tools.arrays import Mask, Rgb, Size
    from geoseg_tools.geometry import Box

Kind: TypeAlias = Literal["lakeside", "village", "farmland", "airport"]
"""What the land is used for."""

Level: TypeAlias = Literal[1, 2, 3]
"""1: an attribute is named; 2: a relation or a superlative picks; 3: the use is asked for, the thing is not named."""

Domain: TypeAlias = Literal["urban", "rural", "traffic", "nature"]
MaskKind: TypeAlias = Literal["class", "component"]


@dataclass(frozen=True, slots=True, eq=False)
class SampleInstance:
    """One object as it is seen from above: what covers it is not part of it.

    Attributes:
        id: unique within the scene, from 1.
        concept: the class it belongs to, a key of `SampleScene.masks`.
        box: tight, absolute pixels.
        mask: (h, w) bool, frame of `box`, read-only, not empty.
        attributes: words that are true of it, such as "red" or "on the apron".
    """

    id: int
    concept: str
    box: Box
    mask: Mask
    attributes: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class SampleQuery:
    """A question and its exact answer.

    Attributes:
        id: unique within the scene; letters, digits, hyphen and underscore.
        level: how much reasoning it takes.
        text: the question.
        phrase: the noun phrase a reasoner would hand to the tools.
        mask: (H, W) bool, image frame, read-only, not empty.
        boxes: tight around each 8-connected part of the mask, left to right; one box around everything where there
            are more than `queries.MAX_BOXES` parts.
        domain: what the question is about.
        mask_kind: "class" for all pixels of a class, "component" for a part of it.
    """

    id: str
    level: Level
    text: str
    phrase: str
    mask: Mask
    boxes: tuple[Box, ...]
    domain: Domain
    mask_kind: MaskKind


@dataclass(frozen=True, slots=True, eq=False)
class SampleScene:
    """One made-up place seen from above.

    Attributes:
        name: kind, seed and size; equal names mean equal scenes of one release.
        seed: what it was drawn from.
        kind: what the land is used for.
        pixels: (H, W, 3) uint8 RGB, read-only.
        masks: (H, W) bool per class present, read-only. Disjoint, but for "vegetation" (trees and grass) and
            "vehicle" (which stands on a road or a car park).
        instances: fields, waters, buildings, car parks, aircraft and vehicles, one by one.
        georeference: a UTM grid, north up, square pixels of 0.3 to 0.5 m.
        queries: at least one on each level.
    """

    name: str
    seed: int
    kind: Kind
    pixels: Rgb
    masks: Mapping[str, Mask]
    instances: tuple[SampleInstance, ...]
    georeference: Georeference
    queries: tuple[SampleQuery, ...]

    @property
    def size(self) -> Size:
        """(H, W)."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def metres_per_pixel(self) -> float:
        """The side of one pixel on the ground."""
        return self.georeference.transform[0]
