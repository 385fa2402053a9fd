"""A picture of every answer over the truth: filled is what was drawn, outlined is what came back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from geoseg_agent.errors import InputError
from geoseg_agent.grounding.frames import to_original
from geoseg_agent.probe.scenes import COLOURS

if TYPE_CHECKING:
    from pathlib import Path

    from geoseg_agent.probe.run import Probed
    from geoseg_tools.arrays import Rgb

_SIDE = 480
_GAP = 12
_ACROSS = 5


def write(one: Probed, folder: Path) -> Path:
    """Write the sheet of one prompt as PNG into `folder`, and say where.

    Raises:
        InputError: the folder cannot be written.
    """
    tiles: dict[str, Rgb] = {}
    frame = one.finding.frame or one.terms.read
    for drawn, row, answer in zip(one.drawn, one.rows, one.answers, strict=True):
        if row.picture not in tiles:
            tiles[row.picture] = drawn.image.pixels.copy()
        if answer.numbers is not None:
            x1, y1, x2, y2 = (round(value) for value in to_original(answer.numbers, frame, answer.sent))
            width = max(2, max(drawn.image.size) // 200)
            for colour, thick in (((0, 0, 0), 2 * width), (COLOURS[row.colour], width)):
                cv2.rectangle(tiles[row.picture], (x1, y1), (x2, y2), colour, thick)
    path = folder / f"answers-{one.prompt.name}.png"
    ok, data = cv2.imencode(".png", cv2.cvtColor(_sheet(list(tiles.values())), cv2.COLOR_RGB2BGR))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes() if ok else b"")
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}", hint="choose another --out"
        ) from error
    return path


def _sheet(tiles: list[Rgb]) -> Rgb:
    rows = -(-len(tiles) // _ACROSS)
    step = _SIDE + _GAP
    canvas = np.full((rows * step + _GAP, _ACROSS * step + _GAP, 3), 255, dtype=np.uint8)
    for number, tile in enumerate(tiles):
        scale = _SIDE / max(tile.shape[:2])
        size = (max(1, round(tile.shape[1] * scale)), max(1, round(tile.shape[0] * scale)))
        small = cv2.resize(tile, size, interpolation=cv2.INTER_AREA)
        top, left = _GAP + number // _ACROSS * step, _GAP + number % _ACROSS * step
        canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return canvas
