"""Pieces from runs are those from labels, one by one, and take no more memory than the mask."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from geoseg_agent.components import components
from geoseg_tools import Box

NEVER = 1 << 40


def told(parts):
    return [(tuple(box), pixels.tolist()) for box, pixels in parts]


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.booleans()), st.integers(1, 12))
def test_runs_and_labels_give_the_same_pieces(mask, times):
    mask = mask.repeat(times, axis=1)
    assert told(components(mask, 0)) == told(components(mask, NEVER))


@pytest.mark.parametrize("cover", [0.02, 0.5, 0.98])
def test_of_masks_with_long_runs_and_of_ragged_ones(cover):
    rng = np.random.default_rng(3)
    for scale in (1, 40):
        mask = (rng.random((60, 50)) < cover).repeat(scale, axis=1)
        assert told(components(mask, 0)) == told(components(mask, NEVER))


def test_pieces_of_a_large_mask_take_no_labels():
    mask = np.ones((5000, 5000), bool)
    mask[2000:2004] = False
    tracemalloc.start()
    try:
        found = components(mask)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [box for box, _ in found] == [Box(0, 0, 5000, 2000), Box(0, 2004, 5000, 5000)]
    assert peak < 1.7 * mask.size
