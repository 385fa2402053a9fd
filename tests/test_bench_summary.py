"""A run in figures: nothing is dropped, strata and costs add up, the order of results does not matter."""

import json
from pathlib import Path
from statistics import fmean, median

import numpy as np
import pytest

from geoseg_agent.bench.metrics import METRICS
from geoseg_agent.bench.pairs import Pair
from geoseg_agent.bench.records import Took, result_of
from geoseg_agent.bench.summary import Summary, summarise
from geoseg_agent.errors import DatasetError
from geoseg_agent.runs.failure import Failure

SIDE = 20


def strip(area):
    mask = np.zeros(SIDE * SIDE, bool)
    mask[:area] = True
    return mask.reshape(SIDE, SIDE)


def made(number, truth=100, prediction=50, *, image=None, level=None, domain=None, source=None, **known):
    """A result whose masks are strips, so that IoU is the smaller area over the larger; None fails."""
    pair = Pair(
        id=f"p{number:03d}",
        image=Path(image or f"{number}.png"),
        query="q",
        truth=None,
        level=level,
        domain=domain,
        source=source,
    )
    if prediction is None:
        known = {"status": "failed", "error": Failure(code="endpoint", message="gone"), **known}
    known = {"status": "found", "engine": "test", **known}
    return result_of(pair, strip(truth), None if prediction is None else strip(prediction), **known)


def test_the_papers_dice_can_only_be_a_mean_over_pairs():
    pooled = 2 * 0.564 / 1.564
    assert pooled == pytest.approx(0.721, abs=1e-3)
    assert pytest.approx(67.3, abs=0.05) == 2 * 69.0 * 65.7 / (69.0 + 65.7)
    assert pytest.approx(0.507, abs=1e-3) == 67.3 / (200 - 67.3)

    overall = summarise([made(0, 100, 100), made(1, 100, 10)]).overall
    iou, dice = overall.metrics["iou"].value, overall.metrics["dice"].value
    assert (iou, dice) == pytest.approx((0.55, (1 + 20 / 110) / 2))
    assert dice < 2 * iou / (1 + iou)


def test_a_failed_pair_stays_in_every_denominator():
    answered = [made(n, image=f"{n % 3}.png", level="1", source="s", confidence=0.5 + n / 20) for n in range(6)]
    failed = [made(6 + n, prediction=None, image=f"{n % 3}.png", level="1", source="s") for n in range(6)]
    without, with_failed = summarise(answered), summarise(answered + failed)

    for part in (with_failed.overall, with_failed.strata["level"]["1"], with_failed.strata["source"]["s"]):
        assert (part.n, part.outcomes.failed, part.outcomes.found) == (12, 6, 6)
        for name in METRICS:
            assert part.metrics[name].value == pytest.approx(without.overall.metrics[name].value / 2), name
    assert with_failed.over_sources["iou"] == pytest.approx(without.over_sources["iou"] / 2)
    assert with_failed.overall.giou.value == pytest.approx(without.overall.giou.value / 2)
    assert with_failed.overall.cumulative_iou.value == pytest.approx(6 * 50 / 1200)
    assert with_failed.risk.n == 12
    assert with_failed.risk.curve[-1].risk == pytest.approx(1 - with_failed.overall.metrics["iou"].value)
    assert sum(with_failed.rules.pairs.values()) == 12
    assert with_failed.errors == {"endpoint": 6}


def test_a_query_that_was_declined_comes_last_however_sure_the_system_was():
    answered = [made(0, 100, 100, confidence=0.2), made(1, 100, 50, confidence=0.1)]
    declined = made(2, prediction=None, status="ambiguous", error=None, confidence=0.9)
    risk = summarise([*answered, declined]).risk
    assert (risk.n, risk.confident) == (3, 2)
    assert [point.risk for point in risk.curve] == pytest.approx([0, 0.25, 0.5])


def test_every_stratum_is_a_partition():
    random = np.random.default_rng(0)
    results = [
        made(
            n,
            int(random.integers(0, 300)),
            None if n % 7 == 0 else int(random.integers(1, 300)),
            image=f"{n % 9}.png",
            level=[None, "1", "2"][n % 3],
            domain=["urban", None][n % 2],
            source=f"s{n % 4}",
        )
        for n in range(60)
    ]
    summary = summarise(results)

    for parts in summary.strata.values():
        assert sum(part.n for part in parts.values()) == 60
        for name in METRICS:
            total = sum(part.n * part.metrics[name].value for part in parts.values())
            assert total / 60 == pytest.approx(summary.overall.metrics[name].value)
        for part in (*parts.values(), summary.overall):
            assert sum(part.outcomes.model_dump().values()) == part.n
            for name in METRICS:
                estimate = part.metrics[name]
                assert estimate.low <= estimate.value <= estimate.high
    assert set(summary.strata["level"]) == {"unstated", "1", "2"}
    means = [part.metrics["iou"].value for part in summary.strata["source"].values()]
    assert summary.over_sources["iou"] == pytest.approx(fmean(means))


def test_classes_of_size_by_share_of_the_image():
    areas = {"empty": 0, "small": 1, "medium": 39, "large": 40}  # of 400 pixels: 0, 0.25, 9.75 and 10 per cent
    summary = summarise([made(n, area, 400) for n, area in enumerate(areas.values())])

    assert list(summary.strata["size"]) == list(areas)
    tiny = result_of(
        Pair(id="t", image=Path("t"), query="q", truth=None), np.eye(64, dtype=bool) & (np.arange(64) < 4), None,
        status="ambiguous", engine="test",
    )  # fmt: skip
    assert list(summarise([tiny]).strata["size"]) == ["tiny"]


def test_an_empty_target_is_right_only_when_answered():
    pairs = [made(0, 0, 0, status="not_found"), made(1, 0, None), made(2, 0, 10)]
    overall = summarise(pairs).overall

    assert overall.metrics["iou"].value == overall.giou.value == pytest.approx(1 / 3)
    assert overall.cumulative_iou.value == 0
    assert summarise(pairs[:2]).overall.cumulative_iou is None
    assert summarise(pairs[:2]).overall.giou.value == 0.5


def test_outcomes_tell_refusals_from_failures():
    outcomes = summarise(
        [
            made(0),
            made(1, prediction=0, status="not_found"),
            made(2, status="ambiguous"),
            made(3, prediction=None, status="ambiguous", error=None),
            made(4, prediction=None),
            made(5, prediction=0),
        ]
    ).overall.outcomes

    assert outcomes.model_dump() == {"found": 2, "not_found": 1, "ambiguous": 1, "abstained": 1, "failed": 1}


@pytest.mark.parametrize(
    ("predictions", "empty"), [([0, 0, None], True), ([0, 1, None], False), ([None, None, None], True)]
)
def test_a_run_of_empty_masks_is_flagged(predictions, empty):
    summary = summarise([made(n, prediction=area) for n, area in enumerate(predictions)])

    assert summary.all_empty is empty
    assert summary.unranked == (("accuracy", "specificity") if empty else ())


def test_seconds_calls_and_tokens():
    results = [
        made(0, image="a", seconds=Took(total=1, stages={"grounding": 0.5, "text": 0.25}), calls=1, tokens=100),
        made(1, image="a", seconds=Took(total=3, stages={"grounding": 2.5}), calls=2, tokens=300),
        made(2, prediction=None, image="b", seconds=Took(total=8), calls=3, tokens=200),
        made(3, image="c"),
    ]
    costs = summarise(results).costs

    assert costs.seconds.per_pair.model_dump() == pytest.approx(
        {"n": 3, "mean": 4, "median": 3, "p95": np.quantile([1, 3, 8], 0.95), "total": 12}
    )
    assert costs.seconds.per_image.median == median([4, 8])
    assert costs.stages["grounding"].n == 2
    assert costs.stages["grounding"].mean == 1.5
    assert costs.stages["text"].total == 0.25
    assert (costs.calls.per_pair.mean, costs.calls.per_image.mean) == (2, 3)
    assert (costs.tokens.per_pair.total, costs.tokens.per_image.mean) == (600, 300)
    assert summarise([results[3]]).costs.model_dump() == {
        "seconds": None, "stages": {}, "calls": None, "tokens": None,
    }  # fmt: skip


def test_rules_over_targets_and_over_pairs():
    kinds = [("both", "both"), ("both", "text"), ("points",), ("none",), ()]
    rules = summarise([made(n, rules=kind) for n, kind in enumerate(kinds)]).rules

    assert rules.targets == {"both": 3, "points": 1, "text": 1, "none": 1}
    assert rules.pairs == {"both": 1, "points": 1, "text": 0, "none": 1, "mixed": 1, "without": 1}


def test_the_order_of_the_results_does_not_matter():
    random = np.random.default_rng(1)
    results = [
        made(n, int(random.integers(0, 400)), int(random.integers(0, 400)), image=f"{n % 7}", confidence=(n % 5) / 5)
        for n in range(40)
    ]
    shuffled = [results[at] for at in random.permutation(40)]

    assert summarise(results).model_dump_json() == summarise(shuffled).model_dump_json()
    assert summarise(iter(results)) == summarise(results)


def test_a_summary_is_json_and_reads_back():
    summary = summarise([made(n, confidence=n / 10, source="s") for n in range(5)])
    text = summary.model_dump_json()

    assert Summary.model_validate_json(text) == summary
    assert json.loads(text)["protocol"]["boundary_diagonal"] == 0.0075


def test_no_results_and_pairs_twice_are_refused():
    with pytest.raises(DatasetError, match="no results"):
        summarise([])
    with pytest.raises(DatasetError, match="p001"):
        summarise([made(0), made(1), made(1)])
