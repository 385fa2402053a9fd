"""The values of a query: each refuses what breaks its invariant, in words that name the value."""

import numpy as np
import pytest

from geoseg_agent.errors import InvalidReply, QueryError
from geoseg_agent.types import GroundingReply, Hints, Instance, Query, Target
from geoseg_tools import Box


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "a" * 2001, "bell\x07", "half \ud800", 5, None])
def test_an_impossible_query_is_refused(text):
    with pytest.raises(QueryError):
        Query(text)


def test_a_query_is_stripped_and_its_spaces_are_single():
    assert Query("  the\n lake \t here ").text == "the lake here"


def test_a_query_may_be_in_any_script():
    assert Query("где река? 河はどこ 🛩").text == "где река? 河はどこ 🛩"


@pytest.mark.parametrize(
    "hints",
    [
        {"box": (5, 5, 5, 9)},
        {"box": (1, 2, 3)},
        {"box": (1.5, 2, 3, 4)},
        {"points": [(1,)]},
        {"points": [(1.0, 2)]},
        {"points": [(-1, 2)]},
        {"phrase": ""},
        {"phrase": "x" * 201},
        {"phrase": "zero\u200bwidth"},
    ],
)
def test_a_malformed_hint_is_refused(hints):
    with pytest.raises(QueryError):
        Hints(**hints)


def test_hints_off_the_image_are_refused_with_its_size():
    with pytest.raises(QueryError, match="100 x 50"):
        Hints(box=(0, 0, 101, 50)).check((50, 100))
    with pytest.raises(QueryError, match=r"\(100, 0\).*100 x 50"):
        Hints(points=[(100, 0)]).check((50, 100))
    Hints(box=(0, 0, 100, 50), points=[(99, 49, False)]).check((50, 100))


def test_hints_take_plain_tuples():
    hints = Hints(box=(1, 2, 3, 4), points=[(5, 6), (7, 8, False)], phrase="  a   hall ")

    assert hints.box == Box(1, 2, 3, 4)
    assert [tuple(p) for p in hints.points] == [(5, 6, True), (7, 8, False)]
    assert hints.phrase == "a hall"


@pytest.mark.parametrize(("status", "count"), [("found", 0), ("not_found", 1)])
def test_a_status_must_go_with_its_targets(status, count):
    with pytest.raises(InvalidReply, match=status):
        GroundingReply(status, (Target(Box(0, 0, 2, 2), "hall"),) * count)


@pytest.mark.parametrize("confidence", [-0.1, 1.1, float("nan")])
def test_a_confidence_is_a_share(confidence):
    with pytest.raises(InvalidReply, match="confidence"):
        Target(Box(0, 0, 2, 2), "hall", confidence)


def test_within_fits_its_box():
    with pytest.raises(InvalidReply, match="within"):
        Target(Box(0, 0, 2, 3), "hall", within=np.ones((2, 3), dtype=bool))


def test_an_instance_assembles_its_mask_in_the_region():
    instance = Instance(1, Box(12, 21, 14, 22), np.array([[True, False]]), None, Box(10, 20, 15, 24))

    expected = np.zeros((4, 5), dtype=bool)
    expected[1, 2] = True
    assert np.array_equal(instance.mask, expected)
