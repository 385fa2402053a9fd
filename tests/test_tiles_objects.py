"""Objects of several tiles: one where they agree, left out where only a cut end was seen."""

import numpy as np

from geoseg_agent.tiles.grid import tiles_of
from geoseg_agent.tiles.objects import Found, found_in, merged_objects
from geoseg_tools import Box, Masks
from geoseg_tools.masks import tight

ROI = Box(10, 20, 122, 84)
LEFT, RIGHT = TILES = tiles_of(ROI, 64, 8, origin=(10, 20))
LINE = LEFT.own.x2


def seen(number, box, score=None, tiles=TILES):
    """A filled box, absolute, as far as the tile sees it."""
    part = box.intersection(tiles[number].box)
    return Found(number, part, np.ones(part.size, dtype=bool), score)


def merged(*found, tiles=TILES, roi=ROI, margin=8):
    return merged_objects(roi, tiles, found, margin)


def test_an_object_on_two_tiles_is_one_with_the_mean_score_by_area():
    box = Box(40, 40, 100, 50)
    left, right = seen(0, box, 0.2), seen(1, box, 0.8)
    one = merged(left, right)
    assert [part.box for part in one.parts] == [box.relative_to(ROI)]
    assert one.parts[0].pixels.all()
    areas = left.pixels.size, right.pixels.size
    assert np.isclose(one.scores[0], (0.2 * areas[0] + 0.8 * areas[1]) / sum(areas))


def test_an_object_on_four_tiles_is_one():
    roi = Box(0, 0, 112, 112)
    tiles = tiles_of(roi, 64, 8)
    assert len(tiles) == 4
    box = Box(30, 30, 80, 80)
    one = merged(*(seen(n, box, 0.5, tiles) for n in range(4)), tiles=tiles, roi=roi)
    assert [part.box for part in one.parts] == [box]
    assert one.parts[0].pixels.all()


def test_neighbours_that_only_touch_stay_two():
    one, other = Box(40, 40, LINE, 50), Box(LINE, 40, 100, 50)
    both = [seen(n, box, 0.5) for n in (0, 1) for box in (one, other)]
    assert [part.box.offset(ROI) for part in merged(*both).parts] == [one, other]


def test_a_cut_end_that_its_owner_does_not_report_is_left_out():
    end = Box(LINE + 1, 40, LEFT.box.x2, 50)
    assert len(merged(seen(0, end, 0.9))) == 0


def test_what_one_tile_alone_reports_stays_whole_where_it_owns_some_of_it():
    box = Box(LINE - 6, 40, LINE + 6, 50)
    one = merged(seen(0, box, 0.9))
    assert [part.box.offset(ROI) for part in one.parts] == [box]
    assert list(one.scores) == [0.9]


def test_pixels_are_those_of_the_tile_where_they_lie_deeper():
    left, right = seen(0, Box(40, 40, 100, 50)), seen(1, Box(40, 42, 100, 50))
    pixels = merged(left, right).masks[0]
    assert pixels[40 - 20, : LINE - 10].any()
    assert not pixels[40 - 20, LINE - 10 :].any()
    assert pixels[42 - 20, 40 - 10 : 100 - 10].all()


def test_two_ends_of_one_thing_are_one_through_the_tile_that_sees_where_they_meet():
    arms = [seen(1, Box(LINE - 10, y, 100, y + 4)) for y in (30, 60)]
    shape = np.zeros((40, 48), dtype=bool)
    shape[0:4] = shape[30:34] = shape[:34, 0:6] = True
    fork = Found(0, Box(26, 30, 74, 70), shape, None)
    assert len(merged(*arms)) == 2
    assert len(merged(fork, *arms)) == 1


def test_without_scores_objects_come_by_their_first_pixel():
    boxes = [Box(80, 30, 90, 40), Box(20, 60, 30, 70), Box(20, 30, 30, 40)]
    found = [seen(1, boxes[0]), seen(0, boxes[1]), seen(0, boxes[2])]
    assert [part.box.offset(ROI) for part in merged(*found).parts] == [boxes[2], boxes[0], boxes[1]]
    assert merged(*found).scores is None


def test_masks_of_another_resolution_and_empty_ones_are_read():
    coarse = np.zeros((2, 32, 32), dtype=bool)
    coarse[0, 4:8, 4:8] = True
    (one,) = found_in(0, LEFT, Masks.of(coarse, np.array([0.5, 0.4])))
    assert one.box == Box(8, 8, 16, 16).offset(ROI)
    assert one.score == 0.5
    assert len(merged()) == 0


def test_nothing_as_large_as_the_region_is_kept_for_a_small_object():
    (part,) = merged(seen(0, Box(20, 30, 30, 40)), seen(1, Box(LINE + 20, 30, LINE + 21, 31))).parts[:1]
    assert part.pixels.shape == (10, 10)
    assert tight(part.pixels).box.size == part.box.size
