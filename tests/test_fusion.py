"""Validity and fusion (Eq. 6 and 7) against slow, obvious oracles."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg_tools import GeometryError, fuse, valid


@st.composite
def pairs(draw):
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    cells = height * width
    sparse = st.lists(st.integers(0, cells - 1), max_size=3).map(lambda on: sum({1 << i for i in on}))
    masks = []
    for _ in range(2):
        bits = draw(st.one_of(st.integers(0, 2**cells - 1), sparse))
        masks.append(np.array([bool(bits >> i & 1) for i in range(cells)]).reshape(height, width))
    return masks[0], masks[1]


GAMMAS = [0.0, 0.01, 0.02, 0.125, 0.25, 0.5, 1.0]
gammas = st.sampled_from(GAMMAS)


@settings(max_examples=1_000, deadline=None)
@given(pairs(), st.booleans(), gammas)
def test_fuse_equals_the_oracle(masks, has_keypoints, gamma):
    compare_with_the_oracle(*masks, has_keypoints, gamma)


def test_fuse_equals_the_oracle_on_nine_thousand_more():
    chance = np.random.default_rng(0)
    for _ in range(9_000):
        shape = chance.integers(1, 13, 2)
        a, b = (chance.random(shape) < chance.choice([0.0, 0.02, 0.1, 0.5, 1.0]) for _ in range(2))
        compare_with_the_oracle(a, b, bool(chance.integers(2)), float(chance.choice(GAMMAS)))


def compare_with_the_oracle(a, b, has_keypoints, gamma):
    height, width = a.shape
    counts = [sum(bool(m[y, x]) for y in range(height) for x in range(width)) for m in (a, b)]
    good = [n > 0 and Fraction(n, height * width) >= Fraction(str(gamma)) for n in counts]
    good[0] = good[0] and has_keypoints
    rule = {(True, True): "both", (True, False): "points", (False, True): "text", (False, False): "none"}[tuple(good)]
    expected = [
        [
            {"both": bool(a[y, x]) and bool(b[y, x]), "points": a[y, x], "text": b[y, x], "none": False}[rule]
            for x in range(width)
        ]
        for y in range(height)
    ]

    fused = fuse(a, b, has_keypoints=has_keypoints, gamma=gamma)

    assert fused.rule == rule
    assert np.array_equal(fused.mask, np.array(expected))


@given(pairs(), gammas)
def test_the_result_never_aliases_an_input(masks, gamma):
    a, b = masks

    fused = fuse(a, b, has_keypoints=True, gamma=gamma)

    assert not np.shares_memory(fused.mask, a)
    assert not np.shares_memory(fused.mask, b)


def test_exactly_one_percent_is_valid():
    mask = np.zeros((10, 10), dtype=bool)
    mask[0, 0] = True

    assert valid(mask, 0.01)
    assert not valid(mask, 0.011)


def test_with_gamma_zero_any_pixel_is_valid_and_none_is_not():
    mask = np.zeros((100, 100), dtype=bool)

    assert not valid(mask, 0.0)
    mask[3, 4] = True
    assert valid(mask, 0.0)


def test_routes_of_different_shape_are_refused():
    with pytest.raises(GeometryError, match="shape"):
        fuse(np.zeros((2, 3), dtype=bool), np.zeros((3, 2), dtype=bool), has_keypoints=True)


@pytest.mark.parametrize("gamma", [-0.1, 1.1, float("nan")])
def test_gamma_outside_its_range_is_refused(gamma):
    with pytest.raises(GeometryError, match="gamma"):
        valid(np.zeros((2, 2), dtype=bool), gamma)
