"""Verify and correct: what a review changes, when it ends, and that nothing gets worse by its own verdict."""

import numpy as np
import pytest

from geoseg_agent.correct import correct
from geoseg_agent.errors import BudgetExceeded, EndpointTimeout, InvalidReply, ToolFailed
from geoseg_agent.grounding.review import Review, TargetVerdict
from geoseg_agent.types import Areas, Similarity, Target, TargetMask
from geoseg_tools.geometry import Box
from geoseg_tools.keypoints import Keypoints

ACCEPT, DROP = TargetVerdict(), TargetVerdict("drop")
NO_POINTS = Keypoints(np.zeros((0, 2), int), np.zeros(0), np.zeros((0, 2), int), np.zeros(0))


def moved(*box, label=None):
    return TargetVerdict("reground", Box(*box), label)


def mask_of(target, number=0):
    whole = np.ones(target.box.size, dtype=bool)
    return TargetMask(
        target, target.box, whole, (), Areas(1, 1, 1), "both", 0.5, NO_POINTS, Similarity(0, 1, 0.5), (f"n{number}",)
    )


START = tuple(mask_of(Target(Box(k, k, k + 10, k + 10), f"thing {k}")) for k in (0, 20))


class Reviewer:
    def __init__(self, rounds, *reviews):
        self.rounds = rounds
        self.reviews = list(reviews)
        self.seen = []

    async def review(self, image, query, targets):
        self.seen.append(tuple(targets))
        said = self.reviews.pop(0)
        if isinstance(said, Exception):
            raise said
        return Review(said[1:], said[0])


async def corrected(reviewer, targets=START):
    numbers = []

    async def segment(target, number):
        numbers.append(number)
        return mask_of(target, number)

    return await correct(reviewer, segment, None, None, targets), numbers


async def test_a_result_that_is_accepted_stays_and_costs_one_review():
    reviewer = Reviewer(3, (7, ACCEPT, ACCEPT))
    result, numbers = await corrected(reviewer)
    assert result.targets == START
    assert (result.score, len(reviewer.seen), numbers, result.notes) == (7, 1, [], ())


async def test_a_correction_that_is_judged_better_is_kept():
    reviewer = Reviewer(1, (3, ACCEPT, moved(5, 5, 9, 9, label="barn")), (8, ACCEPT, ACCEPT))
    result, numbers = await corrected(reviewer)
    assert result.targets[0] is START[0]
    assert (tuple(result.targets[1].box), result.targets[1].phrase) == ((5, 5, 9, 9), "barn")
    assert result.score == 8
    assert numbers == [4]
    assert "review 1 corrected the result" in result.notes[0]


@pytest.mark.parametrize("second", [2, 3])
async def test_a_correction_that_is_judged_no_better_is_not_kept(second):
    reviewer = Reviewer(3, (3, DROP, ACCEPT), (second, ACCEPT))
    result, _ = await corrected(reviewer)
    assert result.targets == START
    assert result.score == 3
    assert "no better" in result.notes[-1]
    assert len(reviewer.seen) == 2


@pytest.mark.parametrize("rounds", [1, 2, 3])
async def test_rounds_are_bounded_and_each_number_is_used_once(rounds):
    reviews = [(k, moved(k, k, k + 5, k + 5), ACCEPT) for k in range(9)]
    reviewer = Reviewer(rounds, *reviews)
    result, numbers = await corrected(reviewer)
    assert len(reviewer.seen) == rounds + 1
    assert len(numbers) == rounds == len(set(numbers))
    assert min(numbers) > len(START)
    assert result.score == rounds
    assert tuple(result.targets[0].box) == (rounds - 1, rounds - 1, rounds + 4, rounds + 4)


async def test_what_is_dropped_is_gone():
    result, _ = await corrected(Reviewer(1, (3, DROP, ACCEPT), (9, ACCEPT)))
    assert result.targets == START[1:]


async def test_a_review_that_would_drop_everything_changes_nothing_and_is_noted():
    result, _ = await corrected(Reviewer(2, (1, DROP, DROP)))
    assert result.targets == START
    assert result.score == 1
    assert "would drop every target" in result.notes[-1]


@pytest.mark.parametrize("error", [InvalidReply("odd"), EndpointTimeout("slow"), BudgetExceeded("dear")])
@pytest.mark.parametrize("at", [0, 1])
async def test_a_review_that_fails_loses_nothing(error, at):
    reviews = [(3, ACCEPT, moved(5, 5, 9, 9)), (8, ACCEPT, ACCEPT)]
    reviews[at] = error
    result, _ = await corrected(Reviewer(2, *reviews))
    assert result.targets == START
    assert result.score == (None if at == 0 else 3)
    assert str(error) in result.notes[-1]


async def test_a_tool_that_crashes_is_not_papered_over():
    async def segment(target, number):
        raise ToolFailed("broken")

    with pytest.raises(ExceptionGroup):
        await correct(Reviewer(1, (3, ACCEPT, moved(5, 5, 9, 9))), segment, None, None, START)


async def test_nothing_found_is_not_reviewed():
    reviewer = Reviewer(3)
    result, _ = await corrected(reviewer, ())
    assert (result, reviewer.seen) == (((), None, ()), [])
