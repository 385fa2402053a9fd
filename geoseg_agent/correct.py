"""Verify and correct: the model looks at its own result and says what to change, a bounded number of times.

    review the result           a score, and per target: accept, re-ground, drop
    apply what it says          only what changes is segmented again
    review the new result       not better: the old one stays, and that is the end

What comes back is the result with the best score by the model's own verdict, the first of them where several have
it. So it is never worse than where it began. A review that fails ends the rounds and loses nothing.
"""

from __future__ import annotations

from asyncio import TaskGroup
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from geoseg_agent.errors import BudgetExceeded, EndpointError, InvalidReply
from geoseg_agent.types import Target

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Callable, Coroutine, Sequence

    from geoseg_agent.grounding.review import Review
    from geoseg_agent.imagery import Image
    from geoseg_agent.types import Query, TargetMask

    Segment = Callable[[Target, int], Coroutine[Any, Any, TargetMask]]


class Reviewer(Protocol):
    """A grounder that can look at a result.

    Attributes:
        rounds: how often it may correct one.
    """

    rounds: int

    async def review(self, image: Image, query: Query, targets: Sequence[TargetMask]) -> Review:
        """What it says of the targets' masks."""
        ...


class Corrected(NamedTuple):
    """The best result of the rounds.

    Attributes:
        targets: its targets; empty where everything was dropped.
        score: 0..10 by the model's verdict, or None where no review succeeded.
        notes: what was changed, or why it ended early.
    """

    targets: tuple[TargetMask, ...]
    score: float | None
    notes: tuple[str, ...]


async def correct(
    reviewer: Reviewer, segment: Segment, image: Image, query: Query, targets: tuple[TargetMask, ...]
) -> Corrected:
    """The targets after at most `reviewer.rounds` corrections, each kept only if the model then finds it better.

    Args:
        reviewer: looks at results.
        segment: segments a target; the number is one that no other target of the query has.
        image: the picture.
        query: what was asked.
        targets: the result to begin with.

    Raises:
        ToolFailed: a tool crashed on a corrected target.
    """
    best, score, notes = targets, None, []
    now, numbered = targets, len(targets)
    for turn in range(reviewer.rounds + 1 if targets else 0):
        if not now:
            notes.append(f"review {turn} would drop every target; the result is kept as it was")
            break
        try:
            review = await reviewer.review(image, query, now)
        except (InvalidReply, EndpointError, BudgetExceeded) as error:
            notes.append(f"review {turn + 1} failed and changed nothing: {error.message}")
            break
        if score is not None and review.score <= score:
            notes.append(f"review {turn + 1} found the correction no better ({review.score:g} after {score:g} of 10)")
            break
        best, score = now, review.score
        if turn:
            notes.append(f"review {turn} corrected the result; {review.score:g} of 10 now")
        if turn == reviewer.rounds or review.accepts_all:
            break
        shown, now = now, await _applied(review, segment, now, numbered)
        numbered += len(shown)
    return Corrected(best, score, tuple(notes))


async def _applied(
    review: Review, segment: Segment, targets: tuple[TargetMask, ...], numbered: int
) -> tuple[TargetMask, ...]:
    """The targets as the review wants them: dropped ones gone, re-grounded ones segmented anew, side by side."""
    async with TaskGroup() as together:
        tasks: list[Task[TargetMask]] = []
        for number, (old, verdict) in enumerate(zip(targets, review.verdicts, strict=True), start=numbered + 1):
            if verdict.verdict == "reground" and verdict.box is not None:
                # What gave the old box its confidence says nothing of the new one.
                new = Target(verdict.box, verdict.label or old.phrase)
                tasks.append(together.create_task(segment(new, number)))
            elif verdict.verdict != "drop":
                tasks.append(together.create_task(_unchanged(old)))
    return tuple(task.result() for task in tasks)


async def _unchanged(target: TargetMask) -> TargetMask:
    return target
