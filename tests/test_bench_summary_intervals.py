"""Bootstrap intervals: resampled by image, seeded, and as wide as theory says."""

import numpy as np
import pytest

from geoseg_agent.bench.bootstrap import intervals


def slow(images, above, below, resamples, seed):
    """The same draws, one after the other, pair by pair."""
    names = sorted(set(images))
    weights = np.random.default_rng(seed).multinomial(len(names), [1 / len(names)] * len(names), size=resamples)
    drawn = []
    for row in weights:
        over = under = 0.0
        for name, times in zip(names, row, strict=True):
            for image, a, b in zip(images, above, below, strict=True):
                if image == name:
                    over, under = over + times * a, under + times * b
        drawn.append(over / under)
    return np.quantile(drawn, [0.025, 0.975])


def test_it_equals_a_loop_over_the_draws():
    random = np.random.default_rng(5)
    images = [f"i{n}" for n in random.integers(0, 6, 30)]
    above, below = random.random(30), random.random(30) + 0.1
    found = intervals(images, above[:, None], below[:, None], resamples=300, seed=7)[0]

    assert found == pytest.approx(slow(images, above, below, 300, 7), abs=1e-12)


def test_pairs_of_one_image_stay_together():
    # Ten images of forty equal pairs: there are ten observations, not four hundred.
    scores = np.repeat([0.0, 1.0] * 5, 40)[:, None]
    ones = np.ones((400, 1))
    by_image = intervals([f"{n // 40}" for n in range(400)], scores, ones)[0]
    by_pair = intervals([f"{n}" for n in range(400)], scores, ones)[0]

    assert by_image.high - by_image.low == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 10), rel=0.15)
    assert by_pair.high - by_pair.low == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 400), rel=0.15)


def test_seeds_repeat_and_differ():
    random = np.random.default_rng(6)
    images, scores, ones = [f"{n % 11}" for n in range(50)], random.random((50, 3)), np.ones((50, 1))

    assert intervals(images, scores, ones, seed=1) == intervals(images, scores, ones, seed=1)
    assert intervals(images, scores, ones, seed=1) != intervals(images, scores, ones, seed=2)
    order = random.permutation(50)
    assert intervals([images[n] for n in order], scores[order], ones) == intervals(images, scores, ones)


def test_it_does_not_matter_how_many_images_are_drawn_at_once():
    random = np.random.default_rng(8)
    images = [f"{n}" for n in range(3000)]  # 3000 x 2000 weights: drawn in parts
    found = intervals(images, random.random((3000, 1)), np.ones((3000, 1)))[0]

    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(1 / 12 / 3000), rel=0.1)


def test_one_image_has_no_interval():
    assert intervals(["a", "a"], [[0.0], [1.0]], [[1], [1]]) == [None]


def test_a_ratio_that_may_have_nothing_below_has_no_interval():
    assert intervals(["a", "b"], [[0.0, 0.5], [1.0, 0.5]], [[0, 1], [2, 1]]) == [None, (0.5, 0.5)]
