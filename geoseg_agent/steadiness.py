"""How steady an answer is: the same question to changed copies of the image, and how well their masks agree.

Nobody who has to be paid is asked again: a grounder that asks somebody is taken at its word, its boxes moved along
with the image. Only one that works here for nothing grounds every copy anew.
"""

from __future__ import annotations

from asyncio import TaskGroup
from dataclasses import replace
from typing import TYPE_CHECKING

from geoseg_agent.errors import ToolFailed, first_error
from geoseg_agent.guard import GuardedGrounder
from geoseg_agent.routes import segment_clicked, segment_target
from geoseg_agent.tiles.grid import is_tiled
from geoseg_agent.types import PointHint, Query
from geoseg_tools.geometry import resize_nearest

if TYPE_CHECKING:
    from geoseg_agent.guard import GuardedToolbox
    from geoseg_agent.imagery import Image
    from geoseg_agent.lanes import Lane
    from geoseg_agent.method import Method
    from geoseg_agent.seams import Grounder
    from geoseg_agent.segmentation import Segmentation
    from geoseg_agent.tiling import TiledToolbox
    from geoseg_agent.types import Hints, Target
    from geoseg_tools.arrays import Mask, Size


class Reruns:
    """A Steadiness that runs the query again, copy by copy, past the recorder.

    Args:
        grounder: asked again only where it `asks_nobody`.
        tools: segment the copies.
        method: the method's constants.
        lane: where copies are made.
    """

    def __init__(self, grounder: Grounder, tools: GuardedToolbox | TiledToolbox, method: Method, lane: Lane) -> None:
        self._grounder = GuardedGrounder(grounder) if getattr(grounder, "asks_nobody", False) else None
        self._tools = tools
        self._method = method
        self._lane = lane

    async def agreements(self, answer: Segmentation, runs: int) -> tuple[float, ...]:
        """As `Steadiness.agreements`."""
        if answer.image.opened:
            raise ToolFailed(
                f"no copies are made of {answer.image.name}, which is opened and not read",
                hint="cut out the part that matters, or raise GEOSEG_MAX_PIXELS",
            )
        from geoseg_tools.stability import CHANGES, changed, overlap  # noqa: PLC0415 - loads OpenCV

        mask = await self._lane.run(lambda: answer.mask)
        if not mask.any():
            return (0.0,) * runs
        found = []
        for change in CHANGES[runs]:
            scene = await self._lane.run(changed, answer.image.scene, change, self._seen(answer))
            again = await self._masked(replace(answer.image, scene=scene), answer)
            found.append(await self._lane.run(overlap, mask, again))
        return tuple(found)

    def _seen(self, answer: Segmentation) -> float:
        """0..1: by how much what is looked at is shrunk, the whole image to be grounded or the largest region."""
        regrounds = self._regrounds(answer)
        side = regrounds.working_side if regrounds is not None else self._tools.working_side
        regions = [found.roi.size for found in answer.targets if not is_tiled(found.roi.size, self._method.tile_side)]
        sizes = [answer.image.size] if regrounds is not None else regions
        return 1.0 if side is None else min(1.0, side / max((max(size) for size in sizes), default=side))

    def _regrounds(self, answer: Segmentation) -> GuardedGrounder | None:
        grounded = not answer.clicked and answer.hints.box is None and self._method.plan.grounds
        return self._grounder if grounded else None

    async def _masked(self, image: Image, answer: Segmentation) -> Mask:
        """(h, w) bool: what the query comes to on a copy."""
        before, hints = answer.image.size, _scaled_hints(answer.hints, answer.image.size, image.size)
        targets = [_scaled(found.target, before, image.size) for found in answer.targets]
        grounder = self._regrounds(answer)
        if grounder is not None:
            reply = await grounder.ground(image, Query(answer.query))
            targets = [hints.named(target) for target in reply.targets]
        segment_one = segment_clicked if answer.clicked else segment_target
        with first_error():  # here, so that the step in the trace holds the error itself
            async with TaskGroup() as together:
                tasks = [
                    together.create_task(
                        segment_one(self._tools, self._method, image, target, hints, number, self._lane)
                    )
                    for number, target in enumerate(targets, start=1)
                ]
        return replace(answer, image=image, targets=tuple(task.result() for task in tasks)).mask


def _scaled(target: Target, size: Size, to: Size) -> Target:
    from geoseg_tools.stability import scaled_box  # noqa: PLC0415 - loads OpenCV

    box = scaled_box(target.box, size, to)
    within = None if target.within is None else resize_nearest(target.within, box.size)
    return replace(target, box=box, within=within)


def _scaled_hints(hints: Hints, size: Size, to: Size) -> Hints:
    points = tuple(
        PointHint((2 * x + 1) * to[1] // (2 * size[1]), (2 * y + 1) * to[0] // (2 * size[0]), positive)
        for x, y, positive in hints.points
    )
    earlier = None if hints.earlier is None else resize_nearest(hints.earlier, to)
    return replace(hints, box=None, points=points, earlier=earlier)
