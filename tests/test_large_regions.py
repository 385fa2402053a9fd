"""A region as large as a raster costs what lies in it, where that is possible; where not, it is refused in time."""

import tracemalloc

import numpy as np
import pytest

from geoseg_agent.instances import instances_of
from geoseg_tools import Box, Masks, fuse

SIDE = 4000


@pytest.fixture
def mask():
    """Two small objects in a large region."""
    made = np.zeros((SIDE, SIDE), bool)
    made[3000:3050, 2000:2080] = True
    made[3100:3120, 2100:2110] = True
    return made


def test_objects_of_a_large_region_cost_no_labels_of_the_whole_of_it(mask):
    roi = Box(10, 20, 10 + SIDE, 20 + SIDE)
    tracemalloc.start()
    try:
        found = instances_of(mask, Masks(mask.shape), roi, 0.5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < mask.size / 4
    assert [one.box for one in found] == [Box(2010, 3020, 2090, 3070), Box(2110, 3120, 2120, 3140)]
    assert all(one.pixels.all() for one in found)


@pytest.mark.parametrize("rule", ["both", "points", "text"])
def test_a_fused_mask_is_a_new_array_with_the_pixels_of_the_rule(mask, rule):
    other = np.zeros_like(mask)
    other[3020:3110, 2000:2100] = True
    empty = np.zeros_like(mask)
    points, text = {"both": (mask, other), "points": (mask, empty), "text": (empty, mask)}[rule]
    fused = fuse(points, text, has_keypoints=True, gamma=0)
    assert fused.rule == rule
    assert np.array_equal(fused.mask, points & text if rule == "both" else mask)
    assert not any(np.shares_memory(fused.mask, given) for given in (points, text))
