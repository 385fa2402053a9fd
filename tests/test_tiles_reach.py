"""How far the answer to points reaches: from tile to tile, and no farther than the tools agree."""

import numpy as np

from geoseg_agent.tiles.grid import tiles_of
from geoseg_agent.tiles.reach import MOST_ASKS, Reach
from geoseg_tools import Box, Masks

ROI = Box(10, 20, 170, 84)
TILES = tiles_of(ROI, 64, 8, origin=(10, 20))
POINT = np.array([[5, 30]]), np.array([True])


def masks(number, *boxes, score=0.5):
    """What a tile answers: boxes in the frame of the region, as far as it sees them, as one mask."""
    canvas = np.zeros(ROI.size, dtype=bool)
    for box in boxes:
        canvas[box.slices] = True
    seen = canvas[TILES[number].box.relative_to(ROI).slices]
    return Masks.of(seen[None], np.array([score]))


def test_a_point_prompts_its_owner_alone_and_a_negative_one_all_that_see_it():
    reach = Reach(ROI, TILES, 8, None)
    x = TILES[0].own.x2 - ROI.x1
    asked = reach.first(np.array([[x - 1, 30], [x, 31]]), np.array([True, False]))
    assert list(asked) == [0]
    assert asked[0].points.tolist() == [[x - 1, 30], [x, 31]]
    assert asked[0].positive.tolist() == [True, False]


def test_the_next_tile_is_asked_where_the_answer_reaches_over_with_what_excludes_there():
    reach = Reach(ROI, TILES, 8, None)
    negative = TILES[1].box.x2 - ROI.x1 - 20
    reach.first(np.array([[5, 30], [negative, 2]]), np.array([True, False]))
    asked = reach.further({0: masks(0, Box(0, 20, 160, 40))})
    assert list(asked) == [1]
    assert sorted(asked[1].positive.tolist()) == [False, True]
    (x, y) = asked[1].points[asked[1].positive][0] + (TILES[1].box.x1 - ROI.x1, 0)
    assert TILES[0].own.x2 - ROI.x1 <= x < TILES[0].box.x2 - ROI.x1
    assert 20 <= y < 40


def test_it_ends_where_the_thing_ends_and_the_score_is_the_mean_by_area():
    reach = Reach(ROI, TILES, 8, None)
    asked, rounds, box = reach.first(*POINT), 0, Box(0, 20, 90, 40)
    while asked:
        asked = reach.further({n: masks(n, box, score=0.25 * (n + 1)) for n in asked})
        rounds += 1
    assert rounds == 2
    merged = reach.merged()
    assert [part.box for part in merged.parts] == [box]
    left = TILES[0].own.x2 - ROI.x1
    assert np.isclose(merged.scores[0], (0.25 * left + 0.5 * (90 - left)) / 90)


def test_an_answer_that_has_nothing_to_do_with_what_was_meant_does_not_count():
    reach = Reach(ROI, TILES, 8, None)
    reach.first(*POINT)
    assert list(reach.further({0: masks(0, Box(0, 20, 60, 40))})) == [1]
    assert reach.further({1: masks(1, Box(60, 50, 120, 60))}) == {}
    (part,) = reach.merged().parts
    assert part.box == Box(0, 20, TILES[0].own.x2 - ROI.x1, 40)


def test_tools_that_contradict_themselves_come_to_an_end():
    rng = np.random.default_rng(0)
    reach = Reach(ROI, TILES, 8, None)
    asked, asks = reach.first(*POINT), dict.fromkeys(range(len(TILES)), 0)
    while asked:
        for number in asked:
            asks[number] += 1
        asked = reach.further({n: Masks.of(rng.random((1, *TILES[n].box.size)) > 0.4) for n in asked})
    assert max(asks.values()) <= MOST_ASKS
    assert reach.merged().scores is None


def test_what_no_tile_was_asked_about_stays_as_it_was():
    earlier = np.zeros(ROI.size, dtype=bool)
    earlier[5:10, 100:150] = earlier[50:60, 2:150] = True
    reach = Reach(ROI, TILES, 8, earlier)
    asked = reach.first(np.array([[150, 7]]), np.array([False]))
    assert list(asked) == [2, 3]
    while asked:
        asked = reach.further({n: masks(n, Box(2, 50, 150, 60)) for n in asked})
    (part,) = reach.merged().parts
    assert part.box == Box(2, 50, 150, 60)


def test_nothing_found_is_no_mask():
    reach = Reach(ROI, TILES, 8, None)
    reach.first(*POINT)
    assert reach.further({0: Masks((64, 64), (), np.zeros(0))}) == {}
    merged = reach.merged()
    assert len(merged) == 0
    assert merged.size == ROI.size
    assert merged.scores.shape == (0,)


def test_tools_that_tell_objects_apart_keep_them_apart():
    reach = Reach(ROI, TILES, 8, None)
    reach.first(*POINT)
    boxes = Box(0, 20, 30, 40), Box(0, 50, 30, 60)
    both = Masks((64, 64), tuple(one for box in boxes for one in masks(0, box).parts), np.array([0.9, 0.8]))
    reach.further({0: both})
    assert [part.box for part in reach.merged().parts] == [*boxes]
    assert reach.merged().scores.tolist() == [0.9, 0.8]
