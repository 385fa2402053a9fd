"""Several samples become one reply: boxes that overlap are one target, agreement is confidence."""

import pytest

from geoseg_agent.grounding.agreement import merge
from geoseg_agent.types import GroundingReply, Target
from geoseg_tools.geometry import Box


def found(*boxes, phrase="lake", notes=()):
    return GroundingReply("found", tuple(Target(Box(*box), phrase) for box in boxes), "seen", tuple(notes))


ABSENT = GroundingReply("not_found", (), "nothing there")


def merged(*replies, asked=None, max_targets=8):
    return merge(replies, asked=asked or len(replies), max_targets=max_targets)


def test_boxes_that_overlap_are_one_target_at_the_median_of_each_coordinate():
    reply = merged(found((10, 10, 50, 50)), found((12, 10, 52, 48)), found((14, 13, 60, 50)))
    assert [tuple(target.box) for target in reply.targets] == [(12, 10, 52, 50)]
    assert reply.targets[0].confidence == 1.0


def test_confidence_is_the_share_of_all_samples_asked_failed_ones_included():
    reply = merged(found((10, 10, 50, 50)), found((10, 10, 50, 50)), asked=4)
    assert reply.targets[0].confidence == 0.5
    assert "2 of 4 samples gave no valid answer" in reply.notes[0]


def test_what_fewer_than_half_show_is_left_out():
    box, other = (10, 10, 50, 50), (100, 100, 140, 140)
    reply = merged(found(box, other), found(box), found(box), found(box))
    assert [tuple(target.box) for target in reply.targets] == [box]


def test_two_boxes_of_one_sample_never_agree_with_each_other():
    reply = merged(found((10, 10, 50, 50), (12, 12, 50, 50)), found((10, 10, 50, 50)))
    assert sorted(target.confidence for target in reply.targets) == [0.5, 1.0]


def test_absence_wins_by_majority():
    assert merged(ABSENT, ABSENT, found((1, 1, 9, 9))).status == "not_found"


def test_no_agreement_is_ambiguous_and_says_so():
    apart = [found((k * 100, 0, k * 100 + 50, 50)) for k in range(3)]
    reply = merged(*apart)
    assert reply.status == "ambiguous"
    assert len(reply.targets) == 3
    assert {target.confidence for target in reply.targets} == {1 / 3}
    assert "no two halves of the 3 samples agree" in reply.notes[0]


def test_the_surest_targets_are_kept_where_there_are_too_many():
    sure, half = (10, 10, 50, 50), (100, 100, 140, 140)
    reply = merged(found(half, sure), found(sure), max_targets=1)
    assert [tuple(target.box) for target in reply.targets] == [sure]


def test_the_most_frequent_phrase_names_the_target():
    replies = [found((0, 0, 9, 9), phrase=phrase) for phrase in ("pond", "lake", "lake")]
    assert merged(*replies).targets[0].phrase == "lake"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_the_order_of_the_samples_does_not_change_the_boxes(order):
    replies = [found((10, 10, 50, 50)), found((13, 11, 54, 50), (200, 0, 240, 40)), found((11, 12, 50, 55))]
    boxes = {tuple(target.box) for target in merged(*[replies[k] for k in order]).targets}
    assert boxes == {(11, 11, 50, 50)}


def test_samples_that_are_the_same_to_the_last_digit_get_a_warning():
    same = merged(found((10, 10, 50, 50)), found((10, 10, 50, 50)))
    assert "to the last digit" in same.notes[0]
    assert merged(found((10, 10, 50, 50)), found((10, 10, 50, 51))).notes == ()
    assert merged(ABSENT, ABSENT).notes == ()
