"""A scene and a crop of it, as the tools see them.

A tool works on `crop.pixels`. One that needs the surroundings (thresholds that only make sense for the
whole image) reads `crop.scene` and may cache what it derives under `scene.digest`. Both are read-only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from geoseg_tools.errors import GeometryError, NoPixelsError
from geoseg_tools.geometry import Box, whole

if TYPE_CHECKING:
    from geoseg_tools.arrays import Mask, Rgb, Size


class View(NamedTuple):
    """A window of a scene.

    Attributes:
        pixels: (h, w, 3) uint8 RGB, read-only.
        valid: (h, w) bool, read-only, False on nodata; None where every pixel is valid.
    """

    pixels: Rgb
    valid: Mask | None


class Scene:
    """One image: pixels, validity, and the digest that identifies both.

    This one holds its pixels. One that reads them from a file overrides `view`, `seen` and `has_pixels`, and nothing
    that looks through these knows the difference.

    Args:
        size: (H, W).
        digest: sha256 over pixels and validity, hex; equal digests mean equal scenes.
        pixels: (H, W, 3) uint8 RGB, or None where the scene was rebuilt from a trace.
        valid: (H, W) bool, False on nodata; None means every pixel is valid.
        opened: whether the pixels are read from a file in windows, or were when the trace was made.
    """

    __slots__ = ("_pixels", "_valid", "digest", "opened", "size")

    def __init__(
        self,
        size: Size,
        digest: str,
        pixels: Rgb | None = None,
        valid: Mask | None = None,
        *,
        opened: bool = False,
    ) -> None:
        if pixels is not None and pixels.shape != (*size, 3):
            raise GeometryError(f"pixels of shape {pixels.shape} do not fit a scene of size {size}")
        if valid is not None and valid.shape != size:
            raise GeometryError(f"validity of shape {valid.shape} does not fit a scene of size {size}")
        self.size = size
        self.digest = digest
        self.opened = opened
        self._valid = valid
        self._pixels = pixels
        for array in (pixels, valid):
            if array is not None:
                array.flags.writeable = False

    @property
    def pixels(self) -> Rgb:
        """(H, W, 3) uint8 RGB.

        Raises:
            NoPixelsError: the scene was rebuilt from a trace.
        """
        if self._pixels is None:
            raise NoPixelsError("this scene was rebuilt from a trace and has no pixels; give the image itself")
        return self._pixels

    @property
    def valid(self) -> Mask | None:
        """(H, W) bool, False on nodata; None where every pixel is valid, or where there are none."""
        return self._valid

    def view(self, window: Box, at_least: Size | None = None) -> View:  # noqa: ARG002 - for those that read files
        """The pixels of a window, absolute; a view where they are held.

        Args:
            window: inside the scene.
            at_least: (h, w) that is enough for the caller, who will shrink what comes to it. What comes has the
                window's own resolution or any between the two, so that a file need not be read at the finest one.

        Raises:
            NoPixelsError: the scene was rebuilt from a trace.
        """
        return View(self.pixels[window.slices], self.seen(window))

    def seen(self, window: Box) -> Mask | None:
        """(h, w) bool: the validity of a window, absolute, of any size; None where all of it is valid or unknown."""
        return None if self._valid is None else self._valid[window.slices]

    @property
    def has_pixels(self) -> bool:
        """False for a scene rebuilt from a trace."""
        return self._pixels is not None


@dataclass(frozen=True, slots=True)
class Crop:
    """The region of interest of one target; its identity is (scene digest, roi, box).

    Attributes:
        scene: the image it is cut from; nothing is copied.
        roi: the refined box b', absolute pixels, inside the scene.
        box: the target's own box b before refinement, inside the scene. Tools that model foreground
            against surroundings need it; it is the whole RoI where no box is known.
        target: which target of its query the crop belongs to, from 1; a label for traces, not identity.
    """

    scene: Scene = field(compare=False)
    roi: Box
    box: Box
    target: int = field(default=1, compare=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        for name, box in (("roi", self.roi), ("box", self.box)):
            if not whole(self.scene.size).contains(box):
                raise GeometryError(f"{name} {tuple(box)} reaches over the image of size {self.scene.size}")
        object.__setattr__(self, "digest", self.scene.digest)

    @property
    def pixels(self) -> Rgb:
        """(h, w, 3) uint8 RGB, RoI frame; a view."""
        return self.scene.view(self.roi).pixels

    @property
    def valid(self) -> Mask | None:
        """(h, w) bool, RoI frame; a view, or None where every pixel is valid or the scene has no pixels."""
        return self.scene.seen(self.roi)

    @property
    def size(self) -> Size:
        """(h, w) of the RoI."""
        return self.roi.size
