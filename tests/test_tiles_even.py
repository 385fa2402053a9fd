"""Tools that see no farther than the margin give the same in tiles as on the whole, wherever the tiles begin."""

import numpy as np
from even_tools import blobs, even, labels_of, points, texts, things, tiled, whole_of
from hypothesis import given, settings
from hypothesis import strategies as st

SIZE = (150, 180)
IMAGE = things(SIZE, blobs(SIZE, 15))
CROP = whole_of(IMAGE)
LABELS = labels_of(IMAGE)
ON_A_THING = tuple(int(v) for v in np.argwhere(LABELS == 1)[0][::-1])
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


@given(origin=OFFSETS, seed=st.integers(0, 50))
@settings(max_examples=10, deadline=None)
async def test_the_object_of_a_point_is_that_of_the_whole_whatever_the_offset(origin, seed):
    rng = np.random.default_rng(seed)
    given_points = [(*ON_A_THING, True), *signed(somewhere(rng) for _ in range(5))]
    whole, _ = even()
    pieces, _ = tiled(64, 12, origin=origin)
    untiled, found = await points(whole, CROP, given_points), await points(pieces, CROP, given_points)
    assert np.array_equal(untiled.union(), found.union())
    assert len(untiled) == len(found)
    await whole.aclose()
    await pieces.aclose()


@given(origin=OFFSETS, seed=st.integers(0, 50))
@settings(max_examples=10, deadline=None)
async def test_a_correction_is_that_of_the_whole_whatever_the_offset(origin, seed):
    rng = np.random.default_rng(seed)
    whole, _ = even()
    pieces, _ = tiled(64, 12, origin=origin)
    earlier = (await points(whole, CROP, [(*somewhere(rng), True) for _ in range(4)])).union()
    earlier[3:9, 3:9] = True  # what is far from every point stays as it was
    given_points = signed(somewhere(rng) for _ in range(4))
    untiled = await points(whole, CROP, given_points, earlier)
    found = await points(pieces, CROP, given_points, earlier)
    assert np.array_equal(untiled.union(), found.union())
    await whole.aclose()
    await pieces.aclose()


def somewhere(rng):
    """A pixel, on a red thing mostly."""
    inside = np.argwhere(np.asarray(IMAGE.pixels[..., 0]) > 150)
    y, x = inside[rng.integers(len(inside))] if rng.random() < 0.8 else rng.integers(0, SIZE)
    return int(x), int(y)


def signed(where):
    """Points that do not contradict each other: those on every other red thing are negative."""
    return [(x, y, LABELS[y, x] % 2 == 1) for x, y in where]
