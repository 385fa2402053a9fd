"""Where a search looks, what it costs, and why: values that need no model."""

import itertools

import pytest
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st
from search_policy import Spotter, ground

from geoseg_agent.backends import grounder_of
from geoseg_agent.errors import BudgetExceeded
from geoseg_agent.georeference import Georeference
from geoseg_agent.grounding.search.plan import layout_of, planned
from geoseg_agent.grounding.search.planner import plan_of
from geoseg_agent.grounding.search.sight import Sight
from geoseg_agent.grounding.search.sizes import METRES, compares, metres_per_pixel, named_in, too_coarse_for
from geoseg_agent.settings import Settings
from geoseg_agent.types import Query
from geoseg_tools.geometry import Box, whole

SIGHT = Sight(1440, free=False)
FREE = Sight(640, free=True)


def layout(size, query="the cars", *, metres=None, sight=SIGHT, search="tiles", calls=64):
    return layout_of(size, metres and ground(metres), query, sight, search, calls)


def plan(size, query="the cars", **how):
    found = layout(size, query, **how)
    how.pop("metres", None)
    sight, search, calls = how.get("sight", SIGHT), how.get("search", "tiles"), how.get("calls", 64)
    return planned(found, found.windows, sight, search, calls, size)


# windows


@given(st.tuples(st.integers(1, 20_000), st.integers(1, 20_000)), st.sampled_from([0.3, 0.5, 1.0, None]))
def test_windows_cover_the_image_are_of_one_size_and_overlap(size, metres):
    found = layout(size, metres=metres)
    windows = found.windows
    assert all(whole(size).contains(window) for window in windows)
    assert len({window.size for window in windows}) == 1
    for low, high, length in (("x1", "x2", size[1]), ("y1", "y2", size[0])):
        spans = sorted({(getattr(w, low), getattr(w, high)) for w in windows})
        assert (spans[0][0], spans[-1][1]) == (0, length)
        for (_, end), (start, _) in itertools.pairwise(spans):
            assert end - start >= (high and (spans[0][1] - spans[0][0]) // 8)
    assert max(windows[0].size) <= max(1440 * found.scale, 1440) or len(windows) == 1


def test_a_thing_lies_in_one_of_the_windows_as_a_whole():
    found = layout((6000, 6000), "the airplanes", metres=0.05)
    side = 30 / 0.05
    for x, y in itertools.product(range(0, 5400, 450), repeat=2):
        box = Box(x, y, x + int(side), y + int(side))
        assert any(window.contains(box) for window in found.windows)


def test_the_size_of_the_thing_decides_how_closely_it_is_looked_for():
    assert layout((40_000, 40_000), "something", metres=0.1).scale == 1
    assert layout((40_000, 40_000), "the cars", metres=0.1).scale == pytest.approx(50 / 32, rel=0.01)
    assert layout((40_000, 40_000), "the ships", metres=0.1).scale == pytest.approx(200 / 32, rel=0.01)
    assert len(layout((40_000, 40_000), "the ships", metres=0.1).windows) == 25


def test_a_small_image_is_looked_at_once():
    found = plan((1200, 1400))
    assert (found.windows, found.calls, found.tiled) == ((Box(0, 0, 1400, 1200),), 1, False)


def test_a_grounder_that_is_free_looks_more_coarsely_rather_than_for_ever():
    found = plan((40_000, 40_000), sight=FREE, calls=100)
    assert 50 < len(found.windows) <= 100
    assert found.scale > 5
    assert (found.calls, found.price) == (0, "nothing is paid")


# the price


def test_calls_and_tokens_are_those_of_all_windows():
    settings = Settings(grounder="openai", base_url="http://127.0.0.1:9/v1", model="qwen3-vl-8b", samples=3)
    query = Query("the cars by the lake")
    sight = Sight.of(grounder_of(settings), settings, query)
    assert sight.side == 45 * 32
    found = plan((5000, 5000), sight=sight)
    assert len(found.windows) == 16
    assert found.calls == 16 * 3
    assert found.tokens == 16 * 3 * (45 * 45 + sight.text)
    assert 1000 < sight.text < 3000
    assert "16 windows of 1440 x 1440 px at 1/1.0" in found.words
    assert found.price == f"at most 48 calls, about {found.tokens:,} tokens"


def test_one_picture_is_counted_with_its_closer_looks():
    sight = Sight(1440, free=False, samples=2, zooms=2)
    assert plan((5000, 5000), sight=sight, search="overview").calls == 6


def test_over_the_budget_nothing_is_planned():
    with pytest.raises(BudgetExceeded, match="would take 64 calls, and 63 are allowed") as refused:
        plan((10_240, 10_240), sight=SIGHT, calls=63)
    assert "GEOSEG_SEARCH_CALLS" in refused.value.hint
    assert plan((10_240, 10_240), calls=64).calls == 64


def test_windows_beyond_number_are_not_laid_out():
    with pytest.raises(BudgetExceeded):
        layout((1_000_000, 1_000_000))


def test_windows_without_data_are_left_out_and_cost_nothing():
    settings = Settings(search="tiles", search_calls=9)
    image = drawn((6000, 6000), inside=Box(0, 0, 2000, 1500))
    found = plan_of(image, Query("the cars"), Spotter(free=False), settings.model_copy(update={"search_calls": 25}))
    assert all(window.intersection(Box(0, 0, 2010, 1510)) for window in found.windows)
    assert found.calls == len(found.windows) < 25
    assert found.skipped > 10
    assert max(size for _, size in image.scene.looks) <= (2048, 2048)
    with pytest.raises(BudgetExceeded):
        plan_of(image, Query("the cars"), Spotter(free=False), settings)


# auto, and why


@pytest.mark.parametrize(
    ("query", "metres", "tiled", "why"),
    [
        ("the parked cars", 0.5, True, '"car" with about 1 px'),
        ("the parked cars", 0.02, False, '"car" with about 29 px'),
        ("the ships", 0.5, True, '"ship" with about 5 px'),
        ("the ships", 0.1, False, '"ship" with about 23 px'),
        ("the parked cars", None, False, "how large its pixels are"),
        ("what is odd here?", 0.5, False, "size of what is asked for is not known"),
        ("the largest ship", 0.5, False, '"largest" compares things'),
        ("the airport", 0.5, False, '"airport" with'),
    ],
)
def test_auto_says_why(query, metres, tiled, why):
    found = plan((12_500, 12_500), query, metres=metres, search="auto", calls=400)
    assert found.tiled == tiled
    assert why in found.why


def test_auto_is_content_with_one_picture_where_the_budget_is_too_small():
    found = plan((12_500, 12_500), metres=0.5, search="auto", calls=20)
    assert (found.tiled, found.calls) == (False, 1)
    assert "calls would be needed" in found.why


def test_auto_takes_an_image_in_which_nothing_is_lost_as_it_is():
    assert "own resolution" in plan((1000, 1400), metres=0.5, search="auto").why


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("Where are the cars?", "car"),
        ("houses with swimming pools", "pool"),
        ("the car parked by the church", "car"),
        ("parking lots", "parking lot"),
        ("buses and churches", "bus"),
        ("what could burn?", None),
        ("the carpet of scars", None),
        ("solar panels on roofs", "solar panel"),
    ],
)
def test_the_smallest_thing_named_counts(query, word):
    named = named_in(query)
    assert (named and named.word) == word
    assert named is None or named.metres == METRES[word]


def test_a_pixel_may_be_larger_than_the_thing():
    assert too_coarse_for(["the lake", "buildings"], 300.0) == named_in("lake")
    assert too_coarse_for(["buildings"], 14.0) is None
    assert too_coarse_for(["buildings"], None) is None
    assert too_coarse_for(["clouds"], 1000.0) is None


def test_words_that_compare():
    assert compares("Find the northernmost house.") == "northernmost"
    assert compares("the nearest bridge") == "nearest"
    assert compares("the forest and the western field") is None


def test_metres_are_geodesic():
    assert metres_per_pixel(ground(0.5), (1000, 1000)) == pytest.approx(0.5, rel=1e-3)
    web = Georeference("EPSG:3857", (1.0, 0.0, 1_000_000.0, 0.0, -1.0, 6_400_000.0))
    assert metres_per_pixel(web, (10, 10)) == pytest.approx(0.656, abs=0.01), "a metre of Mercator at 49 degrees"
    assert metres_per_pixel(None, (10, 10)) is None
    assert metres_per_pixel(Georeference("no such system", ground(1).transform), (10, 10)) is None
