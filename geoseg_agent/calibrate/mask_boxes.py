"""True boxes of pairs that have a mask only: the smallest box around everything in it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from geoseg_agent.bench.pairs import Pair


def with_mask_boxes(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """The pairs, each with one box: right where an answer is one thing, or a model is asked for one box.

    A pair with an empty mask has none. Each mask is read.

    Raises:
        DatasetError: a mask cannot be read.
    """
    for pair in pairs:
        mask = pair.truth.read()
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        boxes: tuple[Box, ...] = ()
        if rows.size:
            boxes = (Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1),)
        yield replace(pair, boxes=boxes)
