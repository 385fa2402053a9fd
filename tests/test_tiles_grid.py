"""Where tiles lie: every pixel deep enough in its owner, all of one size, the same ones for regions that overlap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg_agent.tiles.grid import FAR, MOST_KEYPOINTS, is_tiled, picking, tiles_of
from geoseg_agent.tiles.heat import merged_heat
from geoseg_tools import Box
from geoseg_tools.keypoints import topk_nms

ROIS = st.builds(
    lambda x, y, w, h: Box(x, y, x + w, y + h),
    st.integers(0, 300),
    st.integers(0, 300),
    st.integers(1, 260),
    st.integers(1, 260),
)
ORIGINS = st.tuples(st.integers(-100, 100), st.integers(-100, 100))


@given(roi=ROIS, margin=st.integers(0, 20), origin=ORIGINS)
def test_every_pixel_has_one_owner_and_lies_deep_in_it(roi, margin, origin):
    owned = np.zeros(roi.size, dtype=int)
    for tile in tiles_of(roi, 64, margin, origin):
        assert roi.contains(tile.box)
        assert tile.box.contains(tile.own)
        assert tile.box.size == (min(64, roi.height), min(64, roi.width))
        owned[tile.own.relative_to(roi).slices] += 1
        assert tile.depth(tile.own).min() > margin
        assert tile.inner(margin).contains(tile.own)
    assert (owned == 1).all()


@given(roi=ROIS, margin=st.integers(0, 20), origin=ORIGINS)
def test_the_owner_of_a_pixel_is_the_tile_in_which_it_lies_deepest(roi, margin, origin):
    tiles = tiles_of(roi, 64, margin, origin)
    deepest = np.zeros(roi.size, dtype=int)
    for tile in tiles:
        place = tile.box.relative_to(roi).slices
        deepest[place] = np.maximum(deepest[place], tile.depth(tile.box))
    for tile in tiles:
        assert (tile.depth(tile.own) == deepest[tile.own.relative_to(roi).slices]).all()


@given(roi=ROIS, margin=st.integers(0, 20), origin=ORIGINS)
def test_there_is_at_most_one_tile_an_axis_more_than_the_overlap_asks_for(roi, margin, origin):
    step = 64 - 2 * margin
    fewest = [1 + max(0, -(-(side - 64) // step)) for side in roi.size]
    assert len(tiles_of(roi, 64, margin, origin)) <= (fewest[0] + 1) * (fewest[1] + 1)


def test_regions_that_differ_a_little_have_their_inner_tiles_in_common():
    one = {tile.box for tile in tiles_of(Box(100, 100, 500, 500), 64, 8)}
    other = {tile.box for tile in tiles_of(Box(103, 95, 506, 502), 64, 8)}
    inner = [box for box in one if box.x1 > 110 and box.y1 > 110 and box.x2 < 490 and box.y2 < 490]
    assert len(inner) > 20
    assert set(inner) <= other


def test_the_border_of_a_region_is_no_cut():
    (tile,) = tiles_of(Box(10, 10, 70, 74), 64, 8)
    assert (tile.depth(tile.box) == FAR).all()


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [((96, 20), 64, False), ((97, 20), 64, True), ((20, 97), 64, True), ((5000, 5000), 0, False)],
)
def test_a_region_is_tiled_from_half_as_long_again_as_a_tile(size, side, expected):
    assert is_tiled(size, side) is expected


def test_there_are_as_many_keypoints_per_area_as_in_one_tile():
    assert picking(5, 1008, (1512, 1512), (21, 21)) == (5, None)
    assert picking(5, 0, (9000, 9000), (14, 14)) == (5, None)
    assert picking(5, 1008, (2016, 2016), (28, 28)).k == 20
    assert picking(5, 1008, (2016, 2017), (28, 28)).k == 21
    assert picking(5, 1008, (20000, 20000), (280, 280)).k == MOST_KEYPOINTS
    assert picking(100, 1008, (20000, 20000), (280, 280)).k == 100
    assert picking(5, 1008, (2016, 60), (28, 1)).k == 5


def test_keypoints_are_as_far_apart_as_in_one_tile():
    one = min((32, 32)) // 16
    assert picking(5, 512, (2048, 4096), (128, 256)).radius == one
    assert picking(5, 512, (2048, 100), (14, 1)).radius == 1


@given(roi=ROIS, margin=st.integers(1, 20), origin=ORIGINS, slope=st.floats(-1, 1))
def test_a_constant_stays_one_and_values_stay_in_their_range(roi, margin, origin, slope):
    tiles = tiles_of(roi, 64, margin, origin)
    flat = merged_heat(roi, tiles, [np.full((5, 7), 0.25, np.float32) for _ in tiles], margin)
    assert flat.dtype == np.float32
    assert np.allclose(flat, 0.25)
    rising = [
        np.add.outer(np.linspace(t.box.y1, t.box.y2, 8), np.linspace(t.box.x1, t.box.x2, 8)).astype(np.float32)
        for t in tiles
    ]
    heat = merged_heat(roi, tiles, [slope * one for one in rising], margin)
    low, high = min((slope * one).min() for one in rising), max((slope * one).max() for one in rising)
    assert low - 1e-3 <= heat.min() <= heat.max() <= high + 1e-3


def test_cells_that_fit_the_grid_keep_their_raw_values():
    roi = Box(0, 0, 160, 112)
    truth = np.random.default_rng(0).normal(size=(14, 20)).astype(np.float32)
    tiles = tiles_of(roi, 64, 8)
    heats = [truth[t.box.y1 // 8 : t.box.y2 // 8, t.box.x1 // 8 : t.box.x2 // 8] for t in tiles]
    assert all(tile.box.x1 % 8 == tile.box.y1 % 8 == 0 for tile in tiles)
    assert np.allclose(merged_heat(roi, tiles, heats, 8), truth, atol=1e-6)


def test_near_a_cut_the_other_tile_counts_for_more():
    roi = Box(0, 0, 112, 60)
    left, right = tiles_of(roi, 64, 8)
    heat = merged_heat(roi, (left, right), [np.zeros((8, 8), np.float32), np.ones((8, 8), np.float32)], 8)
    assert (np.diff(heat[0]) >= 0).all()
    assert heat[0, 5] < 0.05
    assert heat[0, -6] > 0.95


def test_a_tile_without_the_thing_gives_no_keypoint_of_its_own_accord():
    roi = Box(0, 0, 256, 64)
    tiles = tiles_of(roi, 64, 8)
    noise = np.random.default_rng(0).normal(0, 0.002, (len(tiles), 8, 8)).astype(np.float32)
    noise[0, 3:5, 3:5] += 0.1
    k, radius = picking(5, 64, roi.size, (8, 32))
    picked = topk_nms(merged_heat(roi, tiles, [*noise], 8), roi.size, k, 0.3, radius)
    assert len(picked) == 1
    assert picked.points[0, 0] < 64
    alone = topk_nms(noise[-1], (64, 64), 5, 0.3)
    assert len(alone) > 0, "scaled by itself the empty tile does"


def test_what_was_not_looked_at_is_as_unlike_as_the_least():
    roi = Box(0, 0, 256, 64)
    tiles = tiles_of(roi, 64, 8)
    heats = [None] * len(tiles)
    assert (merged_heat(roi, tiles, heats, 8) == np.zeros((1, 1))).all()
    heats[0] = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    merged = merged_heat(roi, tiles, heats, 8)
    assert (merged[:, 8:] == -1).all()
