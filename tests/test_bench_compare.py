"""Runs against each other: paired, on common pairs only, and ranked."""

import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

from geoseg_agent.bench.compare import Comparison, compare
from geoseg_agent.bench.compare_table import markdown
from geoseg_agent.bench.metrics import METRICS
from geoseg_agent.bench.pairs import Pair
from geoseg_agent.bench.records import result_of
from geoseg_agent.errors import DatasetError
from geoseg_agent.runs.failure import Failure

SIDE = 20


def run(areas, *, truth=100, per_image=1, start=0, query="q"):
    """Results whose predictions are strips of `areas`; None fails."""
    results = []
    for number, area in zip(count(start), areas, strict=False):
        pixels = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
        pair = Pair(id=f"p{number:03d}", image=Path(f"{number // per_image}.png"), query=query, truth=None)
        error = Failure(code="endpoint", message="gone") if area is None else None
        results.append(
            result_of(
                pair,
                pixels < truth,
                None if area is None else pixels < area,
                status="failed" if area is None else "found",
                engine="test",
                error=error,
            )
        )
    return results


def test_differences_are_paired():
    found = compare({"a": run([90, 50, 10, 70]), "b": run([80, 40, 20, 70])})
    (versus,) = found.versus
    iou = versus.metrics["iou"]

    assert (versus.first, versus.second, found.pairs, found.images) == ("a", "b", 4, 4)
    assert iou.mean.value == pytest.approx((0.1 + 0.1 - 0.1) / 4)
    assert (iou.better, iou.worse, iou.equal) == (2, 1, 1)
    assert not iou.clear


def test_a_small_steady_gain_is_clear_where_means_apart_would_not_show_it():
    random = np.random.default_rng(0)
    hard = random.integers(5, 90, 60)
    found = compare({"a": run((hard + 3).tolist()), "b": run(hard.tolist())}).versus[0].metrics["iou"]

    assert found.mean.value == pytest.approx(0.03)
    assert (found.mean.low, found.mean.high) == pytest.approx((0.03, 0.03))
    assert found.clear


def test_intervals_are_by_image():
    random = np.random.default_rng(1)
    gains = np.repeat(random.normal(4, 10, 12), 20).astype(int)  # twelve images of twenty equal pairs
    ours, theirs = (50 + gains).tolist(), [50] * 240
    by_image = compare({"a": run(ours, per_image=20), "b": run(theirs, per_image=20)}).versus[0].metrics["iou"].mean
    by_pair = compare({"a": run(ours), "b": run(theirs)}).versus[0].metrics["iou"].mean

    assert by_image.value == by_pair.value
    assert by_image.high - by_image.low > 3 * (by_pair.high - by_pair.low)


def test_failed_pairs_count_on_their_side():
    found = compare({"a": run([100, 100]), "b": run([100, None])})
    standing = {one.name: one for one in found.runs}

    assert standing["b"].failed == 1
    assert standing["b"].metrics["iou"].mean == 0.5
    assert found.versus[0].metrics["accuracy"].mean.value == 0.5


def test_ranks_with_ties_by_hand():
    found = compare({"a": run([50, 50, 90]), "b": run([50, 60, 20]), "c": run([50, 10, 10])})
    ranks = {one.name: one.metrics["iou"] for one in found.runs}

    assert {name: one.rank for name, one in ranks.items()} == {"a": 1, "b": 2, "c": 3}
    wanted = np.mean([rankdata([-50, -50, -50]), rankdata([-50, -60, -10]), rankdata([-90, -20, -10])], axis=0)
    assert [ranks[name].mean_rank for name in "abc"] == pytest.approx(wanted)
    assert [one.name for one in found.runs] == ["a", "b", "c"]
    a = found.runs[0]
    assert a.overall == pytest.approx(np.mean([a.metrics[name].mean_rank for name in METRICS]))


def test_runs_with_the_same_scores_on_other_pairs_tie():
    found = compare({"a": run([10, 20, 30]), "b": run([30, 20, 10])})
    assert 0.1 + 0.2 + 0.3 != 0.3 + 0.2 + 0.1
    assert [one.metrics[name].rank for one in found.runs for name in METRICS] == [1.5] * 2 * len(METRICS)


def test_a_run_of_empty_masks_leaves_accuracy_and_specificity():
    # On small targets a run that never answers would win both: everything but the target is background.
    runs = {"empty": run([0, 0, 0]), "a": run([140, 160, 30]), "b": run([300, 10, 10])}
    found = {one.name: one for one in compare(runs).runs}

    assert found["empty"].all_empty
    for name in METRICS:
        unranked = name in {"accuracy", "specificity"}
        assert (found["empty"].metrics[name].rank is None) == unranked
        assert (found["empty"].metrics[name].mean_rank is None) == unranked
        wanted = {1, 2} if unranked else {1, 2, 3}
        ranks = [one.metrics[name].rank for one in found.values() if one.metrics[name].rank is not None]
        assert sum(ranks) == sum(wanted)
    assert found["empty"].metrics["specificity"].mean == 1


def test_runs_with_other_pairs_are_refused_unless_told():
    runs = {"a": run([50, 60, 70]), "b": run([50, 60, 70, 80], start=1)}
    with pytest.raises(DatasetError, match="of 5 in all, a lacks 2, b lacks 1; 2 are common"):
        compare(runs)

    found = compare(runs, common_only=True)
    assert found.pairs == 2
    assert {one.name: (one.n, one.left_out) for one in found.runs} == {"a": (3, 1), "b": (4, 2)}
    assert found.versus[0].metrics["iou"].mean.value == pytest.approx(0.1)


@pytest.mark.parametrize(("other", "field"), [({"truth": 101}, "truth_area"), ({"query": "other"}, "query")])
@pytest.mark.parametrize("common_only", [True, False])
def test_runs_over_other_data_are_always_refused(other, field, common_only):
    with pytest.raises(DatasetError, match=f"pair p000 has {field}"):
        compare({"a": run([50]), "b": run([50], **other)}, common_only=common_only)


def test_nothing_to_compare():
    with pytest.raises(DatasetError, match="two runs"):
        compare({"a": run([50])})
    with pytest.raises(DatasetError, match="no results"):
        compare({"a": run([50]), "b": []})
    with pytest.raises(DatasetError, match="no pair in common"):
        compare({"a": run([50]), "b": run([50], start=5)}, common_only=True)
    with pytest.raises(DatasetError, match="more than once"):
        compare({"a": run([50]) * 2, "b": run([50])})


def test_every_two_runs_are_compared_once():
    found = compare({name: run([50, 60 + at]) for at, name in enumerate("abcd")})

    assert [(one.first, one.second) for one in found.versus] == [
        ("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d"),
    ]  # fmt: skip


def test_it_repeats_and_is_json():
    runs = {"a": run([50, 60, 70]), "b": run([55, 50, 70])}
    found = compare(runs)

    assert compare({name: iter(reversed(results)) for name, results in runs.items()}) == found
    assert Comparison.model_validate_json(found.model_dump_json()) == found
    assert json.loads(found.model_dump_json())["runs"][0]["metrics"]["iou"]["rank"] in {1, 1.5, 2}


def test_the_table():
    text = markdown(compare({"ours | new": run([90, None, 50]), "empty": run([0, 0, 0])}))
    lines = text.splitlines()

    assert lines[0] == "3 pairs of 3 images are common to all runs."
    rows = [line for line in lines if line.startswith("|")]
    cells = {line.replace("\\|", "").count("|") for line in rows}
    assert cells == {len(METRICS) + 4, 7}
    assert rows[2].startswith(r"| ours \| new | 1 | 46.7 (1.")
    assert rows[3].startswith("| empty * | 0 | 0.0 (")
    assert "75.0 (-)" in rows[3]
    assert any(line.startswith(r"ours \| new minus empty, in points") for line in lines)
    assert next(row for row in rows if row.startswith("| IoU | ")).startswith(
        "| IoU | +46.7 | +0.0 .. +90.0 | 2 | 0 | 1 |"
    )
