"""Scores of one pair: equal to independent implementations, and what they are where there is nothing to count."""

import warnings
from collections import defaultdict

import numpy as np
import pytest
from sklearn import metrics

from geoseg_agent import errors
from geoseg_agent.bench.metrics import METRICS, NOTHING, count, score

REGION = METRICS[:6]


def masks(n, seed=0):
    """Pairs of masks of many kinds: dense, sparse, nested, equal, empty, full."""
    random = np.random.default_rng(seed)
    sizes = [(1, 1), (1, 39), (39, 1), *map(tuple, random.integers(1, 40, (30, 2)))]
    for number in range(n):
        size = sizes[random.integers(len(sizes))]
        kinds = {
            "empty": np.zeros(size, bool),
            "full": np.ones(size, bool),
            "noise": random.random(size) < random.random(),
            "sparse": random.random(size) < 0.02,
            "box": np.zeros(size, bool),
        }
        y, x = random.integers(0, size[0]), random.integers(0, size[1])
        kinds["box"][y : y + random.integers(1, 20), x : x + random.integers(1, 20)] = True
        names = list(kinds)
        first = kinds[names[random.integers(len(names))]]
        second = kinds[names[random.integers(len(names))]]
        yield first, first.copy() if number % 10 == 0 else second


def scikit_learns(p, t, nothing):
    """Tables and scores of (pixels, pairs) masks, each pair a label of its own; `nothing` is what 0 / 0 is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        precision, recall, dice, _ = metrics.precision_recall_fscore_support(t, p, zero_division=nothing)
        return metrics.multilabel_confusion_matrix(t, p), {
            "iou": metrics.jaccard_score(t, p, average=None, zero_division=nothing),
            "dice": dice,
            "accuracy": (t == p).mean(axis=0),
            "precision": precision,
            "recall": recall,
            "specificity": metrics.recall_score(1 - t, 1 - p, average=None, zero_division=nothing),
        }


def test_two_thousand_pairs_agree_with_scikit_learn():
    of_size, seen = defaultdict(list), set()
    for prediction, truth in masks(2000):
        of_size[truth.size].append((prediction, truth))
        seen.add((prediction.any(), prediction.all(), truth.any(), truth.all()))
    assert len(seen) >= 9  # empty, some and full on either side
    for group in of_size.values():
        # A last pair beside them: with a single label scikit-learn would see one of two classes instead.
        p, t = (
            np.array([*(mask.ravel() for mask in kind), group[0][0].ravel()]).T for kind in zip(*group, strict=True)
        )
        p, t = p.astype(np.uint8), t.astype(np.uint8)
        tables, unequal = scikit_learns(p, t, 0.0)
        _, equal = scikit_learns(p, t, 1.0)
        for at, (prediction, truth) in enumerate(group):
            counts, scores = score(prediction, truth)
            wanted = equal if np.array_equal(prediction, truth) else unequal  # the convention, in its words
            assert [[counts.tn, counts.fp], [counts.fn, counts.tp]] == tables[at].tolist()
            for name in REGION:
                assert getattr(scores, name) == pytest.approx(wanted[name][at], abs=1e-9), name


def test_two_thousand_pairs_agree_with_sets_of_pixels():
    for prediction, truth in masks(2000, seed=1):
        got = score(prediction, truth)[1]
        a = {tuple(at) for at in np.argwhere(prediction)}
        g = {tuple(at) for at in np.argwhere(truth)}
        every = {tuple(at) for at in np.argwhere(np.ones_like(truth))}
        nothing = float(a == g)
        wanted = {
            "iou": (len(a & g), len(a | g)),
            "dice": (2 * len(a & g), len(a) + len(g)),
            "accuracy": (len(every - (a ^ g)), len(every)),
            "precision": (len(a & g), len(a)),
            "recall": (len(a & g), len(g)),
            "specificity": (len(every - a - g), len(every - g)),
        }
        for name, (part, whole) in wanted.items():
            assert getattr(got, name) == pytest.approx(part / whole if whole else nothing, abs=1e-9), name


EMPTY, FULL, SOME = np.zeros((4, 5), bool), np.ones((4, 5), bool), np.zeros((4, 5), bool)
SOME[1:3, 1:4] = True  # 6 of 20


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        (EMPTY, EMPTY, (1, 1, 1, 1, 1, 1, 1, 1)),
        (EMPTY, SOME, (0, 0, 0.7, 0, 0, 1, 0, 0)),
        (SOME, EMPTY, (0, 0, 0.7, 0, 0, 0.7, 0, 0)),
        (FULL, EMPTY, (0, 0, 0, 0, 0, 0, 0, 0)),
        (EMPTY, FULL, (0, 0, 0, 0, 0, 0, 0, 0)),
        (SOME, FULL, (0.3, 12 / 26, 0.3, 1, 0.3, 0, 0, 0)),
        (FULL, SOME, (0.3, 12 / 26, 0.3, 0.3, 1, 0, 0, 0)),
        (FULL, FULL, (1, 1, 1, 1, 1, 1, 1, 1)),
        (SOME, SOME, (1, 1, 1, 1, 1, 1, 1, 1)),
    ],
)
def test_where_there_is_nothing_to_count(prediction, truth, expected):
    scores = score(prediction, truth)[1]

    assert [getattr(scores, name) for name in METRICS] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("truth", [EMPTY, SOME, FULL])
def test_no_prediction_is_never_right(truth):
    counts, scores = score(None, truth)

    assert scores == NOTHING
    assert set(scores.model_dump().values()) == {0.0}
    assert counts == count(EMPTY, truth)  # its target still counts in the sum of unions


def test_the_scores_of_a_swap_mirror_each_other():
    for prediction, truth in masks(200, seed=2):
        there, back = score(prediction, truth)[1], score(truth, prediction)[1]
        assert there.precision == back.recall
        for name in ("iou", "dice", "accuracy", "boundary_pixels", "boundary_diagonal"):
            assert getattr(there, name) == pytest.approx(getattr(back, name), abs=1e-15)


@pytest.mark.parametrize(
    ("prediction", "truth"),
    [
        (EMPTY, np.zeros((5, 4), bool)),
        (EMPTY.astype(np.uint8), EMPTY),
        (EMPTY, EMPTY.astype(np.uint8)),
        (None, np.zeros(20, bool)),
    ],
)
def test_what_is_no_pair_of_masks_is_refused(prediction, truth):
    with pytest.raises(errors.DatasetError):
        score(prediction, truth)
