"""The protocols that everything outside the controller stands behind.

Recording and replaying are further implementations of these; nothing is ever patched. A backend that a user
supplies (an entry point or module:factory) implements one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    import numpy as np
    from numpy.typing import NDArray

    from geoseg_agent.imagery import Image
    from geoseg_agent.segmentation import Segmentation
    from geoseg_agent.types import GroundingReply, Query
    from geoseg_tools.arrays import Heat, Mask, Points
    from geoseg_tools.crop import Crop
    from geoseg_tools.masks import Masks


class Grounder(Protocol):
    """Image and query in, targets out (stage 1).

    One that answers by itself, and so may be asked again for nothing, says so with `asks_nobody = True`. One that
    shrinks the image may say to which long side, in pixels: `working_side`.

    Attributes:
        engine: what a result of this grounder is labelled with.
    """

    engine: str

    async def ground(self, image: Image, query: Query) -> GroundingReply:
        """Say what the query refers to and where.

        Raises:
            InvalidReply, EndpointError, BudgetExceeded: a model behind it failed for good.
            ToolFailed: a local method crashed.
        """
        ...

    async def aclose(self) -> None:
        """Release connections and threads; safe to call twice."""
        ...


class Toolbox(Protocol):
    """The segmentation tools (stages 2 and 3), asynchronous, each call on the lane of its model.

    Validity is applied inside: no mask holds a nodata pixel.

    A toolset that has models to load may offer `async warm_up()` too: it is awaited before a query starts, so that a
    missing weight file fails before anything is paid. One that shrinks what it looks at may say to which long side in
    pixels (`working_side`).

    One whose answer to a piece of a crop is as good as to the whole may say of how many pixels it still sees all
    detail (`tile_side`): larger regions then come to it in overlapping tiles of that side, and `tile_margin` pixels,
    an eighth of the side where it does not say, are what it needs around a pixel.

    Attributes:
        engine: what a result of these tools is labelled with.
        defaults: constants of the method that this toolset replaces under the `default` profile.
    """

    engine: str
    defaults: Mapping[str, Any]

    @property
    def weights(self) -> Mapping[str, str]:
        """sha256 of each weight file in use, by name."""
        ...

    def encode(self, crop: Crop) -> AbstractAsyncContextManager[Any]:
        """Prepare the crop once for both prompts; the handle is opaque and only valid inside the block.

        Raises:
            ToolFailed: the tool crashed.
        """
        ...

    async def similarity(self, crop: Crop, phrase: str) -> Heat:
        """(gh, gw) float32 raw similarity of the crop's cells to the phrase; finite.

        Raises:
            ToolFailed: the tool crashed.
        """
        ...

    async def from_points(
        self, handle: Any, points: Points, positive: NDArray[np.bool_], earlier: Mask | None = None
    ) -> Masks:
        """Masks from points (n, 2) x, y in the RoI frame; `positive` (n,) bool, False where to exclude.

        `earlier`, (h, w) bool in the RoI frame, is a mask that the points correct; only then may all be negative. It
        is left out of the call where there is none.

        Raises:
            ToolFailed: the tool crashed.
        """
        ...

    async def from_text(self, handle: Any, phrase: str) -> Masks:
        """Masks of what the phrase names in the crop.

        Raises:
            ToolFailed: the tool crashed.
        """
        ...

    async def aclose(self) -> None:
        """Release models and threads; safe to call twice."""
        ...


class Steadiness(Protocol):
    """How well an answer holds up on smaller, lighter and darker copies of the image (the setting `stability`)."""

    async def agreements(self, answer: Segmentation, runs: int) -> tuple[float, ...]:
        """IoU, 0..1, of the answer's mask with what each of `runs` changed copies comes to; all 0 for an empty mask.

        Args:
            answer: what was found.
            runs: 2 or 4.

        Raises:
            ToolFailed: a tool crashed on a copy.
        """
        ...
