"""What drives and flies: car parks with bays, cars and vans, and airliners with swept wings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoseg_agent.samples.canvas import rgb
from geoseg_agent.samples.texture import fractal, grain, tangents

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from geoseg_agent.samples.canvas import Board, Colour
    from geoseg_agent.samples.roads import Road

_PAINTWORK: tuple[Colour, ...] = (
    (0.88, 0.88, 0.88),
    (0.62, 0.63, 0.65),
    (0.16, 0.16, 0.18),
    (0.36, 0.37, 0.40),
    (0.55, 0.14, 0.13),
    (0.18, 0.26, 0.45),
)
_LIVERIES: tuple[Colour, ...] = ((0.70, 0.15, 0.15), (0.12, 0.25, 0.55), (0.85, 0.55, 0.12), (0.15, 0.45, 0.40))
_ROW = 16.0
"""Metres: bays of 5 m on both sides of an aisle of 6 m."""


def car(board: Board, centre: NDArray[np.float64], angle: float) -> None:
    """A parked or driving car, or now and then a van."""
    rng = board.rng
    van = rng.random() < 0.12
    length, width = (5.6, 2.1) if van else (float(rng.uniform(4.0, 4.8)), 1.85)
    patch = board.patch(centre, angle, 0.6 * length)
    if patch is None:
        return
    body = (np.abs(patch.along) < length / 2) & (np.abs(patch.across) < width / 2)
    if not board.free(body, patch.box, "road", "car park"):
        return
    paint = (0.90, 0.90, 0.89) if van else _PAINTWORK[int(rng.integers(len(_PAINTWORK)))]
    board.paint(body, None, paint, box=patch.box, height=2.2 if van else 1.45)
    glass = body & (np.abs(np.abs(patch.along) - 0.24 * length) < 0.45) & (np.abs(patch.across) < 0.42 * width)
    board.paint(glass, None, (0.12, 0.13, 0.15), box=patch.box)
    board.vehicle[patch.box.slices][body] = board.add("vehicle")


def drive(board: Board, roads: Iterable[Road], spacing: float) -> None:
    """Cars on the right-hand lane of each road, one about every `spacing` metres."""
    rng = board.rng
    for item in roads:
        if item.surface == "track":
            continue
        ahead = tangents(item.curve)
        step = max(int(spacing / 2.0), 1)
        for index in range(int(rng.integers(step)), len(item.curve), step):
            way = float(rng.choice((-1.0, 1.0)))
            right = np.array([-ahead[index, 1], ahead[index, 0]]) * way
            spot = item.curve[index] + right * board.pixels(0.24 * item.width)
            car(board, spot, float(np.arctan2(*ahead[index, ::-1])))


def car_park(board: Board, centre: NDArray[np.float64], angle: float, length: float, rows: int) -> bool:
    """A car park of `length` metres and `rows` double rows of bays; False where it has no room."""
    rng = board.rng
    width = rows * _ROW
    patch = board.patch(centre, angle, 0.6 * (length + width))
    if patch is None:
        return False
    mask = (np.abs(patch.along) < length / 2) & (np.abs(patch.across) < width / 2)
    if not board.free(mask, patch.box, "grass"):
        return False
    shape = patch.box.size
    wear = 1 + 0.03 * fractal(rng, shape, board.pixels(8), octaves=3) + 0.025 * grain(rng, shape, 0.6)
    look = (wear[..., None] * np.array((0.400, 0.400, 0.405))).astype(np.float32)
    within = np.mod(patch.across + width / 2, _ROW)
    bays = (within < 5.0) | (within > 11.0)
    lines = bays & (np.mod(patch.along + length / 2, 2.6) < 0.3)
    look[lines] = 0.35 * look[lines] + 0.65 * np.float32(0.88)
    board.paint(mask, "car park", look, box=patch.box, owner=board.add("car park"), height=0.0)
    ahead, right = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    full = float(rng.uniform(0.45, 0.75))
    for row in range(rows):
        for side in (2.6, 13.4):
            for along in np.arange(-length / 2 + 1.45, length / 2 - 1.4, 2.6):
                if rng.random() < full:
                    across = -width / 2 + row * _ROW + side
                    spot = centre + (ahead * along + right * across) * board.pixels(1.0)
                    car(board, spot, angle + np.pi / 2)
    return True


def aircraft(board: Board, centre: NDArray[np.float64], heading: float, scale: float, place: str) -> bool:
    """An airliner of `scale` times 38 m, its nose towards `heading` (radians on the image).

    `place` becomes an attribute, such as "on the apron". False where it would reach over the image or another thing.
    """
    rng = board.rng
    patch = board.patch(centre, heading, 24 * scale)
    if patch is None:
        return False
    x, y = patch.along / scale, np.abs(patch.across) / scale
    nose = np.sqrt(np.clip(1 - ((x - 13) / 6) ** 2, 0, 1))
    girth = 1.95 * np.where(x > 13, nose, np.clip(1 - (-10 - x) / 10, 0.12, 1))
    tube = (y < girth) & (np.abs(x) < 19)
    wing = (y < 17) & (x < 4.2 - 0.60 * y) & (x > -3.6 - 0.26 * y)
    tail = (y < 6.3) & (x < -13.8 - 0.62 * y) & (x > -17.8 - 0.34 * y)
    engine = (np.abs(y - 5.7) < 1.05) & (x < 4.0) & (x > 0.2)
    fin = (y < 0.42) & (x < -13.5) & (x > -18.8)
    whole = tube | wing | tail | engine | fin
    edge = whole[0].any() or whole[-1].any() or whole[:, 0].any() or whole[:, -1].any()
    if edge or not board.free(whole, patch.box, "apron", "taxiway", "runway"):
        return False
    round_side = patch.across / scale / np.maximum(girth, 0.3)
    facing = float(-np.sin(heading) * board.sun[0] + np.cos(heading) * board.sun[1])
    look = np.full((*patch.box.size, 3), 0.84, dtype=np.float32)
    look[engine & ~wing] = 0.66
    light = np.clip(0.90 + 0.10 * facing * round_side - 0.10 * round_side**2, 0.55, 1.02)
    look[tube] = light[tube][:, None].astype(np.float32)
    look[(np.abs(x - 17.2) < 0.45) & (y < 1.1) & tube] = 0.15
    look[fin] = rgb(_LIVERIES[int(rng.integers(len(_LIVERIES)))])
    look *= (1 + 0.015 * grain(rng, patch.box.size, 0.5))[..., None]
    height = np.where(fin, 11.5, np.where(tube, 5.0, 3.0)) * scale
    owner = board.add("aircraft", {"white", place})
    board.paint(whole, "aircraft", look, box=patch.box, owner=owner, height=height.astype(np.float32))
    return True
