"""TopK-NMS and the stock picker: golden vectors, and a slow oracle that walks plateaus cell by cell."""

import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from geoseg_tools import KeypointError, threshold_points, topk_nms

GOLDEN = Path(__file__).parents[2] / "shared" / "golden" / "clip_surgery"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden vectors are not here")


def picked_slowly(heat, crop, k, tau, radius, normalise):
    """The definition, cell by cell: flood each plateau, look at its rim, pick its most central member."""
    gh, gw = heat.shape
    grid = [[float(v) for v in row] for row in heat]
    low, high = min(map(min, grid)), max(map(max, grid))
    if normalise == "minmax":
        if high - low < 1e-6:
            return []
        grid = [[(v - low) / (high - low) for v in row] for row in grid]
    near = [(dr, dc) for dr in (-1, 0, 1) for dc in (-1, 0, 1) if dr or dc]
    seen, candidates = set(), []
    for row in range(gh):
        for column in range(gw):
            if (row, column) in seen:
                continue
            value, plateau, stack, top = grid[row][column], [], [(row, column)], True
            seen.add((row, column))
            while stack:
                r, c = stack.pop()
                plateau.append((r, c))
                for dr, dc in near:
                    rr, cc = r + dr, c + dc
                    if not (0 <= rr < gh and 0 <= cc < gw):
                        continue
                    top = top and grid[rr][cc] <= value
                    if grid[rr][cc] == value and (rr, cc) not in seen:
                        seen.add((rr, cc))
                        stack.append((rr, cc))
            if top and value >= tau:
                n = len(plateau)
                centre = [Fraction(sum(cell[i] for cell in plateau), n) for i in (0, 1)]
                candidates.append(
                    (value, min(plateau, key=lambda p: (sum((p[i] - centre[i]) ** 2 for i in (0, 1)), p)))
                )
    candidates.sort(key=lambda found: (-found[0], found[1]))
    kept = []
    for value, cell in candidates:
        if all(max(abs(cell[0] - o[0]), abs(cell[1] - o[1])) > radius for _, o in kept) and len(kept) < k:
            kept.append((value, cell))
    points, result = set(), []
    for value, (row, column) in kept:
        x = min(((2 * column + 1) * crop[1]) // (2 * gw), crop[1] - 1)
        y = min(((2 * row + 1) * crop[0]) // (2 * gh), crop[0] - 1)
        if (x, y) not in points:
            points.add((x, y))
            result.append(((x, y), (row, column), value))
    return result


# Few distinct values, so that plateaus and ties are the rule.
grids = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]),
)


@settings(max_examples=1_000, deadline=None)
@given(
    grids,
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.25, 0.3, 1.0]),
    st.one_of(st.none(), st.integers(0, 3)),
    st.sampled_from(["minmax", "none"]),
)
def test_topk_nms_equals_the_oracle(heat, crop, k, tau, radius, normalise):
    compare_with_the_oracle(heat, crop, k, tau, radius, normalise)


def test_topk_nms_equals_the_oracle_on_nine_thousand_more():
    chance = random.Random(0)
    for _ in range(9_000):
        shape = chance.randint(1, 9), chance.randint(1, 9)
        values = [chance.choice([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]) for _ in range(shape[0] * shape[1])]
        compare_with_the_oracle(
            np.array(values, np.float32).reshape(shape),
            (chance.randint(1, 40), chance.randint(1, 40)),
            chance.randint(1, 6),
            chance.choice([0.0, 0.25, 0.3, 1.0]),
            chance.choice([None, 0, 1, 2, 3]),
            chance.choice(["minmax", "none"]),
        )


def compare_with_the_oracle(heat, crop, k, tau, radius, normalise):
    reach = max(1, min(heat.shape) // 16) if radius is None else radius
    expected = picked_slowly(heat, crop, k, tau, reach, normalise)

    found = topk_nms(heat, crop, k, tau, radius, normalise)

    assert [tuple(p) for p in found.points.tolist()] == [point for point, _, _ in expected]
    assert [tuple(c) for c in found.cells.tolist()] == [cell for _, cell, _ in expected]
    assert found.scores.tolist() == [value for _, _, value in expected]
    assert found.raw.tolist() == [float(heat[cell]) for _, cell, _ in expected]


@needs_golden
def test_topk_nms_equals_the_golden_vectors():
    golden = np.load(GOLDEN / "topk_nms.npz")
    cases = sorted({key.split("/")[0] for key in golden}, key=int)
    assert len(cases) == 16
    for case in cases:
        radius = int(golden[f"{case}/radius"])
        found = topk_nms(
            golden[f"{case}/map"],
            tuple(int(v) for v in golden[f"{case}/crop_hw"]),
            int(golden[f"{case}/k"]),
            float(golden[f"{case}/tau"]),
            None if radius < 0 else radius,
            "minmax" if int(golden[f"{case}/minmax"]) else "none",
        )
        assert np.array_equal(found.points, golden[f"{case}/points"].reshape(-1, 2)), case
        assert np.array_equal(found.cells, golden[f"{case}/cells"].reshape(-1, 2)), case
        assert np.array_equal(found.scores, golden[f"{case}/scores"]), case


@needs_golden
def test_threshold_points_equal_the_golden_vectors():
    golden = np.load(GOLDEN / "points.npz")
    cases = sorted({key.split("/")[0] for key in golden}, key=int)
    assert len(cases) == 9
    for case in cases:
        found = threshold_points(
            golden[f"{case}/similarity"],
            tuple(int(v) for v in golden[f"{case}/shape"]),
            float(golden[f"{case}/t"]),
            int(golden[f"{case}/down_sample"]),
        )
        assert np.array_equal(found.points, golden[f"{case}/points"]), case
        assert np.array_equal(found.positive, golden[f"{case}/labels"].astype(bool)), case


@settings(max_examples=300, deadline=None)
@given(st.integers(2, 9), st.data())
def test_threshold_points_equal_the_oracle(side, data):
    values = data.draw(st.lists(st.integers(0, 8).map(float), min_size=side * side, max_size=side * side))
    threshold, size = data.draw(st.sampled_from([0.0, 0.5, 0.8, 1.0])), (data.draw(st.integers(1, 50)), 30)
    m = side // 2
    cells = []
    for r in range(m):
        for c in range(m):
            value = Fraction(0)
            places = [min(max(Fraction((2 * i + 1) * side, 2 * m) - Fraction(1, 2), 0), side - 1) for i in (r, c)]
            for dr in (0, 1):
                for dc in (0, 1):
                    row, column = min(int(places[0]) + dr, side - 1), min(int(places[1]) + dc, side - 1)
                    share = [p - int(p) if d else 1 - (p - int(p)) for p, d in zip(places, (dr, dc), strict=True)]
                    value += share[0] * share[1] * Fraction(values[row * side + column])
            cells.append((value, r, c))
    low, high = min(cells)[0], max(cells)[0]
    phi = [(v - low) / (high - low) if high > low else Fraction(0) for v, _, _ in cells]
    if any(abs(float(v) - threshold) < 1e-9 for v in phi):
        return  # a value on the threshold may fall on either side in floating point
    if len({round(float(v), 9) for v in phi}) < len(set(phi)):
        return
    count = min(sum(v >= Fraction(str(threshold)) for v in phi), len(cells) // 2)
    order = sorted(range(len(cells)), key=lambda i: (round(float(phi[i]), 9), i))
    chosen = order[len(order) - count :] + order[:count]

    found = threshold_points(np.array(values), size, threshold)

    expected = [
        [(2 * cells[i][2] + 1) * size[1] // (2 * m), (2 * cells[i][1] + 1) * size[0] // (2 * m)] for i in chosen
    ]
    same_values = len(set(phi)) < len(phi)
    if same_values:  # ties keep row-major order only as exactly as the arithmetic tells them apart
        assert sorted(found.positive.tolist()) == sorted([True] * count + [False] * count)
    else:
        assert found.points.tolist() == expected


@pytest.mark.parametrize(
    "bad",
    [
        {"heat": np.zeros((0, 3), dtype=np.float32)},
        {"heat": np.zeros(3, dtype=np.float32)},
        {"heat": np.array([[np.nan, 1.0]], dtype=np.float32)},
        {"crop_size": (0, 5)},
        {"k": 0},
        {"tau": 1.5},
        {"radius": -1},
        {"normalise": "softmax"},
    ],
)
def test_impossible_arguments_are_refused(bad):
    arguments = {"heat": np.eye(3, dtype=np.float32), "crop_size": (9, 9)} | bad
    with pytest.raises(KeypointError):
        topk_nms(**arguments)


def test_a_constant_map_has_no_keypoints():
    assert len(topk_nms(np.full((4, 4), 0.7, dtype=np.float32), (80, 80))) == 0


def test_a_grid_that_is_not_square_is_refused_by_the_stock_picker():
    with pytest.raises(KeypointError, match="square"):
        threshold_points(np.zeros(6), (10, 10))
    with pytest.raises(KeypointError, match="NaN"):
        threshold_points(np.array([0.0, np.nan, 1.0, 0.0]), (10, 10))
