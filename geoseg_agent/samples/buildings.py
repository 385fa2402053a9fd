"""Buildings: tiled gables with a lit and a shaded side, and flat roofs with parapets, skylights and plant."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geoseg_agent.samples.texture import grain, noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_agent.samples.canvas import Board, Colour, Patch
    from geoseg_tools.arrays import Mask


class Roof(NamedTuple):
    """What a roof is called and the colour of its covering."""

    name: str
    colour: Colour


TILED = (
    Roof("red", (0.640, 0.325, 0.235)),
    Roof("red", (0.700, 0.390, 0.275)),
    Roof("brown", (0.450, 0.335, 0.270)),
    Roof("dark", (0.315, 0.320, 0.345)),
)
FLAT = (Roof("grey", (0.660, 0.660, 0.655)), Roof("white", (0.830, 0.825, 0.810)))

_CLEARANCE = 1.6
"""Metres of open ground a house keeps from whatever is there already."""


def house(board: Board, centre: NDArray[np.float64], angle: float, *, tag: str = "") -> bool:
    """A dwelling with a tiled gable, sometimes with a wing, about `centre` (x, y pixels); False without room."""
    rng = board.rng
    length, width = float(rng.uniform(10, 14.5)), float(rng.uniform(7.5, 9.5))
    patch = board.patch(centre, angle, 0.75 * (length + width))
    if patch is None:
        return False
    wing = float(rng.uniform(3.0, 4.5)) if rng.random() < 0.35 else 0.0
    side = float(rng.choice((-1.0, 1.0)))
    start = float(rng.uniform(-0.25, 0.1)) * length
    main = _rectangle(patch, length, width)
    wing_along = patch.along - start
    wing_mask = (np.abs(wing_along) < 2.9) & (patch.across * side > 0) & (patch.across * side < width / 2 + wing)
    footprint = main | wing_mask if wing else main
    if not _roomy(board, patch, length, width, wing):
        return False
    roof = TILED[int(rng.choice(len(TILED), p=(0.34, 0.28, 0.2, 0.18)))]
    eave, pitch = float(rng.uniform(3.4, 5.4)), float(rng.uniform(0.55, 0.8))
    height = eave + pitch * (width / 2 - np.abs(patch.across))
    facing = np.sign(patch.across) * _towards_sun(board, angle + np.pi / 2)
    ridge = np.abs(patch.across) < 0.3
    if wing:
        wing_height = eave + pitch * (2.9 - np.abs(wing_along))
        over = wing_mask & (~main | (wing_height > height))
        height = np.where(over, wing_height, height)
        facing = np.where(over, np.sign(wing_along) * _towards_sun(board, angle), facing)
        ridge = np.where(over, np.abs(wing_along) < 0.3, ridge)
    light = 0.93 + 0.21 * facing + 0.05 * grain(rng, patch.box.size, 0.7) + 0.10 * ridge
    tint = 1 + 0.035 * rng.standard_normal(3)
    look = (light[..., None] * (np.array(roof.colour) * tint)).astype(np.float32)
    words = {roof.name, "house"} | ({tag} if tag else set())
    owner = board.add("building", words)
    board.paint(footprint, "building", look, box=patch.box, owner=owner, height=height.astype(np.float32))
    _chimney(board, patch, main, length, width)
    return True


def hall(
    board: Board,
    centre: NDArray[np.float64],
    angle: float,
    size: tuple[float, float],
    *,
    name: str = "hall",
) -> bool:
    """A flat-roofed building of `size` (length, width in metres); False where it has no room."""
    rng = board.rng
    length, width = size
    patch = board.patch(centre, angle, 0.62 * (length + width))
    if patch is None or not _roomy(board, patch, length, width, 0.0):
        return False
    roof = FLAT[int(rng.choice(len(FLAT), p=(0.65, 0.35)))]
    mask = _rectangle(patch, length, width)
    rim = mask & ~_rectangle(patch, length - 1.6, width - 1.6)
    shape = patch.box.size
    light = 0.95 + 0.035 * noise(rng, shape, board.pixels(9)) + 0.02 * grain(rng, shape, 0.5)
    light = np.where(rim, 1.06, light)
    seams = np.abs(np.mod(patch.along, 7.0) - 3.5) < 0.22
    light = np.where(seams & ~rim, light - 0.05, light)
    look = (light[..., None] * np.array(roof.colour)).astype(np.float32)
    height = np.full(shape, rng.uniform(7.0, 10.0), dtype=np.float32)
    height[rim] += 0.6
    owner = board.add("building", {roof.name, "flat", name})
    for _ in range(int(length * width / 160)):
        a, c = (float(rng.uniform(-0.38, 0.38)) * side for side in size)
        unit = (np.abs(patch.along - a) < rng.uniform(0.9, 2.0)) & (np.abs(patch.across - c) < rng.uniform(0.8, 1.5))
        look[unit] = np.float32(rng.uniform(0.62, 0.9))
        height[unit] += np.float32(1.7)
    board.paint(mask, "building", look, box=patch.box, owner=owner, height=height)
    return True


def _rectangle(patch: Patch, length: float, width: float) -> Mask:
    return np.asarray((np.abs(patch.along) < length / 2) & (np.abs(patch.across) < width / 2), dtype=np.bool_)


def _roomy(board: Board, patch: Patch, length: float, width: float, wing: float) -> bool:
    """Whether the building with its clearance lies wholly inside the image, on grass."""
    grown = _rectangle(patch, length + 2 * _CLEARANCE, width + 2 * (_CLEARANCE + wing))
    touches = grown[0].any() or grown[-1].any() or grown[:, 0].any() or grown[:, -1].any()
    return not touches and board.free(grown, patch.box, "grass")


def _towards_sun(board: Board, angle: float) -> float:
    """Cosine between the direction `angle` on the image and the sun."""
    return float(np.cos(angle) * board.sun[0] + np.sin(angle) * board.sun[1])


def _chimney(board: Board, patch: Patch, main: Mask, length: float, width: float) -> None:
    """A chimney beside the ridge, and now and then a row of solar panels on one side."""
    rng = board.rng
    a, c = float(rng.uniform(-0.3, 0.3)) * length, float(rng.choice((-1.0, 1.0))) * 0.12 * width
    stack = (np.abs(patch.along - a) < 0.5) & (np.abs(patch.across - c) < 0.5) & main
    board.paint(stack, None, (0.50, 0.40, 0.36), box=patch.box)
    rows = board.height[patch.box.slices]
    rows[stack] += np.float32(1.3)
    if rng.random() < 0.18:
        side = float(rng.choice((-1.0, 1.0)))
        panels = (np.abs(patch.along) < 0.3 * length) & (np.abs(patch.across * side - 0.28 * width) < 0.15 * width)
        gaps = np.mod(patch.along, 1.7) < 0.3
        board.paint(panels & main & ~gaps, None, (0.13, 0.16, 0.25), box=patch.box)
