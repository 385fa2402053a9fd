"""The synchronous halves of the two routes: what a local model has to offer to be used as a tool.

Implementations are ordinary classes without asyncio, network, traces or environment. One instance is only
ever called from one thread at a time; `geoseg_agent.lanes` sees to that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from geoseg_tools.errors import ToolError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoseg_tools.arrays import Heat, Points
    from geoseg_tools.crop import Crop


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """What a route answers: n candidate masks of the crop, to be united by the caller.

    Attributes:
        masks: (n, h, w) bool, crop frame at crop resolution; n may be 0.
        scores: (n,) float64 in 0..1, the tool's own estimate (predicted IoU, instance score), or None
            where the tool has none.
        notes: remarks for the person who asked, one sentence each.
    """

    masks: NDArray[np.bool_]
    scores: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.masks.ndim != 3 or self.masks.dtype != np.bool_:
            raise ToolError(f"masks must be (n, h, w) bool, got {self.masks.dtype} {self.masks.shape}")
        if self.scores is not None and (
            self.scores.shape != (len(self.masks),) or not np.isfinite(self.scores).all()
        ):
            raise ToolError(f"scores must be {len(self.masks)} finite numbers, got {self.scores!r}")


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

    def from_points(self, encoded: Any, points: Points, positive: NDArray[np.bool_]) -> Masks:
        """Masks from `points` (n, 2) x, y in the crop frame; `positive` (n,) is False where to exclude."""
        ...

    def from_text(self, encoded: Any, phrase: str) -> Masks:
        """Masks of everything in the crop that the phrase names."""
        ...
