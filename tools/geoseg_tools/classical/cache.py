"""What was derived from the last few scenes, by digest: working-size arrays only, never the scene's pixels."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from geoseg_tools.classical.canvas import Canvas
from geoseg_tools.classical.evidence import Evidence
from geoseg_tools.classical.features import WORKING_SIDE, thumbnail
from geoseg_tools.classical.layer import SIDE, layer_of
from geoseg_tools.geometry import whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from geoseg_tools.crop import Scene

T = TypeVar("T")

CAPACITY = 4
"""Scenes whose evidence is kept."""

CANVASES = 2
"""Scenes whose canvas is kept; one is about 40 MB at working size."""


class Kept(Generic[T]):
    """The last few values made of scenes; safe to use from several threads."""

    def __init__(self, capacity: int, make: Callable[[Scene], T]) -> None:
        self._capacity = capacity
        self._make = make
        self._values: OrderedDict[str, T] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._values)

    def of(self, scene: Scene) -> T:
        """What was or is now made of the scene; equal for scenes of equal digest."""
        with self._lock:
            found = self._values.get(scene.digest)
            if found is not None:
                self._values.move_to_end(scene.digest)
                return found
        fresh = self._make(scene)
        with self._lock:
            # Two threads may have worked on one scene; both results are equal, the first is kept.
            found = self._values.setdefault(scene.digest, fresh)
            self._values.move_to_end(scene.digest)
            while len(self._values) > self._capacity:
                self._values.popitem(last=False)
        return found


def _evidence(scene: Scene) -> Evidence:
    return Evidence(thumbnail(scene))


def _canvas(scene: Scene) -> Canvas:
    # A small scene is not cut finer than its own pixels: a click would reach less far in it.
    side = min(WORKING_SIDE, max(SIDE, *scene.size))
    return Canvas(layer_of(scene, whole(scene.size), side=side))


evidences: Kept[Evidence] = Kept(CAPACITY, _evidence)
canvases: Kept[Canvas] = Kept(CANVASES, _canvas)


def evidence_of(scene: Scene) -> Evidence:
    """The scene's evidence, kept for the next few calls."""
    return evidences.of(scene)


def canvas_of(scene: Scene) -> Canvas:
    """The whole scene's superpixels for clicks, kept for the next few calls."""
    return canvases.of(scene)
