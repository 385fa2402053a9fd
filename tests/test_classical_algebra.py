"""The numerical parts of the offline default against slow and plain ways to the same numbers."""

import cv2
import numpy as np
import pytest
from scipy.sparse.csgraph import floyd_warshall

from geoseg_tools.classical import canvas as canvases
from geoseg_tools.classical import ops
from geoseg_tools.classical.boxmode import best_cut
from geoseg_tools.classical.canvas import Canvas
from geoseg_tools.classical.guided import Guide, guided
from geoseg_tools.classical.layer import Layer, layer_of
from geoseg_tools.classical.learner import basis, learn
from geoseg_tools.classical.points import HELD, PRIOR, amend, regress
from geoseg_tools.crop import Scene
from geoseg_tools.geometry import whole


@pytest.fixture(scope="module")
def layer() -> Layer:
    rng = np.random.default_rng(7)
    blocks = np.kron(rng.integers(0, 256, (4, 6, 3)), np.ones((8, 8, 1)))
    pixels = np.clip(blocks + rng.normal(0, 6, blocks.shape), 0, 255).astype(np.uint8)
    return layer_of(Scene((32, 48), "algebra", pixels), whole((32, 48)), side=48)


def laplacian(layer: Layer) -> np.ndarray:
    dense = np.zeros((layer.count, layer.count))
    for i, j, length, distance in zip(*layer.graph, layer.distances, strict=True):
        weight = np.exp(-2 * distance) * length / 10
        dense[i, i] += weight
        dense[j, j] += weight
        dense[i, j] -= weight
        dense[j, i] -= weight
    return dense


def test_the_random_walker_solves_its_dense_system(layer: Layer) -> None:
    rng = np.random.default_rng(0)
    values, own = rng.normal(size=layer.count), rng.uniform(0.1, 3, layer.count)
    expected = np.linalg.solve(laplacian(layer) + np.diag(own), own * values)
    assert layer.smooth(values, own) == pytest.approx(expected, abs=1e-10)
    expected = np.linalg.solve(laplacian(layer) + 0.3 * np.eye(layer.count), 0.3 * values)
    assert layer.smooth(values, 0.3) == pytest.approx(expected, abs=1e-10)


def test_the_random_walker_keeps_constants_and_never_leaves_the_range(layer: Layer) -> None:
    assert layer.smooth(np.full(layer.count, 0.4), 0.3) == pytest.approx(np.full(layer.count, 0.4))
    smooth = layer.smooth(np.random.default_rng(1).random(layer.count), 0.3)
    assert 0 <= smooth.min() <= smooth.max() <= 1


@pytest.mark.parametrize("count", [0, 1, 5])
def test_settled_is_the_random_walker_with_the_clicked_held_fast(layer: Layer, count: int) -> None:
    rng = np.random.default_rng(count)
    values = rng.normal(size=layer.count)
    at = rng.choice(layer.count, count, replace=False)
    own = np.full(layer.count, 0.25)
    own[at] = 50
    assert Canvas(layer).settled(values, at) == pytest.approx(layer.smooth(values, own), abs=1e-10)


def test_the_kernel_is_appearance_times_the_way_through_the_graph(layer: Layer) -> None:
    at = np.array([3, 0, 9])
    ways = np.full((layer.count, layer.count), np.inf)
    ways[layer.graph.i, layer.graph.j] = np.sqrt(layer.distances) + 0.05
    ways = floyd_warshall(ways, directed=False)
    vectors = layer.vectors.astype(np.float64)
    unlike = ((vectors[at][:, None] - vectors) ** 2).sum(axis=-1)
    expected = np.exp(-unlike / 2) * (0.15 + 0.85 * np.exp(-((ways[at] / 6) ** 2) / 2))
    found = Canvas(layer).kernel(at)
    assert found == pytest.approx(expected, abs=1e-6)
    assert found[range(3), at] == pytest.approx(np.ones(3))


def test_clicked_superpixels_end_as_clicked(layer: Layer) -> None:
    inside, outside = np.array([1, 5]), np.array([5, 9])
    belief = regress(Canvas(layer), inside, outside)
    assert belief[1] > 0.9
    assert (belief[outside] < -0.9).all()
    share = np.ones(layer.count)
    moved = amend(Canvas(layer), inside, outside, share)
    assert ((HELD + moved)[outside] < 0).all()
    assert (HELD + moved)[1] > 0


def test_nothing_clicked_changes_no_belief(layer: Layer) -> None:
    none = np.zeros(0, np.int64)
    assert regress(Canvas(layer), none, none) == pytest.approx(np.full(layer.count, PRIOR))
    assert amend(Canvas(layer), none, none, np.ones(layer.count)) == pytest.approx(np.zeros(layer.count))


def test_no_answer_of_a_canvas_depends_on_earlier_clicks_or_on_what_it_forgot(layer: Layer, monkeypatch) -> None:
    monkeypatch.setattr(canvases, "KEPT", 3)
    used = Canvas(layer)
    for start in range(0, layer.count - 5, 4):
        inside, outside = np.arange(start, start + 3), np.arange(start + 3, start + 5)
        fresh = regress(Canvas(layer), inside, outside)
        for _ in range(2):
            assert np.array_equal(regress(used, inside, outside), fresh)
    assert len(used) == 3


def test_the_guided_filter_against_one_regression_per_window() -> None:
    rng = np.random.default_rng(2)
    guide = rng.uniform(-20, 60, (9, 11, 3)).astype(np.float32)
    values = rng.random((9, 11)).astype(np.float32)
    radius, eps = 2, 9.0
    # The filter reflects at the border with the edge pixel repeated, so the slow way works on a padded image.
    padded_guide = np.pad(guide.astype(np.float64), ((radius, radius), (radius, radius), (0, 0)), mode="symmetric")
    padded_values = np.pad(values.astype(np.float64), radius, mode="symmetric")
    slope, offset = np.zeros((9, 11, 3)), np.zeros((9, 11))
    for y in range(9):
        for x in range(11):
            window = np.s_[y : y + 2 * radius + 1, x : x + 2 * radius + 1]
            colours, target = padded_guide[window].reshape(-1, 3), padded_values[window].ravel()
            centred = colours - colours.mean(axis=0)
            covariance = centred.T @ centred / len(colours) + eps * np.eye(3)
            slope[y, x] = np.linalg.solve(covariance, centred.T @ (target - target.mean()) / len(colours))
            offset[y, x] = target.mean() - slope[y, x] @ colours.mean(axis=0)
    padded_slope = np.pad(slope, ((radius, radius), (radius, radius), (0, 0)), mode="symmetric")
    padded_offset = np.pad(offset, radius, mode="symmetric")
    expected = np.zeros((9, 11))
    for y in range(9):
        for x in range(11):
            window = np.s_[y : y + 2 * radius + 1, x : x + 2 * radius + 1]
            expected[y, x] = (
                padded_slope[window].reshape(-1, 3).mean(axis=0) @ guide[y, x] + padded_offset[window].mean()
            )
    assert guided(guide, values, radius, eps) == pytest.approx(np.clip(expected, 0, 1), abs=1e-4)


def test_the_guided_filter_keeps_constants_and_the_edges_of_its_guide() -> None:
    image = np.zeros((20, 30, 3), np.float32)
    image[:, 15:] = (60, 20, 20)
    guide = Guide(image)
    assert guide.filter(np.full((20, 30), 0.3, np.float32)) == pytest.approx(np.full((20, 30), 0.3), abs=1e-5)
    step = np.zeros((20, 30), np.float32)
    step[:, 15:] = 1
    assert np.abs(guide.filter(step) - step).max() < 0.05


def test_labelled_regions_get_what_a_fit_without_them_says() -> None:
    rng = np.random.default_rng(3)
    design = basis(rng.normal(size=(60, 4)).astype(np.float32))
    target = np.clip(rng.normal(size=60), -1, 1)
    weight = rng.uniform(0.2, 2, 60)
    weight[40:] = 0
    found = learn(design, target, weight)
    share, wide = weight.copy(), design.astype(np.float64)
    for side in (target > 0, target <= 0):
        share[side] *= 20 / weight[side].sum()
    for i in range(60):
        # The weights stay those of all labels; only the one in question is left out.
        kept = (share > 0) & (np.arange(60) != i)
        rows = wide[kept] * share[kept, None]
        solution = np.linalg.solve(rows.T @ wide[kept] + 0.3 * np.eye(wide.shape[1]), rows.T @ target[kept])
        assert found[i] == pytest.approx(1 / (1 + np.exp(-3 * wide[i] @ solution)), abs=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_the_best_cut_against_every_cut(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probability = (rng.random(rng.integers(1, 60)) ** rng.uniform(0.3, 3)).astype(np.float32)
    cut, expected = best_cut(probability)
    assert 0.2 - 1e-5 <= cut <= 0.6

    def iou(at: float) -> float:
        above = probability.astype(np.float64) > at
        hit = probability[above].sum(dtype=np.float64)
        missed = probability[~above].sum(dtype=np.float64)
        return float(hit / (above.sum() + missed)) if above.any() else 0.0

    assert iou(cut) == pytest.approx(expected)
    cuts = [float(p) - 1e-6 for p in probability if 0.2 <= p <= 0.6]
    assert expected >= max((iou(at) for at in cuts), default=0) - 1e-9


@pytest.mark.parametrize("radius", [9, 14, 30])
@pytest.mark.parametrize("level", [-0.35, 0.0, 0.35, 9.0])
def test_the_opening_by_a_wide_disc_against_the_plain_one(radius: int, level: float) -> None:
    noise = np.random.default_rng(radius).normal(size=(150, 210)).astype(np.float32)
    rough = cv2.GaussianBlur(noise, (0, 0), 20)
    mask = rough < level * rough.std() * 3
    plain = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, ops.disc(radius)) > 0
    assert (ops.opened(mask, radius) == plain).all()
