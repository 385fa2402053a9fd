"""Tools that take every box for the object: a query costs what its grounding costs, and its mask is the boxes said.

`tools=geoseg_agent.calibrate.box_tools:BoxTools`, with no margins. Results are labelled with their name, `box-only`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from geoseg_tools.masks import Masks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from numpy.typing import NDArray

    from geoseg_agent.settings import Settings
    from geoseg_tools.arrays import Heat, Points
    from geoseg_tools.crop import Crop

SETTINGS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "tools": f"{__name__}:BoxTools",
        "variant": "text",  # one call per target in place of three
        "alpha": 0.0,
        "beta": 0.0,
        "min_crop": 0,
    }
)
"""Under which the region is the box said, and the mask all of it."""


class BoxTools:
    """A Toolbox without a model: what a crop shows is the crop.

    Args:
        settings: not looked at; a toolbox is made from them.
    """

    engine = "box-only"
    defaults: Mapping[str, Any] = MappingProxyType({})
    weights: Mapping[str, str] = MappingProxyType({})

    def __init__(self, settings: Settings) -> None:
        del settings

    @asynccontextmanager
    async def encode(self, crop: Crop) -> AsyncIterator[Crop]:
        """As `Toolbox.encode`; there is nothing to prepare."""
        yield crop

    async def similarity(self, crop: Crop, phrase: str) -> Heat:
        """As `Toolbox.similarity`: one cell, alike everywhere."""
        del crop, phrase
        return np.zeros((1, 1), dtype=np.float32)

    async def from_points(self, handle: Crop, points: Points, positive: NDArray[np.bool_]) -> Masks:
        """As `Toolbox.from_points`: all of the crop."""
        del points, positive
        return _all_of(handle)

    async def from_text(self, handle: Crop, phrase: str) -> Masks:
        """As `Toolbox.from_text`: all of the crop."""
        del phrase
        return _all_of(handle)

    async def aclose(self) -> None:
        """Nothing to release."""


def _all_of(crop: Crop) -> Masks:
    return Masks.of(np.ones((1, *crop.size), dtype=np.bool_))
