"""Boxes, refinement and pasting against slow, obvious oracles."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg_tools import Box, GeometryError, paste, refine, resize_nearest, whole

sides = st.integers(1, 80)
decimals = st.integers(0, 200).map(lambda n: n / 100)


@st.composite
def boxes(draw, most=100):
    x1, y1 = draw(st.integers(0, most)), draw(st.integers(0, most))
    return Box(x1, y1, x1 + draw(st.integers(1, most)), y1 + draw(st.integers(1, most)))


def refined_slowly(box, size, alpha, beta, rounding, min_side):
    """Eq. 2 pixel by pixel: grow one pixel at a time while the margin still reaches the next pixel."""
    height, width = size
    x1, y1, x2, y2 = max(box.x1, 0), max(box.y1, 0), min(box.x2, width), min(box.y2, height)
    if x1 >= x2 or y1 >= y2:
        return None
    out = []
    for low, high, limit in ((x1, x2, width), (y1, y2, height)):
        side = high - low
        left = Fraction(str(alpha)) * side
        right = Fraction(str(beta)) * side
        a, b = low, high
        if rounding == "outward":
            while a > 0 and low - a < left:
                a -= 1
            while b < limit and b - high < right:
                b += 1
        else:
            a = math.trunc(max(low - left, Fraction(0)))
            b = math.trunc(min(high + right, Fraction(limit)))
        want = min(min_side, limit)
        if b - a < want:
            a = min(max(a - (want - (b - a)) // 2, 0), limit - want)
            b = a + want
        out.append((a, b))
    (x1, x2), (y1, y2) = out
    return (x1, y1, x2, y2)


@settings(max_examples=1_000, deadline=None)
@given(
    boxes(),
    sides,
    sides,
    decimals,
    decimals,
    st.sampled_from(["outward", "truncate"]),
    st.sampled_from([0, 1, 16, 40]),
)
def test_refine_equals_the_oracle(box, height, width, alpha, beta, rounding, min_side):
    compare_refine(box, height, width, alpha, beta, rounding, min_side)


def test_refine_equals_the_oracle_on_nine_thousand_more():
    chance = random.Random(0)
    for _ in range(9_000):
        compare_refine(
            box_of(chance, 100),
            chance.randint(1, 80),
            chance.randint(1, 80),
            chance.randint(0, 200) / 100,
            chance.randint(0, 200) / 100,
            chance.choice(["outward", "truncate"]),
            chance.choice([0, 1, 16, 40]),
        )


def box_of(chance, most):
    x1, y1 = chance.randint(0, most), chance.randint(0, most)
    return Box(x1, y1, x1 + chance.randint(1, most), y1 + chance.randint(1, most))


def compare_refine(box, height, width, alpha, beta, rounding, min_side):
    expected = refined_slowly(box, (height, width), alpha, beta, rounding, min_side)

    if expected is None:
        with pytest.raises(GeometryError, match="outside the image"):
            refine(box, (height, width), alpha, beta, rounding=rounding, min_side=min_side)
    else:
        assert tuple(refine(box, (height, width), alpha, beta, rounding=rounding, min_side=min_side)) == expected


@settings(max_examples=1_000, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**81 - 1), boxes(most=12), sides, sides)
def test_paste_equals_the_oracle(height, width, bits, roi, image_height, image_width):
    compare_paste(height, width, bits, roi, image_height, image_width)


def test_paste_equals_the_oracle_on_nine_thousand_more():
    chance = random.Random(0)
    for _ in range(9_000):
        height, width, bits = chance.randint(1, 9), chance.randint(1, 9), chance.getrandbits(81)
        compare_paste(height, width, bits, box_of(chance, 12), chance.randint(1, 80), chance.randint(1, 80))


def compare_paste(height, width, bits, roi, image_height, image_width):
    mask = np.array([bool(bits >> i & 1) for i in range(height * width)]).reshape(height, width)
    size = (image_height, image_width)
    if roi.x2 > image_width or roi.y2 > image_height:
        with pytest.raises(GeometryError, match="reaches over"):
            paste(mask, roi, size)
        return

    pasted = paste(mask, roi, size)

    expected = np.zeros(size, dtype=bool)
    for y in range(roi.y1, roi.y2):
        for x in range(roi.x1, roi.x2):
            row = math.floor(Fraction(2 * (y - roi.y1) + 1, 2) * height / roi.height)
            column = math.floor(Fraction(2 * (x - roi.x1) + 1, 2) * width / roi.width)
            expected[y, x] = mask[row, column]
    assert pasted.dtype == np.bool_
    assert np.array_equal(pasted, expected)


@pytest.mark.parametrize(
    "corners",
    [(0, 0, 0, 5), (3, 0, 2, 5), (-1, 0, 4, 4), (0, -2, 4, 4), (0.0, 0, 4, 4), (True, 0, 4, 4), ("0", 0, 4, 4)],
)
def test_a_box_keeps_its_invariants(corners):
    with pytest.raises(GeometryError):
        Box(*corners)


@given(boxes(), boxes())
def test_relative_frames_are_inverse(box, origin):
    shifted = box.offset(origin)

    assert shifted.relative_to(origin) == box
    assert shifted.size == box.size


@given(boxes(), boxes())
def test_intersection_is_the_common_pixels(a, b):
    common = a.intersection(b)
    pixels = {(x, y) for x in range(a.x1, a.x2) for y in (a.y1, a.y2 - 1) if b.x1 <= x < b.x2 and b.y1 <= y < b.y2}

    assert common == b.intersection(a)
    if common is None:
        assert not pixels
    else:
        assert a.contains(common)
        assert b.contains(common)


@pytest.mark.parametrize(("alpha", "beta"), [(-0.1, 0.1), (0.2, math.nan), (math.inf, 0.1)])
def test_refine_refuses_impossible_margins(alpha, beta):
    with pytest.raises(GeometryError, match=r"alpha|beta"):
        refine(Box(0, 0, 4, 4), (10, 10), alpha, beta)


def test_the_papers_margins_on_a_plain_box():
    assert tuple(refine(Box(100, 50, 200, 150), (400, 400))) == (80, 30, 210, 160)


def test_resizing_refuses_what_is_no_mask():
    for array in (np.zeros((2, 2)), np.zeros((2, 2, 2), dtype=bool), np.zeros((0, 2), dtype=bool)):
        with pytest.raises(GeometryError, match="mask"):
            resize_nearest(array, (2, 2))
    with pytest.raises(GeometryError, match="size"):
        resize_nearest(np.zeros((2, 2), dtype=bool), (0, 2))


def test_the_whole_image_as_a_box():
    assert whole((3, 7)).size == (3, 7)
    assert whole((3, 7)).area == 21
