"""Agreement of scores: against values worked out by hand, scipy, and kappa from the confusion matrix."""

import warnings

import numpy as np
import pytest
from scipy import stats

from geoseg_agent.bench.judge.agreement import agreement, quadratic_kappa, read_scores, spearman
from geoseg_agent.bench.judge.files import keep, scores_of
from geoseg_agent.errors import DatasetError


def slow_kappa(one, other, categories=5):
    """From the definition: observed and expected matrix, squared weights."""
    observed = np.zeros((categories, categories))
    for a, b in zip(one, other, strict=True):
        observed[a - 1, b - 1] += 1
    expected = np.outer(observed.sum(1), observed.sum(0)) / len(one)
    weights = np.array([[(i - j) ** 2 for j in range(categories)] for i in range(categories)])
    return 1 - (weights * observed).sum() / (weights * expected).sum()


def test_values_worked_out_by_hand():
    # Observed: (1 + 0 + 1) / 3. Expected: nine differences, 1 1 9 + 0 0 4 + 1 1 1 = 18, over 9.
    assert quadratic_kappa([1, 2, 3], [2, 2, 4]) == pytest.approx(1 - (2 / 3) / (18 / 9))
    # No ties: 1 - 6 sum d^2 / n (n^2 - 1) with d = 0, 1, 1, 0.
    assert spearman([1, 2, 3, 4], [1, 3, 2, 5]) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert spearman([1, 2, 3], [5, 4, 1]) == pytest.approx(-1)
    assert quadratic_kappa([1, 5, 1, 5], [5, 1, 5, 1]) == pytest.approx(-1)
    assert quadratic_kappa([1, 3, 5], [1, 3, 5]) == 1


def test_random_scores_equal_scipy_and_the_definition():
    rng = np.random.default_rng(5)
    for _ in range(200):
        one = rng.integers(1, 6, rng.integers(2, 40))
        other = np.clip(one + rng.integers(-2, 3, len(one)), 1, 5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            known = stats.spearmanr(one, other).statistic
        ours = spearman(one.tolist(), other.tolist())
        assert (ours is None and np.isnan(known)) or ours == pytest.approx(known, abs=1e-12)
        kappa = quadratic_kappa(one.tolist(), other.tolist())
        if kappa is None:
            assert len({*one.tolist(), *other.tolist()}) == 1
        else:
            assert kappa == pytest.approx(slow_kappa(one, other), abs=1e-12)


def test_what_is_not_defined_is_none():
    assert spearman([3, 3, 3], [1, 2, 3]) is None
    assert quadratic_kappa([3, 3], [3, 3]) is None
    assert quadratic_kappa([3, 3], [4, 4]) == 0
    thirds = [10 / 3] * 7  # means of three samples, whose variance is not quite 0
    assert np.var(thirds) > 0
    assert (spearman(thirds, thirds), quadratic_kappa(thirds, thirds)) == (None, None)


def test_only_shared_pairs_and_criteria_count(tmp_path):
    judge = {"p1": {"faithfulness": 5.0, "overlap": 2.0}, "p2": {"faithfulness": 2.0}, "p3": {"faithfulness": 1.0}}
    file = tmp_path / "people.csv"
    file.write_text(
        "pair,rater,faithfulness,localization\r\n p1,ann,5,4\r\np1 ,bob,4,\r\np2,ann,1,3\r\n,,,\r\nelse,bob,3,3\r\n",
        encoding="utf-8-sig",
        newline="",
    )
    people = read_scores(file)
    assert people["p1"] == {"faithfulness": 4.5, "localization": 4}
    found = agreement(judge, people)
    assert set(found) == {"faithfulness"}
    assert found["faithfulness"].pairs == 2
    assert found["faithfulness"].spearman == pytest.approx(1)
    assert found["faithfulness"].difference == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,faithfulness\na,3\n", "column 'pair'"),
        ("pair,beauty\na,3\n", "one or more of faithfulness"),
        ("", "it has none"),
        ("pair,overlap\na,3\nb,6\n", "line 3: '6' is no score"),
        ("pair,overlap\na,nan\n", "line 2: 'nan'"),
        ("pair,overlap\na,good\n", "line 2: 'good'"),
        ("overlap,pair\n3\n", "line 2: a score of no pair"),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused_by_line(tmp_path, text, said):
    file = tmp_path / "people.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=said):
        read_scores(file)


def test_the_file_of_a_judge_is_read_as_strictly(tmp_path):
    file = tmp_path / "judge.json"
    scores = {"p1": {"faithfulness": 4.5, "overlap": 2}, "p2": None}
    keep(file, {"mode": "paper-3"}, {"judgements": [{"pair": name, "scores": said} for name, said in scores.items()]})
    assert scores_of(file) == {"p1": {"faithfulness": 4.5, "overlap": 2}}
    for bad, said in (
        ('{"judgements": [{"pair": "p1", "scores": {"overlap": 9}}]}', "pair p1: '9' is no score"),
        ('{"judgements": [{"pair": "p1", "scores": {"overlap": true}}]}', "'True' is no score"),
        ('{"judgements": [{"pair": "p1", "scores": {"overlap": NaN}}]}', "no file of a judge"),
        ('{"judgements": [{"pair": "p1"}]}', "no file of a judge"),
        ("[" * 100_000, "no file of a judge"),
    ):
        file.write_text(bad)
        with pytest.raises(DatasetError, match=said):
            scores_of(file)
