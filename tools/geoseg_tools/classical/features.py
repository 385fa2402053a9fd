"""What every evidence map reads from a scene: colour, texture and gradient at a working size.

The working size is at most 640 pixels on the long side (never enlarged), so time and memory do not depend on
the size of the image; all lengths in the evidence modules are pixels at that size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

import cv2
import numpy as np

from geoseg_tools.classical import ops
from geoseg_tools.classical.both import both
from geoseg_tools.geometry import whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask, Rgb, Size
    from geoseg_tools.classical.ops import Map
    from geoseg_tools.crop import Scene

WORKING_SIDE = 640


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Per-pixel features at working size; every map is (h, w) float32.

    Attributes:
        full: (H, W) of the scene.
        valid: (h, w) bool, a little narrower than the scene's validity, so that no edge to nodata is seen.
        lab: (h, w, 3) CIE Lab, L 0..100, smoothed with edges kept.
        lightness, green_red, blue_yellow: its channels, each contiguous; negative is dark, green, blue.
        chroma: distance from the grey axis in Lab.
        exg: excess green, about -0.5..1.
        std, std6: local standard deviation of lightness, before smoothing, in windows of 2 and 6 pixels.
        gmax: strongest colour gradient within one pixel.
        edges: density of strong gradients, 0..1.
        grey: the image has no colour.
    """

    full: Size
    valid: Mask
    lab: NDArray[np.float32]
    lightness: Map
    green_red: Map
    blue_yellow: Map
    chroma: Map
    exg: Map
    std: Map
    std6: Map
    gmax: Map
    edges: Map
    grey: bool

    @property
    def size(self) -> Size:
        """(h, w), the working size."""
        return cast("Size", self.valid.shape)

    @property
    def count(self) -> int:
        """Number of working pixels, N of the evidence thresholds."""
        return int(self.valid.size)


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnail:
    """A scene at working size: (h, w, 3) float32 RGB 0..1 with invalid pixels filled, and their validity."""

    full: Size
    rgb: NDArray[np.float32]
    valid: Mask


def working_size(size: Size, side: int = WORKING_SIDE) -> Size:
    """`size` (h, w) reduced so that the long side is at most `side`, each at least 1."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def thumbnail(scene: Scene, side: int = WORKING_SIDE) -> Thumbnail:
    """Reduce a scene by area and settle which pixels are worth looking at."""
    size = working_size(scene.size, side)
    pixels, seen = scene.view(whole(scene.size), size)
    small = cast("Rgb", ops.shrink(pixels, size))
    valid = np.ones(size, np.bool_)
    if seen is not None:
        # Only cells that are valid as a whole: a mixed one has a colour that is nowhere in the scene.
        valid = ops.shrink(seen.view(np.uint8) * np.uint8(255), size) == 255
    valid = ops.erode(valid & ~_blank(small), 3)
    rgb = small.astype(np.float32) / np.float32(255)
    if not valid.all():
        rgb[~valid] = np.median(rgb[valid], axis=0) if valid.any() else 0.5
    return Thumbnail(scene.size, rgb, valid)


def _blank(small: Rgb) -> Mask:
    # Mosaics are often padded with pure black or white without saying so in the file.
    out = np.zeros(small.shape[:2], np.bool_)
    at_corners = ([0, 0, -1, -1], [0, -1, 0, -1])
    for value in ((0, 0, 0), (255, 255, 255)):
        plain = cv2.inRange(small, value, value) > 0
        if not plain[at_corners].any():
            continue
        found = ops.components(plain, 4)
        corners = found.labels[at_corners]
        keep = np.zeros(len(found.area), np.bool_)
        keep[corners] = True
        out |= found.only(keep & (found.area > 0.01 * out.size))
    return out


def extract(thumb: Thumbnail, threads: int = 2) -> Features:
    """Compute all features of a thumbnail, on one or two threads."""
    lab = ops.lab(thumb.rgb)
    edges, texture = both(partial(_edges, lab), partial(_texture, lab), threads)
    calm = _calm(thumb)
    red, green, blue = calm[..., 0], calm[..., 1], calm[..., 2]
    smooth = edges.smooth
    return Features(
        full=thumb.full,
        valid=thumb.valid,
        lab=smooth,
        lightness=np.ascontiguousarray(smooth[..., 0]),
        green_red=np.ascontiguousarray(smooth[..., 1]),
        blue_yellow=np.ascontiguousarray(smooth[..., 2]),
        chroma=np.hypot(smooth[..., 1], smooth[..., 2]),
        exg=(2 * green - red - blue) / (red + green + blue + 0.05),
        std=texture.std,
        std6=texture.std6,
        gmax=edges.gmax,
        edges=edges.density,
        grey=bool(np.abs(thumb.rgb[..., 0] - thumb.rgb[..., 2]).mean() < 0.005),
    )


class _Edges(NamedTuple):
    """What comes of smoothing: `lab`, `gmax` and `edges` of `Features`."""

    smooth: NDArray[np.float32]
    gmax: Map
    density: Map


def _edges(lab: NDArray[np.float32]) -> _Edges:
    smooth = cast("NDArray[np.float32]", cv2.bilateralFilter(lab, 7, 12, 3))
    gradient = _gradient(smooth)
    gmax = cast("Map", cv2.dilate(gradient, np.ones((3, 3), np.uint8)))
    return _Edges(smooth, gmax, ops.blur(gradient > 6, 8))


class _Texture(NamedTuple):
    """`std` and `std6` of `Features`."""

    std: Map
    std6: Map


def _texture(lab: NDArray[np.float32]) -> _Texture:
    lightness = np.ascontiguousarray(lab[..., 0])
    return _Texture(ops.local_std(lightness, 2), ops.local_std(lightness, 6))


def hsv(thumb: Thumbnail) -> tuple[Map, Map, Map]:
    """Hue in degrees 0..360, saturation and value 0..1, each (h, w) float32: for swimming pools alone."""
    hue, saturation, value = cv2.split(cv2.cvtColor(_calm(thumb), cv2.COLOR_RGB2HSV))
    return cast("tuple[Map, Map, Map]", (hue, saturation, value))


def _calm(thumb: Thumbnail) -> NDArray[np.float32]:
    return ops.blur(thumb.rgb, 1)


def _gradient(lab: NDArray[np.float32]) -> Map:
    soft = ops.blur(lab, 1.2)
    dx = cv2.Sobel(soft, cv2.CV_32F, 1, 0)
    dy = cv2.Sobel(soft, cv2.CV_32F, 0, 1)
    total = dx * dx + dy * dy
    out: Map = np.sqrt(total[..., 0] + total[..., 1] + total[..., 2]).astype(np.float32) / np.float32(4)
    return out


def changed(thumb: Thumbnail, scale: float = 1.0, gamma: float = 1.0) -> Thumbnail:
    """The same scene smaller by `scale` and with its tones raised to `gamma`, to see what holds up."""
    size = working_size(thumb.valid.shape, max(1, round(max(thumb.valid.shape) * scale)))
    rgb = ops.shrink(thumb.rgb, size)
    valid = ops.shrink(thumb.valid.view(np.uint8) * np.uint8(255), size) > 127
    if gamma != 1.0:
        rgb = np.power(np.clip(rgb, 0, 1), np.float32(gamma))
    return Thumbnail(thumb.full, np.asarray(rgb, np.float32), valid)
