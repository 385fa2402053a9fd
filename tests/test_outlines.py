"""Outlines of large masks are traced in blocks, and are those of the mask in one piece."""

import tracemalloc

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geoseg_agent.outlines import outlines
from geoseg_tools import Box

MASKS = hnp.arrays(np.bool_, st.tuples(st.integers(1, 14), st.integers(1, 14)))


def corners(shapes):
    return [int(shapely.get_num_coordinates(shape)) for shape in shapes]


@settings(max_examples=40, deadline=None)
@given(MASKS, st.integers(0, 9), st.integers(1, 6))
def test_blocks_leave_no_trace(mask, offset, block):
    parts = [(mask, Box(offset, 3, offset + mask.shape[1], 3 + mask.shape[0]))]
    (cut,) = outlines(parts, block)
    (uncut,) = outlines(parts)
    assert cut.is_valid
    assert cut.area == mask.sum()
    assert shapely.equals(cut, uncut)
    assert len(cut.geoms) == len(uncut.geoms)
    assert corners([cut]) == corners([uncut])


def test_many_overlapping_parts_over_many_blocks():
    rng = np.random.default_rng(4)
    parts = []
    for _ in range(300):
        (left, top), (width, height) = rng.integers(0, 60, 2).tolist(), rng.integers(1, 25, 2).tolist()
        parts.append((rng.random((height, width)) < 0.7, Box(left, top, left + width, top + height)))
    together = outlines(parts, 16)
    assert [shape.area for shape in together] == [mask.sum() for mask, _ in parts]
    for shape, part in zip(together, parts, strict=True):
        assert shapely.equals(shape, outlines([part])[0])


def test_a_ring_over_four_blocks_is_one_polygon_with_one_hole():
    y, x = np.mgrid[:64, :64]
    radius = np.hypot(y - 32, x - 32)
    (ring,) = outlines([((radius < 30) & (radius > 10), Box(0, 0, 64, 64))], 32)
    assert [len(polygon.interiors) for polygon in ring.geoms] == [1]


def test_the_emptiness_around_a_mask_is_not_traced():
    mask = np.zeros((3000, 3000), bool)
    mask[2000:2010, 1500:1520] = True
    tracemalloc.start()
    try:
        (found,) = outlines([(mask, Box(7, 5, 3007, 3005))])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.bounds == (1507, 2005, 1527, 2015)
    assert peak < mask.size / 4


def test_nothing_to_trace():
    assert len(outlines([], 4)) == 0
    (empty,) = outlines([(np.zeros((9, 9), bool), Box(0, 0, 9, 9))], 4)
    assert empty.is_empty
