"""From a seed to a scene: choose the light, draw the plan, photograph it, read masks and queries off it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, get_args

import numpy as np

from geoseg_agent.georeference import Georeference
from geoseg_agent.samples.airport import airport
from geoseg_agent.samples.canvas import CONCEPTS, Board
from geoseg_agent.samples.country import farmland, lakeside, village
from geoseg_agent.samples.light import photograph
from geoseg_agent.samples.queries import ask
from geoseg_agent.samples.values import Kind, SampleInstance, SampleScene
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from geoseg_tools.arrays import Mask, Size

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
DEFAULT_KIND: Final[Kind] = "lakeside"
DEFAULT_SEED: Final = 4
"""The demo's scene: a lake, a town and one large field."""
SMALLEST: Final = 256
LARGEST: Final = 4096

_PLANS: dict[Kind, Callable[[Board], None]] = {
    "lakeside": lakeside,
    "village": village,
    "farmland": farmland,
    "airport": airport,
}
_PIXEL: dict[Kind, float] = {"lakeside": 0.4, "village": 0.35, "farmland": 0.5, "airport": 0.5}
_CRS = "EPSG:32632"


def scene(seed: int, size: Size = (768, 1024), kind: Kind = DEFAULT_KIND) -> SampleScene:
    """Draw the scene of a seed; the same arguments give the same scene.

    Chance comes from numpy's PCG64 alone, so masks and pixels agree between runs, and between platforms up to the
    last digit of their float arithmetic, which may tip single pixels.

    Args:
        seed: any integer >= 0.
        size: (H, W), each side from 256 to 4096 pixels, neither more than three times the other.
        kind: one of `KINDS`.

    Raises:
        ValueError: seed, size or kind is out of range, or the size leaves no room for a question on each level (seen
            only near the smallest); the message says what to do.
    """
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    if kind not in _PLANS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if min(size) < SMALLEST or max(size) > LARGEST or max(size) > 3 * min(size):
        raise ValueError(
            f"size must be (height, width), each from {SMALLEST} to {LARGEST} and neither over three times "
            f"the other, got {size}",
        )
    rng = np.random.Generator(np.random.PCG64([seed, KINDS.index(kind)]))
    # Northern summer, some hours around noon: the sun stands in the south, shadows fall north.
    bearing = float(rng.uniform(np.deg2rad(125), np.deg2rad(235)))
    sun = (float(np.sin(bearing)), -float(np.cos(bearing)))
    elevation = float(rng.uniform(np.deg2rad(40), np.deg2rad(56)))
    board = Board(size, _PIXEL[kind], rng, sun)
    _PLANS[kind](board)
    corner = (float(rng.integers(300_000, 700_000)), float(rng.integers(5_200_000, 5_900_000)))
    masks, instances = _masks(board), _instances(board)
    queries = ask(masks, instances, board.metres)
    if {query.level for query in queries} != {1, 2, 3}:
        raise ValueError(
            f"a {kind} of seed {seed} has no room for a question on each level at size {size}; enlarge it"
        )
    return SampleScene(
        name=f"{kind}-{seed}-{size[1]}x{size[0]}",
        seed=seed,
        kind=kind,
        pixels=photograph(board, elevation),
        masks=masks,
        instances=instances,
        georeference=Georeference(_CRS, (board.metres, 0.0, corner[0], 0.0, -board.metres, corner[1])),
        queries=queries,
    )


def _masks(board: Board) -> Mapping[str, Mask]:
    """(H, W) bool, read-only, per class that is seen; "vegetation" and "vehicle" come on top."""
    masks = {concept: board.of(concept) for concept in CONCEPTS}
    masks["vegetation"] = board.of("tree", "grass")
    masks["vehicle"] = np.asarray(board.vehicle > 0, dtype=np.bool_)
    for mask in masks.values():
        mask.flags.writeable = False
    return MappingProxyType({concept: mask for concept, mask in masks.items() if mask.any()})


def _instances(board: Board) -> tuple[SampleInstance, ...]:
    """Every object that is still seen, in the order drawn."""
    found = []
    for layer in (board.owner, board.vehicle):
        rows, cols = np.nonzero(layer)
        numbers = layer[rows, cols]
        order = np.argsort(numbers, kind="stable")
        starts = np.nonzero(np.diff(numbers[order], prepend=0))[0]
        for pixels in np.split(order, starts[1:]) if len(order) else ():
            y, x = rows[pixels], cols[pixels]
            box = Box(int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1)
            mask = np.zeros(box.size, dtype=np.bool_)
            mask[y - box.y1, x - box.x1] = True
            mask.flags.writeable = False
            number = int(numbers[pixels[0]])
            thing = board.things[number - 1]
            found.append(SampleInstance(number, thing.concept, box, mask, thing.attributes))
    return tuple(sorted(found, key=lambda item: item.id))
