"""Large scenes that are drawn where somebody looks: coloured rectangles on grey, exact at every resolution."""

import hashlib

import numpy as np

from geoseg_agent.imagery import Image
from geoseg_tools.crop import Scene, View
from geoseg_tools.geometry import Box

GROUND = (120, 120, 120)


class DrawnScene(Scene):
    """A scene of any size that holds no pixel; `valid` is the box outside of which there is no data, or None.

    The windows that were looked at are kept, with how many pixels came of them.
    """

    __slots__ = ("inside", "looks", "things")

    def __init__(self, size, things, inside=None):
        text = repr((size, [(tuple(box), colour) for box, colour in things], inside and tuple(inside)))
        super().__init__(size, hashlib.sha256(text.encode()).hexdigest())
        self.things, self.inside, self.looks = things, inside, []

    @property
    def pixels(self):
        raise AssertionError("nobody may ask for the whole of a large scene")

    @property
    def has_pixels(self):
        return True

    def view(self, window, at_least=None):
        wanted = window.size if at_least is None else tuple(map(max, at_least, (1, 1)))
        size = tuple(min(a, b) for a, b in zip(window.size, wanted, strict=True))
        self.looks.append((window, size))
        pixels = np.empty((*size, 3), np.float32)
        pixels[:] = GROUND
        for box, colour in self.things:
            share = _share(box, window, size)[..., None]
            pixels += share * (np.float32(colour) - pixels)
        return View(np.rint(pixels).astype(np.uint8), self._valid_of(window, size))

    def seen(self, window):
        return self._valid_of(window, window.size)

    def _valid_of(self, window, size):
        return None if self.inside is None else _share(self.inside, window, size) >= 1


def _share(box, window, size):
    """How much of each of the (h, w) pixels that show the window lies in the box, 0..1."""
    down = _along(box.y1 - window.y1, box.y2 - window.y1, window.height, size[0])
    across = _along(box.x1 - window.x1, box.x2 - window.x1, window.width, size[1])
    return np.outer(down, across).astype(np.float32)


def _along(low, high, side, count):
    edges = np.arange(count + 1) * (side / count)
    inside = np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None)
    return inside * (count / side)


def drawn(size, *things, inside=None, **about):
    """An image of such a scene; things are pairs of x1, y1, x2, y2 and a colour."""
    scene = DrawnScene(size, [(Box(*box), colour) for box, colour in things], inside)
    return Image(scene, "drawn", **about)
