"""Coarse mask logits to masks in the crop's own resolution, in bounded memory."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from geoseg_tools.geometry import Box
from geoseg_tools.masks import Masks, Part, tight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from geoseg_tools.arrays import Mask, Size

CHUNK_BYTES = 256 * 2**20
"""Resized logits held at a time, on the device; one mask at least, which is 256 MB for a crop of 8000 x 8000."""

KEPT_BYTES = 512 * 2**20
"""Tight masks kept apart from each other, at a byte per pixel."""

_LOGIT_BYTES = 4
_NOTHING = tight(np.zeros((1, 1), dtype=np.bool_))


class Region(NamedTuple):
    """Where a map of probabilities is over one half.

    Attributes:
        part: the mask, with a pixel at least.
        probability: the mean inside it.
    """

    part: Part
    probability: float


def instances(
    logits: torch.Tensor,
    scores: NDArray[np.float64],
    size: Size,
    *,
    chunk_bytes: int = CHUNK_BYTES,
    kept_bytes: int = KEPT_BYTES,
) -> Masks:
    """Every instance as a mask of the crop: where sigmoid of the bilinearly resized logits is over one half.

    Where the tight masks together would need more than `kept_bytes`, those of the lowest scores are one mask, with
    the mean of their scores and a note; the union of all is the same.

    Args:
        logits: (n, h', w') float32, finite.
        scores: (n,), descending.
        size: (h, w) of the crop.
        chunk_bytes: see CHUNK_BYTES.
        kept_bytes: see KEPT_BYTES.
    """
    parts: list[Part] = []
    kept = 0
    drawn = _drawn(logits, size, _likely, chunk_bytes)
    for part in drawn:
        kept += part.pixels.nbytes
        rest = len(scores) - len(parts)
        if kept <= kept_bytes or rest == 1:
            parts.append(part)
            continue
        united = _united(chain([part], drawn), size)
        mean = scores[-rest:].mean()
        note = f"the {rest} instances of the lowest scores were united into one: apart they took too much memory"
        return Masks(size, (*parts, united), np.append(scores[:-rest], mean), (note,))
    return Masks(size, tuple(parts), scores)


def outline(logits: torch.Tensor, size: Size) -> Part:
    """The mask of the crop where the bilinearly resized logits are positive.

    Args:
        logits: (h', w') float32, finite.
        size: (h, w) of the crop.
    """
    return next(_drawn(logits[None], size, _positive, CHUNK_BYTES))


def region(logits: torch.Tensor, size: Size, without: Mask | None = None) -> Region | None:
    """As one of `instances`, with the mean probability inside, or None where no pixel is left.

    Args:
        logits: (h', w') float32, finite.
        size: (h, w) of the crop.
        without: (h, w) bool, pixels to leave out.
    """
    probability = _resized(logits[None], size)[0].sigmoid_().cpu().numpy()
    on = probability > 0.5
    if without is not None:
        on &= ~without
    if not on.any():
        return None
    return Region(tight(on), float(probability.mean(where=on, dtype=np.float64)))


def _drawn(
    logits: torch.Tensor, size: Size, on: Callable[[torch.Tensor], torch.Tensor], chunk_bytes: int
) -> Iterator[Part]:
    step = max(1, chunk_bytes // (_LOGIT_BYTES * size[0] * size[1]))
    positive = logits > 0
    rows, cols = positive.any(dim=2).cpu().numpy(), positive.any(dim=1).cpu().numpy()
    for start in range(0, len(logits), step):
        resized = _resized(logits[start : start + step], size)
        for i, high in enumerate(resized, start):
            yield _cut(high, rows[i], cols[i], on)


def _cut(high: torch.Tensor, rows: Mask, cols: Mask, on: Callable[[torch.Tensor], torch.Tensor]) -> Part:
    """The mask of one resized instance, looked for only where its coarse logits leave a chance."""
    if not rows.any():
        return _NOTHING
    (y1, y2), (x1, x2) = _reach(rows, high.shape[0]), _reach(cols, high.shape[1])
    window = Box(x1, y1, x2, y2)
    box, pixels = tight(on(high[window.slices]).cpu().numpy())
    return Part(box.offset(window), pixels) if pixels.any() else _NOTHING


def _reach(line: NDArray[np.bool_], length: int) -> tuple[int, int]:
    """Which of `length` resized places can be positive where (n,) `line` says which coarse ones are.

    Place y lies at (y + 1/2) n / length - 1/2 between two coarse neighbours and mixes the two; a place more on
    either side is for the rounding.
    """
    where = np.flatnonzero(line)
    scale = length / len(line)
    first = int(np.floor((where[0] - 0.5) * scale - 0.5)) - 1
    last = int(np.ceil((where[-1] + 1.5) * scale - 0.5)) + 1
    return max(0, first), min(length, last + 1)


def _resized(logits: torch.Tensor, size: Size) -> torch.Tensor:
    return F.interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def _likely(logits: torch.Tensor) -> torch.Tensor:
    # Not `logits > 0`: the sigmoid of the smallest positive numbers is one half, and upstream compares that.
    return logits.sigmoid_() > 0.5


def _positive(logits: torch.Tensor) -> torch.Tensor:
    return logits > 0


def _united(parts: Iterator[Part], size: Size) -> Part:
    canvas = np.zeros(size, dtype=np.bool_)
    for box, pixels in parts:
        canvas[box.slices] |= pixels
    return tight(canvas)
