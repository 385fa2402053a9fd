"""A plan of a regional airport: runway, taxiway, concrete apron, terminal, parked airliners, car park, mown grass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoseg_agent.samples.buildings import hall
from geoseg_agent.samples.canvas import Patch, rgb
from geoseg_agent.samples.land import lake, meadow
from geoseg_agent.samples.roads import pave, road
from geoseg_agent.samples.texture import fractal, grain, noise
from geoseg_agent.samples.traffic import aircraft, car_park, drive
from geoseg_agent.samples.trees import hedge, leaves, scatter
from geoseg_tools.geometry import whole

if TYPE_CHECKING:
    from geoseg_agent.samples.canvas import Board, Colour

_ASPHALT = (0.380, 0.380, 0.390)
_CONCRETE = (0.690, 0.680, 0.650)
_WHITE = (0.900, 0.900, 0.890)
_YELLOW = (0.820, 0.680, 0.240)


def airport(board: Board) -> None:
    """Draw the plan; everything hangs on one axis, the runway's direction."""
    rng, at = board.rng, board.at
    meadow(board)
    lean = float(rng.uniform(-0.05, 0.05))
    frame = board.patch(at(0.5, 0.5), lean, 1e4)
    if frame is None:  # pragma: no cover - the middle of an image lies in it
        return
    # `down` counts metres from the upper border of the plan, whichever way it is mirrored.
    sign = -1.0 if board.flip[1] else 1.0
    tall, wide = (side * board.metres for side in board.size)
    plan = Patch(whole(board.size), frame.along, np.asarray(sign * frame.across + tall / 2, dtype=np.float32))
    _mow(board, plan)
    runway, taxiway, apron = 0.17 * tall, 0.40 * tall, (0.49 * tall, 0.72 * tall)
    _strip(board, plan, "runway", _ASPHALT, (runway, 0.115 * tall), wide)
    _strip(board, plan, "taxiway", _ASPHALT, (taxiway, 0.05 * tall), wide)
    for share in (-0.28, 0.30):
        _link(board, plan, share * wide, (runway, apron[0] + 2), 0.045 * tall)
    _apron(board, plan, (-0.30 * wide, 0.38 * wide), apron)
    _runway_paint(board, plan, (runway, 0.115 * tall), -0.44 * wide)
    _taxi_paint(board, plan, taxiway)

    def place(along: float, down: float) -> tuple[float, float]:
        """Metres on the plan to pixel x, y."""
        across = sign * (down - tall / 2)
        x = along * np.cos(lean) - across * np.sin(lean)
        y = along * np.sin(lean) + across * np.cos(lean)
        middle = at(0.5, 0.5)
        return float(middle[0] + board.pixels(x)), float(middle[1] + board.pixels(y))

    toward = lean + sign * np.pi / 2
    hall(board, np.array(place(0.04 * wide, 0.785 * tall)), lean, (0.44 * wide, 0.075 * tall), name="terminal")
    hall(board, np.array(place(-0.385 * wide, 0.60 * tall)), lean, (0.12 * wide, 0.14 * tall), name="hangar")
    car_park(board, np.array(place(0.10 * wide, 0.895 * tall)), lean, 0.36 * wide, 1)
    pave(board, [road(board, [np.array(place(a * wide, 0.975 * tall)) for a in (-0.7, -0.2, 0.2, 0.7)], "main")])
    lake(
        board,
        np.array(place(-0.36 * wide, 0.87 * tall)),
        (0.085 * board.size[1], 0.065 * board.size[0]),
        rough=0.3,
        name="pond",
    )
    scale = min(0.95, 0.19 * tall / 38, 0.115 * wide / 34)
    for along in np.arange(-0.24, 0.36, 0.118).tolist():
        if rng.random() < 0.8:
            aircraft(
                board,
                np.array(place(along * wide, 0.615 * tall)),
                toward,
                scale * float(rng.uniform(0.85, 1)),
                "on the apron",
            )
    aircraft(
        board,
        np.array(place(0.17 * wide, runway)),
        lean + np.pi * board.flip[0],
        min(scale, 0.10 * tall / 34),
        "on the runway",
    )
    foliage = leaves(board)
    hedge(board, foliage, np.array([place(a * wide, 0.945 * tall) for a in np.linspace(-0.6, 0.6, 60)]), 0.5)
    scatter(board, foliage, int(90 * tall * wide / 2e5), (1.8, 4.0), np.asarray(plan.across > 0.80 * tall))
    drive(board, [road(board, [np.array(place(a * wide, 0.975 * tall)) for a in (-0.7, 0.0, 0.7)], "main")], 45)


def _mow(board: Board, plan: Patch) -> None:
    """Stripes where the mower went up and down."""
    stripe = np.sign(np.sin((plan.across + 0.4 * noise(board.rng, board.size, board.pixels(50))) * (np.pi / 5.0)))
    board.colour[:] = 0.6 * board.colour + 0.4 * rgb((0.450, 0.510, 0.295))
    board.colour *= (1 + 0.06 * stripe)[..., None]


def _worn(board: Board, colour: Colour, streak: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    wear = streak * fractal(board.rng, board.size, board.pixels(16), octaves=4) + 0.02 * grain(
        board.rng, board.size, 0.6
    )
    return np.asarray(rgb(colour) * (1 + wear)[..., None], dtype=np.float32)


def _strip(board: Board, plan: Patch, concept: str, colour: Colour, band: tuple[float, float], wide: float) -> None:
    """A straight strip through the whole image: `band` is its middle and its width in metres."""
    mask = (np.abs(plan.across - band[0]) < band[1] / 2) & (np.abs(plan.along) < wide)
    look = _worn(board, colour, 0.035)
    if concept == "runway":
        # Tyres leave dark rubber along the middle.
        look *= (1 - 0.16 * np.exp(-(((plan.across - band[0]) / (0.13 * band[1])) ** 2)))[..., None]
    board.paint(np.asarray(mask), concept, look, owner=board.add(concept))


def _link(board: Board, plan: Patch, along: float, span: tuple[float, float], width: float) -> None:
    """A taxiway across the plan, from the runway to the apron, wider where it meets them."""
    low, high = span
    flare = 0.5 * width + 6 * np.exp(-np.minimum(np.abs(plan.across - low - 22), np.abs(plan.across - high)) / 6)
    mask = (np.abs(plan.along - along) < flare) & (plan.across > low) & (plan.across < high) & board.of("grass")
    board.paint(np.asarray(mask), "taxiway", _worn(board, _ASPHALT, 0.03))


def _apron(board: Board, plan: Patch, along: tuple[float, float], down: tuple[float, float]) -> None:
    """Concrete slabs with joints, oil stains and yellow lead-in lines."""
    mask = (plan.along > along[0]) & (plan.along < along[1]) & (plan.across > down[0]) & (plan.across < down[1])
    look = _worn(board, _CONCRETE, 0.03)
    joints = (np.mod(plan.along, 7.5) < 0.4) | (np.mod(plan.across, 7.5) < 0.4)
    look[joints] *= 0.93
    stains = np.clip(noise(board.rng, board.size, board.pixels(5)) - 1.3, 0, 1)
    look *= (1 - 0.22 * stains)[..., None]
    stand = 0.118 * (along[1] - along[0]) / 0.68
    lines = (np.mod(plan.along - along[0] - 0.51 * stand, stand) < 0.45) & (plan.across < down[1] - 6)
    look[lines] = 0.5 * look[lines] + 0.5 * rgb(_YELLOW)
    board.paint(np.asarray(mask), "apron", look, owner=board.add("apron"))


def _runway_paint(board: Board, plan: Patch, band: tuple[float, float], threshold: float) -> None:
    """Centre line, edge lines, and the keys of the threshold at `threshold` metres along."""
    off = np.abs(plan.across - band[0])
    on = board.of("runway")
    centre = (off < 0.55) & (np.mod(plan.along, 36) < 20) & (plan.along > threshold + 36)
    edge = (off > band[1] / 2 - 2.2) & (off < band[1] / 2 - 1.2)
    keys = (np.mod(off, 3.6) > 1.4) & (off < band[1] / 2 - 4) & (np.abs(plan.along - threshold - 15) < 12)
    board.paint(np.asarray((centre | edge | keys) & on), None, board.tinted(_WHITE, 0.72))


def _taxi_paint(board: Board, plan: Patch, down: float) -> None:
    """The yellow centre line of the taxiway."""
    board.paint(
        np.asarray((np.abs(plan.across - down) < 0.35) & board.of("taxiway")), None, board.tinted(_YELLOW, 0.65)
    )
