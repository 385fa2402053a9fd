"""What was derived from the last few scenes and boxes, by digest: working-size arrays, never the scene's pixels."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from geoseg_tools.classical.boxed import Boxed
from geoseg_tools.classical.canvas import Canvas
from geoseg_tools.classical.evidence import Evidence
from geoseg_tools.classical.features import WORKING_SIDE, thumbnail
from geoseg_tools.classical.layer import SIDE, layer_of
from geoseg_tools.geometry import Box, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from geoseg_tools.crop import Crop, Scene

_PADDING = 0.5
_LEAST_PADDING = 10

S = TypeVar("S")
T = TypeVar("T")

CAPACITY = 4
"""Scenes whose evidence is kept."""

CANVASES = 2
"""Scenes whose canvas is kept; one is about 40 MB at working size."""

BOXES = 4
"""Crops whose box is kept for the tool that asks next; one is about 4 MB."""


class Kept(Generic[S, T]):
    """The last few values made of scenes or crops; safe to use from several threads.

    Args:
        capacity: how many.
        make: the value of one; the same for all of equal identity.
        identity: what it is known by. It must not hold the pixels.
    """

    def __init__(self, capacity: int, make: Callable[[S], T], identity: Callable[[S], Hashable]) -> None:
        self._capacity = capacity
        self._make = make
        self._identity = identity
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._values)

    def of(self, source: S) -> T:
        """What was or is now made of the scene or crop."""
        key = self._identity(source)
        with self._lock:
            found = self._values.get(key)
            if found is not None:
                self._values.move_to_end(key)
                return found
        fresh = self._make(source)
        with self._lock:
            # Two threads may have worked on one scene; both results are equal, the first is kept.
            found = self._values.setdefault(key, fresh)
            self._values.move_to_end(key)
            while len(self._values) > self._capacity:
                self._values.popitem(last=False)
        return found


def _evidence(scene: Scene) -> Evidence:
    return Evidence(thumbnail(scene))


def _canvas(scene: Scene) -> Canvas:
    # A small scene is not cut finer than its own pixels: a click would reach less far in it.
    side = min(WORKING_SIDE, max(SIDE, *scene.size))
    return Canvas(layer_of(scene, whole(scene.size), side=side))


def _boxed(crop: Crop) -> Boxed:
    return Boxed(layer_of(crop.scene, surroundings(crop)), crop.box)


def surroundings(crop: Crop) -> Box:
    """The RoI and what the box is judged against, absolute pixels."""
    box, roi, (height, width) = crop.box, crop.roi, crop.scene.size
    x = max(_LEAST_PADDING, round(_PADDING * box.width))
    y = max(_LEAST_PADDING, round(_PADDING * box.height))
    return Box(
        max(0, min(roi.x1, box.x1 - x)),
        max(0, min(roi.y1, box.y1 - y)),
        min(width, max(roi.x2, box.x2 + x)),
        min(height, max(roi.y2, box.y2 + y)),
    )


def _of_scene(scene: Scene) -> Hashable:
    return scene.digest


evidences: Kept[Scene, Evidence] = Kept(CAPACITY, _evidence, _of_scene)
canvases: Kept[Scene, Canvas] = Kept(CANVASES, _canvas, _of_scene)
boxes: Kept[Crop, Boxed] = Kept(BOXES, _boxed, lambda crop: (crop.digest, crop.roi, crop.box))


def evidence_of(scene: Scene) -> Evidence:
    """The scene's evidence, kept for the next few calls."""
    return evidences.of(scene)


def canvas_of(scene: Scene) -> Canvas:
    """The whole scene's superpixels for clicks, kept for the next few calls."""
    return canvases.of(scene)


def boxed_of(crop: Crop) -> Boxed:
    """The crop's box on the superpixels around it, kept for the next few calls."""
    return boxes.of(crop)
