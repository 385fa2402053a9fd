"""Tools that see no farther than the margin give the same in tiles as on the whole, wherever the tiles begin."""

import numpy as np
import pytest
from even_tools import blobs, even, points, texts, things, tiled, whole_of
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg_tools import Box

SIZE = (190, 230)
IMAGE = things(SIZE, blobs(SIZE, 22))
CROP = whole_of(IMAGE)
OFFSETS = st.tuples(st.integers(-200, 200), st.integers(-200, 200))


def same(one, other):
    """Whether both hold the same objects, in any order."""
    as_set = [{(part.box, part.pixels.tobytes()) for part in masks.parts} for masks in (one, other)]
    return len(one) == len(other) and as_set[0] == as_set[1]


@given(origin=OFFSETS)
@settings(max_examples=25, deadline=None)
async def test_the_objects_of_a_phrase_are_those_of_the_whole_whatever_the_offset(origin):
    whole, tool = even()
    pieces, seen = tiled(64, 12, origin=origin)
    untiled, found = await texts(whole, CROP), await texts(pieces, CROP)
    assert len(tool.encoded) == 1
    assert len(seen.encoded) > 9
    assert same(untiled, found)
    assert np.array_equal(untiled.scores, found.scores)
    await whole.aclose()
    await pieces.aclose()


@given(origin=OFFSETS, seed=st.integers(0, 5))
@settings(max_examples=25, deadline=None)
async def test_the_object_of_a_point_is_that_of_the_whole_whatever_the_offset(origin, seed):
    rng = np.random.default_rng(seed)
    given_points = [(int(x), int(y), bool(sign)) for x, y, sign in zip(*_somewhere(rng), rng.random(6) < 0.6)]
    whole, _ = even()
    pieces, _ = tiled(64, 12, origin=origin)
    given_points[0] = (*given_points[0][:2], True)
    untiled = await points(whole, CROP, given_points)
    found = await points(pieces, CROP, given_points)
    # A negative point takes an object away only in the tiles that it lies in: see the decision record.
    excluded = any(not sign for *_, sign in given_points)
    if not excluded:
        assert np.array_equal(untiled.union(), found.union())
    assert not (found.union() & ~(await points(whole, CROP, [p for p in given_points if p[2]])).union()).any()
    await whole.aclose()
    await pieces.aclose()
