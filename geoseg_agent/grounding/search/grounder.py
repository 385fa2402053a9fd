"""A Grounder that looks through an image window by window, with another one that looks at each.

    plan       windows that have data, or one picture, and why; over the budget is an error before anything is paid
    ground     the first window alone, so that what fails for all fails once; then the others
    merge      each thing once

A window that fails for good does not take the others with it, which are paid for: the answer says so, and an answer
that nothing was found becomes "ambiguous", for nobody looked everywhere. Where over a quarter fail, the query fails.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from geoseg_agent.errors import EndpointError, GeoSegError, InvalidReply, first_error
from geoseg_agent.grounding.search.merge import Seen, merged
from geoseg_agent.grounding.search.part import moved_back, part_of
from geoseg_agent.logs import log
from geoseg_agent.types import GroundingReply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.grounding.review import Review
    from geoseg_agent.grounding.search.plan import Plan
    from geoseg_agent.grounding.search.planner import Planner
    from geoseg_agent.imagery import Image
    from geoseg_agent.seams import Grounder
    from geoseg_agent.types import Query, Status, TargetMask
    from geoseg_tools.arrays import Size
    from geoseg_tools.geometry import Box

MOST_FAILED = 0.25
"""Share of windows that may fail for good."""

_MOST_NOTES = 12
_LONGEST = 500


class SearchGrounder:
    """Grounds in windows, or in one picture where that is enough; see the module.

    Args:
        inner: looks at each; one that has `ground_each` is given the image and the windows, another one images.
        planner: says where it looks.
        most: targets kept, or None for all.
    """

    # It is given the image as a whole, and takes it apart itself.
    whole_only = True

    def __init__(self, inner: Grounder, planner: Planner, most: int | None = None) -> None:
        self.inner = inner
        self.engine = inner.engine
        self.traced_inside: bool = getattr(inner, "traced_inside", False)
        self.asks_nobody: bool = getattr(inner, "asks_nobody", False)
        self.working_side: int | None = getattr(inner, "working_side", None)
        self.rounds: int = getattr(inner, "rounds", 0)
        self.prompt: Any = getattr(inner, "prompt", None)
        self._planner = planner
        self._most = most

    async def ground(self, image: Image, query: Query) -> GroundingReply:
        """As `Grounder.ground`.

        Raises:
            BudgetExceeded: the search would take more calls than `search_calls`; none was made.
            InvalidReply, EndpointError: the first window failed for good, or over a quarter of all.
        """
        plan = await self._planner.plan(image, query)
        log.info("search", plan=plan.words, price=plan.price)
        if not plan.tiled:
            return _with_notes(await self.inner.ground(image, query), [_told(plan)])
        if not plan.windows:
            return GroundingReply("not_found", (), "No part of the image has data.")
        answers = await self._each(image, query, plan.windows)
        return _together(answers, plan, image.size, self._most)

    async def review(self, image: Image, query: Query, targets: Sequence[TargetMask]) -> Review:
        """As `Reviewer.review`, of a grounder that is one: on a picture of the whole image."""
        found: Review = await self.inner.review(image, query, targets)  # type: ignore[attr-defined] # by `rounds`
        return found

    async def aclose(self) -> None:
        """As `Grounder.aclose`."""
        await self.inner.aclose()
        await self._planner.aclose()

    async def _each(self, image: Image, query: Query, windows: Sequence[Box]) -> list[_Answer]:
        each = getattr(self.inner, "ground_each", None)
        if each is not None:
            replies = await each(image, query, windows)
        else:
            first = await self.inner.ground(part_of(image, windows[0]), query)
            with first_error():
                async with asyncio.TaskGroup() as together:
                    tasks = [together.create_task(self._one(image, query, window)) for window in windows[1:]]
            replies = [moved_back(first, windows[0]), *(task.result() for task in tasks)]
        return [_Answer(*pair) for pair in zip(windows, replies, strict=True)]

    async def _one(self, image: Image, query: Query, window: Box) -> GroundingReply | GeoSegError:
        try:
            return moved_back(await self.inner.ground(part_of(image, window), query), window)
        except (InvalidReply, EndpointError) as error:
            return error


class _Answer(NamedTuple):
    """What was said of one window, boxes in the frame of the image; or why nothing was."""

    window: Box
    reply: GroundingReply | GeoSegError


def _together(answers: Sequence[_Answer], plan: Plan, size: Size, most: int | None) -> GroundingReply:
    """One reply of all windows."""
    failed = [answer for answer in answers if isinstance(answer.reply, GeoSegError)]
    if len(failed) > MOST_FAILED * len(answers):
        raise next(answer.reply for answer in failed if isinstance(answer.reply, GeoSegError))
    given = [(answer.window, answer.reply) for answer in answers if isinstance(answer.reply, GroundingReply)]
    showing = [pair for pair in given if pair[1].status == "found"]
    unsure = [pair for pair in given if pair[1].status == "ambiguous"]
    targets = merged([Seen(target, window) for window, reply in showing or unsure for target in reply.targets], size)
    notes = [_told(plan)]
    notes += [
        f"The window {tuple(answer.window)} could not be searched: {answer.reply.message}"
        for answer in failed
        if isinstance(answer.reply, GeoSegError)
    ]
    if most is not None and len(targets) > most:
        notes.append(f"left out {len(targets) - most} of {len(targets)} targets: {most} are asked for")
        targets = targets[:most]
    status: Status = "found" if showing else "ambiguous" if unsure or failed else "not_found"
    said = list(dict.fromkeys(reply.reasoning for _, reply in showing or unsure or given if reply.reasoning))
    reply = GroundingReply(status, targets, " ".join(said)[:_LONGEST])
    return _with_notes(reply, notes, *(reply.notes for _, reply in given))


def _told(plan: Plan) -> str:
    return f"searched in {plan.words}"


def _with_notes(reply: GroundingReply, *notes: Sequence[str]) -> GroundingReply:
    told = list(dict.fromkeys([*(note for some in notes for note in some), *reply.notes]))
    if len(told) > _MOST_NOTES:
        told = [*told[:_MOST_NOTES], f"and {len(told) - _MOST_NOTES} more remarks on single windows"]
    return GroundingReply(reply.status, reply.targets, reply.reasoning, tuple(told))
