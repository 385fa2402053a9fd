"""A window of an image as an image of its own, for grounders that know whole images only."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from geoseg_agent.georeference import Georeference
from geoseg_agent.imagery import Image
from geoseg_tools.crop import Scene, View

if TYPE_CHECKING:
    from geoseg_agent.types import GroundingReply
    from geoseg_tools.arrays import Mask, Rgb, Size
    from geoseg_tools.geometry import Box


class WindowScene(Scene):
    """A window of a scene; nothing is copied, and nothing is read before it is looked at.

    Its digest is that of the parent's digest and the window. Its validity is that of `view` and `seen`.

    Args:
        parent: the scene.
        window: absolute pixels, inside the parent.
    """

    __slots__ = ("parent", "window")

    def __init__(self, parent: Scene, window: Box) -> None:
        text = f"{parent.digest} {tuple(window)}"
        super().__init__(window.size, hashlib.sha256(text.encode("ascii")).hexdigest())
        self.parent = parent
        self.window = window

    @property
    def pixels(self) -> Rgb:
        """As `Scene.pixels`."""
        return self.parent.view(self.window).pixels

    def view(self, window: Box, at_least: Size | None = None) -> View:
        """As `Scene.view`."""
        return self.parent.view(window.offset(self.window), at_least)

    def seen(self, window: Box) -> Mask | None:
        """As `Scene.seen`."""
        return self.parent.seen(window.offset(self.window))

    @property
    def has_pixels(self) -> bool:
        """As `Scene.has_pixels`."""
        return self.parent.has_pixels


def part_of(image: Image, window: Box) -> Image:
    """The window as an image, at its place on the ground."""
    at = image.georeference
    if at is not None:
        a, b, c, d, e, f = at.transform
        moved = (a, b, a * window.x1 + b * window.y1 + c, d, e, d * window.x1 + e * window.y1 + f)
        at = Georeference(at.crs, moved)
    scene = WindowScene(image.scene, window)
    return Image(scene, image.name, None, None, at, image.bands, image.stretch)


def moved_back(reply: GroundingReply, window: Box) -> GroundingReply:
    """A reply about the window as one about the image; masks are in the frames of their boxes and move along."""
    targets = tuple(replace(target, box=target.box.offset(window)) for target in reply.targets)
    return replace(reply, targets=targets)
