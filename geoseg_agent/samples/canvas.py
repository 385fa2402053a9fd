"""The drawing board: colour, height and meaning of every pixel, written together so that they cannot disagree."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from geoseg_agent.samples.texture import Field
    from geoseg_tools.arrays import Mask, Size

CONCEPTS = (
    "grass",
    "water",
    "field",
    "road",
    "car park",
    "paved",
    "apron",
    "taxiway",
    "runway",
    "bare ground",
    "building",
    "tree",
    "aircraft",
)
"""The classes a pixel can have; the index is its label."""

Colour = tuple[float, float, float]


def rgb(colour: Colour) -> NDArray[np.float32]:
    """(3,) float32."""
    return np.array(colour, dtype=np.float32)


class Thing(NamedTuple):
    """An object drawn: its class and the words that are true of it."""

    concept: str
    attributes: frozenset[str]


class Patch(NamedTuple):
    """A window of the board in the frame of one object.

    Attributes:
        box: the window, absolute pixels.
        along: (h, w) float32, metres from the object's centre along its axis.
        across: (h, w) float32, metres from the axis, positive to its right as seen on the image.
    """

    box: Box
    along: Field
    across: Field


class Board:
    """A scene while it is being drawn.

    Attributes:
        size: (H, W).
        metres: side of a pixel.
        rng: the only source of chance.
        flip: whether the plan of the land is mirrored in x and in y.
        sun: unit vector (x, y) on the image towards the sun.
        colour: (H, W, 3) float32, 0..1, what full light would show.
        height: (H, W) float32, metres above the ground, for shadows.
        label: (H, W) uint8, index into `CONCEPTS`; grass to begin with.
        owner: (H, W) int32, 1 + index into `things`, 0 for none.
        vehicle: (H, W) int32, 1 + index into `things`; vehicles leave the label of what they stand on.
    """

    def __init__(self, size: Size, metres: float, rng: np.random.Generator, sun: tuple[float, float]) -> None:
        self.size = size
        self.flip = (bool(rng.random() < 0.5), bool(rng.random() < 0.5))
        self.metres = metres
        self.rng = rng
        self.sun = sun
        self.colour = np.zeros((*size, 3), dtype=np.float32)
        self.height = np.zeros(size, dtype=np.float32)
        self.label = np.zeros(size, dtype=np.uint8)
        self.owner = np.zeros(size, dtype=np.int32)
        self.vehicle = np.zeros(size, dtype=np.int32)
        self.things: list[Thing] = []

    def pixels(self, metres: float) -> float:
        """A length in pixels."""
        return metres / self.metres

    def at(self, u: float, v: float) -> NDArray[np.float64]:
        """The pixel (x, y) at the shares `u`, `v` of width and height, mirrored as the plan is; may lie outside."""
        shares = (1 - u if self.flip[0] else u, 1 - v if self.flip[1] else v)
        return np.array([shares[0] * self.size[1], shares[1] * self.size[0]])

    def shares(self) -> tuple[Field, Field]:
        """`u` and `v`, each (H, W) float32, read-only: the inverse of `at` for every pixel."""
        u, v = ((np.arange(side, dtype=np.float32) + np.float32(0.5)) / np.float32(side) for side in self.size[::-1])
        u, v = (1 - u if self.flip[0] else u), (1 - v if self.flip[1] else v)
        return np.broadcast_to(u[None, :], self.size), np.broadcast_to(v[:, None], self.size)

    def add(self, concept: str, attributes: Iterable[str] = ()) -> int:
        """Announce an object; its number is what `paint` and `owner` use."""
        self.things.append(Thing(concept, frozenset(attributes)))
        return len(self.things)

    def tinted(self, colour: Colour, strength: float) -> NDArray[np.float32]:
        """(H, W, 3) float32: what is drawn, mixed with a share `strength` of a colour."""
        return np.asarray(
            self.colour * np.float32(1 - strength) + rgb(colour) * np.float32(strength), dtype=np.float32
        )

    def of(self, *concepts: str) -> Mask:
        """(H, W) bool: where the classes are seen at this moment."""
        wanted = np.zeros(len(CONCEPTS), dtype=np.bool_)
        wanted[[CONCEPTS.index(concept) for concept in concepts]] = True
        return np.asarray(wanted[self.label], dtype=np.bool_)

    def patch(self, centre: NDArray[np.float64], angle: float, reach: float) -> Patch | None:
        """The window within `reach` metres of `centre` (x, y pixels); None where it misses the image."""
        half = self.pixels(reach) + 2
        x1, y1 = (max(int(np.floor(c - half)), 0) for c in centre)
        x2, y2 = (min(int(np.ceil(c + half)), side) for c, side in zip(centre, self.size[::-1], strict=True))
        if x1 >= x2 or y1 >= y2:
            return None
        dx = (np.arange(x1, x2) + 0.5 - centre[0])[None, :] * self.metres
        dy = (np.arange(y1, y2) + 0.5 - centre[1])[:, None] * self.metres
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        along = (dx * cos + dy * sin).astype(np.float32)
        across = (dy * cos - dx * sin).astype(np.float32)
        return Patch(Box(x1, y1, x2, y2), along, across)

    def paint(
        self,
        mask: Mask,
        concept: str | None,
        colour: NDArray[np.float32] | Colour,
        *,
        box: Box | None = None,
        owner: int = 0,
        height: Field | float | None = None,
    ) -> None:
        """Draw where `mask` is set: colour, meaning, owner and height at once.

        Args:
            mask: (h, w) bool, frame of `box`, or of the image without one.
            concept: the new class; None changes the look only.
            colour: three numbers, or (h, w, 3) float32 in the frame of the mask.
            box: the window drawn in.
            owner: number of the object, 0 for none.
            height: metres above ground, a number or (h, w) float32; None leaves the height.
        """
        rows, cols = box.slices if box else (slice(None), slice(None))
        part = np.asarray(colour, dtype=np.float32)
        self.colour[rows, cols][mask] = part[mask] if part.ndim == 3 else part
        if concept is not None:
            self.label[rows, cols][mask] = CONCEPTS.index(concept)
            self.owner[rows, cols][mask] = owner
        if height is not None:
            self.height[rows, cols][mask] = height if isinstance(height, float) else height[mask]

    def free(self, mask: Mask, box: Box, *concepts: str) -> bool:
        """Whether `mask`, in the frame of `box`, covers nothing but these classes."""
        seen = self.label[box.slices][mask]
        return bool(seen.size) and bool(np.isin(seen, [CONCEPTS.index(concept) for concept in concepts]).all())

    def shows(self, x: int, y: int, *concepts: str) -> bool:
        """Whether one pixel shows one of these classes."""
        return CONCEPTS[self.label[y, x]] in concepts

    def distance(self, mask: Mask) -> Field:
        """(H, W) float32: metres from each pixel to the nearest set pixel of `mask`."""
        away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
        return np.asarray(away, dtype=np.float32) * np.float32(self.metres)
