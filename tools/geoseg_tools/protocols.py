"""The synchronous halves of the two routes: what a local model has to offer to be used as a tool.

Implementations are ordinary classes without asyncio, network, traces or environment. One instance is only
ever called from one thread at a time; `geoseg_agent.lanes` sees to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from geoseg_tools.arrays import Heat, Mask, Points
    from geoseg_tools.crop import Crop
    from geoseg_tools.masks import Masks


class Matcher(Protocol):
    """Where in the crop is the phrase? The similarity map Phi of GeoSeg Eq. 3."""

    def similarity(self, crop: Crop, phrase: str) -> Heat:
        """(gh, gw) float32 raw similarities on the tool's own grid over the crop; finite."""
        ...


class Segmenter(Protocol):
    """Points or a phrase to masks: S of GeoSeg Eq. 4 and 5."""

    def encode(self, crop: Crop) -> Any:
        """What both prompts share for this crop; opaque to the caller."""
        ...

    def from_points(
        self, encoded: Any, points: Points, positive: NDArray[np.bool_], earlier: Mask | None = None
    ) -> Masks:
        """Masks from `points` (n, 2) x, y in the crop frame; `positive` (n,) is False where to exclude.

        With `earlier`, (h, w) bool in the crop frame, the points correct that mask: positive ones add to it, negative
        ones remove from it, what is far from them and unlike them stays as it was. Then one mask comes back, or none
        where nothing is left, and the points may be negative only.
        """
        ...

    def from_text(self, encoded: Any, phrase: str) -> Masks:
        """Masks of everything in the crop that the phrase names."""
        ...
