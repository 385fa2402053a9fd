"""Boundary F: against an oracle that compares all pixels with all others, and the drawn examples of its docstring."""

import math

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from geoseg_agent.bench import boundary as module
from geoseg_agent.bench.boundary import boundary, boundary_f, near, tolerances


def slow_boundary(mask):
    height, width = mask.shape
    found = set()
    for y in range(height):
        for x in range(width):
            if mask[y, x]:
                for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    if 0 <= v < height and 0 <= u < width and not mask[v, u]:
                        found.add((y, x))
    return found


def slow_boundary_f(prediction, truth, within):
    ours, theirs = slow_boundary(prediction), slow_boundary(truth)
    if not ours or not theirs:
        return [float((prediction == truth).all())] * len(within)
    to_theirs = [min(math.dist(p, g) for g in theirs) for p in ours]
    to_ours = [min(math.dist(g, p) for p in ours) for g in theirs]
    found = []
    for tolerance in within:
        precision = sum(far <= tolerance for far in to_theirs) / len(ours)
        recall = sum(far <= tolerance for far in to_ours) / len(theirs)
        found.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return found


def drawn(text, letters):
    rows = [line.split() for line in text.strip().splitlines()]
    return np.array([[cell in letters for cell in row] for row in rows])


def square(size, y, x, side):
    mask = np.zeros(size, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def test_it_equals_the_slow_oracle():
    random = np.random.default_rng(3)
    for number in range(2000):
        size = tuple(random.integers(1, 16, 2))
        blob = np.kron(random.random((4, 4)) < 0.4, np.ones((4, 4), bool)).astype(bool)[: size[0], : size[1]]
        kinds = [np.zeros(size, bool), np.ones(size, bool), random.random(size) < 0.3, blob, np.roll(blob, 1, 1)]
        prediction, truth = kinds[number % 5], kinds[random.integers(5)]
        within = [0.0, 1.0, 1.5, 3.0, math.sqrt(8), *tolerances(size)]

        assert {tuple(at) for at in np.argwhere(boundary(prediction)).tolist()} == slow_boundary(prediction)
        wanted = pytest.approx(slow_boundary_f(prediction, truth, within), abs=1e-9)
        assert boundary_f(prediction, truth, within) == wanted


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1), (4, 300), (90, 120)])
def test_near_is_an_exact_distance_transform_with_a_threshold(size):
    random = np.random.default_rng(4)
    for tolerance in (0, 0.99, 1, math.sqrt(2), 2.5, 3, math.sqrt(13), 5, math.sqrt(50), 8.59, 20, 500):
        pixels = random.random(size) < 0.01
        pixels[random.integers(size[0]), random.integers(size[1])] = True

        assert np.array_equal(near(pixels, tolerance), distance_transform_edt(~pixels) <= tolerance)


@pytest.mark.parametrize(("size", "shift"), [((400, 400), (3, 3)), ((400, 800), (3, 6)), ((800, 800), (6, 6))])
def test_what_lies_exactly_at_the_tolerance_is_within_it(size, shift):
    """0.0075 sqrt(400^2 + 400^2) is the root of 18, the distance of a step by 3 and 3, but for a rounding."""
    truth, prediction = np.zeros(size, bool), np.zeros(size, bool)
    truth[100, 100] = prediction[100 + shift[0], 100 + shift[1]] = True

    assert boundary_f(prediction, truth, [tolerances(size)[1]]) == [1]


SMALL = """
    . . . . . . . . . . . . . .
    . . . . . . . . . . . . . .
    . . . g g # # p p . . . . .
    . . . g g # # p p . . . . .
    . . . g g # # p p . . . . .
    . . . g g # # p p . . . . .
    . . . . . . . . . . . . . .
    . . . . . . . . . . . . . .
"""


def test_the_two_conventions_on_the_drawn_example():
    truth, prediction = drawn(SMALL, "g#"), drawn(SMALL, "p#")
    assert tolerances(truth.shape) == (3.0, pytest.approx(0.1209, abs=1e-4))
    assert boundary_f(prediction, truth, tolerances(truth.shape)) == [1, pytest.approx(1 / 3)]

    large, moved = square((800, 800), 300, 300, 60), square((800, 800), 300, 305, 60)
    assert tolerances(large.shape) == (3.0, pytest.approx(8.4853, abs=1e-4))
    assert boundary_f(moved, large, tolerances(large.shape)) == [pytest.approx(0.517, abs=5e-4), 1]

    rows = [line.strip()[:27] for line in SMALL.strip().splitlines()]
    stands = [line.strip()[:27] for line in module.__doc__.splitlines()]
    assert all(row in stands for row in rows)


FRAMES = (
    (
        """
    . . . . .
    . b b b .
    . b # b .
    . b b b .
    . . . . ."""
    ),
    (
        """
    o o b . .
    o # b . .
    o # b . .
    o # b . .
    o o b . ."""
    ),
)


@pytest.mark.parametrize("drawing", FRAMES)
def test_the_border_of_the_image_is_no_boundary(drawing):
    assert np.array_equal(boundary(drawn(drawing, "bo#")), drawn(drawing, "b"))


def test_diagonal_neighbours_do_not_make_a_boundary():
    mask = np.ones((5, 5), bool)
    mask[0, 0] = False
    assert {tuple(at) for at in np.argwhere(boundary(mask)).tolist()} == {(0, 1), (1, 0)}


def test_masks_without_a_boundary():
    empty, full, some = np.zeros((6, 6), bool), np.ones((6, 6), bool), square((6, 6), 1, 1, 3)
    for one, other, wanted in (
        (empty, empty, 1),
        (full, full, 1),
        (empty, full, 0),
        (empty, some, 0),
        (full, some, 0),
    ):
        assert boundary_f(one, other, [3.0]) == [wanted]
        assert boundary_f(other, one, [3.0]) == [wanted]
