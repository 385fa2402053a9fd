"""The offline default as a Grounder: classical computer vision, no weights, no endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoseg_agent.grounding.search.sizes import metres_per_pixel, too_coarse_for
from geoseg_agent.lanes import Lane
from geoseg_agent.types import GroundingReply, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geoseg_agent.imagery import Image
    from geoseg_agent.types import Query

ENGINE = "offline-baseline"


class ClassicalGrounder:
    """Reads the query with a small lexicon and finds it by colour, texture and shape.

    Args:
        lanes: how many images are worked on at once; one image stays on one thread.
    """

    engine = ENGINE
    asks_nobody = True

    def __init__(self, lanes: int = 1) -> None:
        from geoseg_tools.classical import ground  # noqa: PLC0415 - OpenCV loads only where it is used
        from geoseg_tools.classical.features import WORKING_SIDE  # noqa: PLC0415 - as above
        from geoseg_tools.classical.tables import prepare  # noqa: PLC0415 - as above

        self.working_side = WORKING_SIDE
        self._ground = ground
        prepare()
        self._lanes = [Lane(f"ground-{i}") for i in range(lanes)]

    async def ground(self, image: Image, query: Query) -> GroundingReply:
        """As `Grounder.ground`; every target carries a confidence and the pixels it is limited to."""
        lane = self._lanes[int(image.sha256[:8], 16) % len(self._lanes)]
        answer = await lane.run(self._ground, image.scene, query.text)
        targets = tuple(Target(found.box, found.phrase, found.confidence, found.within) for found in answer.found)
        return GroundingReply(answer.status, targets, answer.reasoning, (*answer.notes, *_blurred(image, targets)))

    async def aclose(self) -> None:
        """As `Grounder.aclose`."""
        for lane in self._lanes:
            lane.close()


def _blurred(image: Image, targets: tuple[Target, ...]) -> Iterator[str]:
    """What colour and texture alone cannot know: that a pixel is larger than what was asked for."""
    metres = metres_per_pixel(image.georeference, image.size)
    named = too_coarse_for((target.phrase for target in targets), metres)
    if named is not None:
        yield (
            f"A pixel of this image is {metres:.3g} m, and a {named.word} is usually {named.metres:g} m: what was "
            f"found only looks like one."
        )
