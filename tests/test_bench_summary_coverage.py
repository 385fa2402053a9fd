"""Risk against coverage: by hand, ties in every order, and what has no confidence comes last."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import spearmanr

from geoseg_agent.bench.coverage import risk_coverage, running_mean


def test_by_hand():
    # surest first: IoU 0.9, 0.1, 0.5, 0.0 -> risks 0.1, (0.1+0.9)/2, (1.0+0.5)/3, (1.5+1.0)/4
    found = risk_coverage([0.2, 0.9, 0.4, 0.7], [0.0, 0.9, 0.5, 0.1])

    assert found.aurc == pytest.approx((0.1 + 0.5 + 0.5 + 0.625) / 4)
    # the best order is 0.9, 0.5, 0.1, 0.0 -> 0.1, 0.3, 0.5, 0.625
    assert found.oracle == pytest.approx((0.1 + 0.3 + 0.5 + 0.625) / 4)
    assert found.excess == pytest.approx(0.05)
    assert found.chance == pytest.approx(0.625)
    assert found.bad_at_half == 0.5  # of 0.9 and 0.1
    assert [(point.coverage, point.risk, point.bad) for point in found.curve] == [
        (0.25, pytest.approx(0.1), 0),
        (0.5, pytest.approx(0.5), 0.5),
        (0.75, pytest.approx(0.5), pytest.approx(1 / 3)),
        (1, pytest.approx(0.625), 0.5),
    ]


def test_ties_are_the_mean_over_all_their_orders():
    confidences, ious = [0.5, 0.9, 0.5, 0.5, 0.1], [0.2, 0.7, 1.0, 0.4, 0.0]
    aurcs = []
    for order in permutations([0, 2, 3]):
        ranked = [ious[at] for at in (1, *order, 4)]
        aurcs.append(np.mean([np.mean([1 - iou for iou in ranked[:k]]) for k in range(1, 6)]))

    assert risk_coverage(confidences, ious).aurc == pytest.approx(np.mean(aurcs), abs=1e-12)


def test_what_has_no_confidence_comes_last_and_counts():
    known = risk_coverage([0.0, 0.5, None, None], [0.6, 0.8, 0.0, 1.0])

    assert (known.n, known.confident) == (4, 2)
    assert known.aurc == pytest.approx((0.2 + 0.3 + (0.6 + 0.5) / 3 + 0.4) / 4)
    assert known.curve[-1].risk == pytest.approx(0.4)


def test_without_any_confidence_there_is_no_order():
    found = risk_coverage([None, None], [0.1, 0.9])

    assert (found.aurc, found.bad_at_half, found.spearman, found.curve) == (None, None, None, ())
    assert found.chance == pytest.approx(0.5)


def test_spearman_is_scipys():
    random = np.random.default_rng(9)
    confidences, ious = random.integers(0, 8, 60) / 8, random.random(60)

    wanted = spearmanr(confidences, ious).statistic
    assert risk_coverage(confidences.tolist(), ious.tolist()).spearman == pytest.approx(wanted, abs=1e-12)
    assert risk_coverage([0.5, 0.5], [0.1, 0.2]).spearman is None


def test_bad_is_under_two_tenths_of_the_surest_half_rounded_up():
    assert risk_coverage([0.9, 0.8, 0.7], [0.19, 0.2, 0.0]).bad_at_half == 0.5


def test_the_curve_has_a_hundred_points_at_most():
    found = risk_coverage(list(np.linspace(0, 1, 1234)), [0.5] * 1234)

    assert len(found.curve) == 100
    assert found.curve[-1].coverage == 1


def test_running_means_without_ties():
    values = np.array([3.0, 1.0, 2.0])
    assert running_mean(np.array([1.0, 3.0, 2.0]), values) == pytest.approx([1, 1.5, 2])
