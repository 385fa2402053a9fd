"""Bounds on a run: real fusions always pass, an ablated run passes, and each exact bound catches what breaks it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import ask, scene

from geoseg_agent.bench.ablation import ablate
from geoseg_agent.bench.consistency import check_run, check_table, means_of
from geoseg_agent.bench.pair_bounds import PAIR_BOUNDS, mask_problems
from geoseg_agent.bench.pairs import Pair
from geoseg_agent.bench.records import result_of
from geoseg_agent.bench.variations import TABLE_3, Variation
from geoseg_agent.errors import DatasetError
from geoseg_agent.runs.failure import Failure
from geoseg_agent.trace.store import load
from geoseg_tools.fusion import fuse

SIZE = (8, 9)
ROUTES = tuple(one for one in TABLE_3 if one.name != "no-refinement")
QUERIES = ("both", "points", "text", "none", "apart", "silent", "both within", "both points text none apart", "hm")


def of(name, truth, prediction, rules=()):
    pair = Pair(name, Path(f"{name}.png"), "what", None)
    missing = prediction is None
    return result_of(
        pair,
        truth,
        prediction,
        status="failed" if missing else "found",
        engine="made",
        error=Failure(code="tool", message="broken") if missing else None,
        rules=() if missing else tuple(rules),
    )


def mask(*cells):
    made = np.zeros(SIZE, dtype=np.bool_)
    made.flat[list(cells)] = True
    return made


def rows_of(truth, full, points, text, rules):
    return {
        "full": [of("one", truth, full, rules)],
        "points": [of("one", truth, points, rules)],
        "text": [of("one", truth, text, rules)],
    }


T = mask(*range(20))
BROKEN = {  # full, Route A, Route B, rules of the full method
    "full within Route A": (mask(1, 2, 30), mask(1, 2), mask(1, 2, 30), ("both",)),
    "full within Route B": (mask(1, 2, 30), mask(1, 2, 30), mask(1, 2), ("both",)),
    "full is Route A": (mask(1, 2), mask(1, 2, 3), mask(), ("points",)),
    "full is Route B": (mask(1, 2), mask(), mask(1, 2, 3), ("text",)),
    "nothing anywhere": (mask(), mask(1), mask(), ("none",)),
    "no more lost than must be": (mask(), T, T, ("both",)),
}


def test_every_exact_bound_is_examined_here():
    assert BROKEN.keys() == {bound.name for bound in PAIR_BOUNDS}


@pytest.mark.parametrize("name", BROKEN)
def test_a_pair_that_breaks_one_bound_is_caught_by_that_one_alone(name):
    *masks, rules = BROKEN[name]

    report = check_run("constructed", rows_of(T, *masks, rules))

    exact = [finding for finding in report.broken if finding.where.endswith("pairs")]
    assert [finding.bound for finding in exact] == [name]
    assert "one by" in exact[0].says


def test_what_two_targets_found_crosswise_may_be_lost_altogether():
    """Route A has the left of one and the right of the other, Route B the contrary: all is found, nothing kept."""
    rows = rows_of(T, mask(), T, T, ("both", "both"))

    assert check_run("crosswise", rows).possible
    assert not check_run("one target", rows_of(T, mask(), T, T, ("both",))).possible


def test_a_full_method_that_failed_alone_contradicts_nothing():
    rows = {**rows_of(T, mask(), T, T, ("both",)), "full": [of("one", T, None)]}

    assert check_run("failed", rows).possible


@pytest.mark.parametrize("seed", range(8))
def test_real_fusions_are_always_possible(seed):
    rng = np.random.default_rng(seed)
    rows = {"full": [], "points": [], "text": []}
    for number in range(40):
        truth = rng.random(SIZE) < rng.choice([0, 0.1, 0.5, 1], p=[0.1, 0.4, 0.4, 0.1])
        made = {row: np.zeros(SIZE, dtype=np.bool_) for row in rows}
        rules = []
        for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
            a, b = (rng.random(SIZE) < rng.choice([0, 0.1, 0.6]) for _ in range(2))
            nothing, started = np.zeros(SIZE, dtype=np.bool_), bool(rng.random() < 0.8)
            full = fuse(a, b, has_keypoints=started, gamma=0.05)
            rules.append(full.rule)
            made["full"] |= full.mask
            made["points"] |= fuse(a, nothing, has_keypoints=started, gamma=0.05).mask
            made["text"] |= fuse(nothing, b, has_keypoints=False, gamma=0.05).mask
        failed = {row: rng.random() < 0.05 for row in rows}
        for row, results in rows.items():
            results.append(of(f"pair-{number}", truth, None if failed[row] else made[row], rules))

    report = check_run("fused", rows)

    assert report.possible, [(one.bound, one.says) for one in report.broken]
    assert len([finding for finding in report.findings if finding.where.endswith("pairs")]) == len(PAIR_BOUNDS)
    single = [i for i, one in enumerate(rows["full"]) if len(one.rules) == 1 and 0 < one.truth_area < 72]
    kept = [i for i in single if all(results[i].answered for results in rows.values())]
    means = {row: means_of([results[i] for i in kept]) for row, results in rows.items()}
    printed = {row: {name: round(value, 3) for name, value in figures.items()} for row, figures in means.items()}
    assert check_table("printed", printed).possible
    assert check_table("exact", means, half_unit=0.0).possible


async def test_an_ablated_run_is_possible_pair_by_pair_and_mask_by_mask(tmp_path):
    rng = np.random.default_rng(0)
    rows = {one.name: [] for one in ROUTES}
    for query in (*QUERIES, "broken"):
        before = set(tmp_path.glob("*.json"))
        await ask(tmp_path, query)
        (path,) = set(tmp_path.glob("*.json")) - before
        outcomes = await ablate(load(path), ROUTES)
        truth = rng.random(scene().size) < 0.3
        for outcome in outcomes:
            answer = outcome.answer
            rules = () if answer is None else tuple(target.rule for target in answer.targets)
            mask_now = None if answer is None else answer.mask
            rows[outcome.variation.name].append(of(query.replace(" ", "-"), truth, mask_now, rules))
        full, text, points = (outcome.answer for outcome in outcomes)
        if full is not None:
            assert mask_problems(full, points, text) == ()

    report = check_run("fakes", rows)

    assert report.possible, [(one.bound, one.says) for one in report.broken]


async def test_masks_that_contradict_the_rule_are_named(tmp_path):
    before = await ask(tmp_path, "both of them")
    full, text, points = (o.answer for o in await ablate(load(before.trace_path), ROUTES))
    (target,) = full.targets

    def changed(**values):
        return replace(full, targets=(replace(target, **values),))

    flipped = ~target.mask
    assert "target 1: the mask is not what" in mask_problems(changed(mask=flipped), points, text)[0]
    areas = mask_problems(changed(areas=target.areas._replace(points=1, text=2, mask=3)), points, text)
    assert [problem.split(":")[1].split(" is")[0] for problem in areas] == [
        " the area of points",
        " the area of text",
        " the area of the full mask",
    ]
    assert 'under "text" the routes alone fall under "none" and "text"' in " ".join(
        mask_problems(changed(rule="text"), points, text)
    )
    assert "the regions are" in mask_problems(changed(roi=target.box), points, text)[0]
    assert mask_problems(replace(full, targets=()), points, text) == ("the rows have 0, 1 and 1 targets",)


def test_rows_of_other_pairs_are_refused():
    rows = rows_of(T, mask(1), mask(1), mask(1), ("both",))
    rows["text"] = [of("two", T, mask(1), ("text",))]
    with pytest.raises(DatasetError, match="'full' and 'text' are not of the same pairs"):
        check_run("x", rows)


def test_rows_may_be_missing_and_others_are_left_alone():
    rows = rows_of(T, mask(1), mask(1), mask(1), ("both",))
    assert check_run("x", {"full": rows["full"]}).possible
    assert check_run("x", {"text": rows["text"], Variation("k=3").name: rows["full"]}).possible
