"""Bounds on a table: the paper's passes, what comes from masks passes, and each bound catches what breaks it."""

import math

import numpy as np
import pytest

from geoseg_agent.bench.consistency import check_table
from geoseg_agent.bench.finding import span
from geoseg_agent.bench.metrics import score
from geoseg_agent.bench.published import COLUMNS, PAPER_TABLE_3, ROW_NAMES
from geoseg_agent.bench.row_bounds import ROW_BOUNDS
from geoseg_agent.bench.rule_bounds import RULE_BOUNDS, Exempt
from geoseg_agent.bench.shares import NAME, RULES
from geoseg_agent.errors import DatasetError

BROKEN_ROWS = {
    **{f"{head} >= 0": {figure: -0.1} for figure, head in COLUMNS.items()},
    **{f"{head} <= 1": {figure: 1.1} for figure, head in COLUMNS.items()},
    "IoU <= Dice": {"iou": 0.6, "dice": 0.5},
    "Dice <= 2 IoU / (1 + IoU)": {"iou": 0.5, "dice": 0.7},
    "IoU <= Prec": {"iou": 0.5, "precision": 0.4},
    "IoU <= Rec": {"iou": 0.5, "recall": 0.4},
    "Dice <= (Prec + Rec) / 2": {"dice": 0.65, "precision": 0.6, "recall": 0.6},
    "IoU >= Prec + Rec - 1": {"iou": 0.7, "precision": 0.9, "recall": 0.9},
    "Acc >= IoU": {"accuracy": 0.5, "iou": 0.6},
    "Acc >= Rec + Spec - 1": {"accuracy": 0.8, "recall": 0.9, "specificity": 0.95},
    "Acc <= Rec + Spec": {"accuracy": 0.8, "recall": 0.3, "specificity": 0.4},
}
BROKEN_COVERAGE = {  # full, Route A, Route B; shares of both, points, text, none
    "full over Route A": ((0.9, 0.5, None), (1.0, 0.0, 0.0, 0.0)),
    "full over Route B": ((0.9, None, 0.5), (1.0, 0.0, 0.0, 0.0)),
    "lost by intersecting": ((0.3, 0.6, 0.6), (0.5, 0.25, 0.25, 0.0)),
    "Route A covers anything": ((0.8, 0.8, None), (0.1, 0.0, 0.9, 0.0)),
    "Route B covers anything": ((0.8, None, 0.8), (0.1, 0.9, 0.0, 0.0)),
    "full within the routes together": ((0.5, 0.1, 0.2), (0.2, 0.35, 0.45, 0.0)),
}


def between(figure, values, turned=False):
    pairs = zip(("full", "points", "text"), values, strict=True)
    return {row: {figure: 1 - value if turned else value} for row, value in pairs if value is not None}


BROKEN_RULES = {
    **{f"recall: {name}": (between("recall", values), shares) for name, (values, shares) in BROKEN_COVERAGE.items()},
    **{
        f"false positives: {name}": (between("specificity", values, turned=True), shares)
        for name, (values, shares) in BROKEN_COVERAGE.items()
    },
    "errors: full within the routes together": (between("accuracy", (0.5, 0.9, 0.9)), (1.0, 0.0, 0.0, 0.0)),
}


def broken(report):
    return {finding.bound for finding in report.broken}


def test_every_bound_is_examined_here():
    assert BROKEN_ROWS.keys() == {bound.name for bound in ROW_BOUNDS}
    assert BROKEN_RULES.keys() == {bound.name for bound in RULE_BOUNDS}


@pytest.mark.parametrize("name", BROKEN_ROWS)
def test_a_row_that_breaks_one_bound_is_caught_by_that_one_alone(name):
    report = check_table("constructed", {"full": BROKEN_ROWS[name]})

    assert broken(report) == {name}
    assert not report.possible
    assert f"impossible | full | {name}" in report.markdown()


@pytest.mark.parametrize("name", BROKEN_RULES)
def test_rows_that_break_one_bound_are_caught_by_that_one_alone(name):
    rows, shares = BROKEN_RULES[name]
    known = dict(zip(RULES, shares, strict=True))

    assert broken(check_table("constructed", rows, shares=known)) == {name}
    exempt = Exempt(loose=0.95)
    assert check_table("constructed", rows, shares=known, exempt=exempt).possible


def test_a_table_that_no_shares_fit_is_caught_though_every_single_bound_holds():
    rows = {"full": {"specificity": 0.4}, "text": {"specificity": 0.9, "recall": 0.8}}

    report = check_table("constructed", rows)

    assert broken(report) == {NAME}
    rows["text"]["recall"] = 0.4
    assert check_table("constructed", rows).possible


def test_the_papers_table_is_possible_and_forces_rules():
    report = check_table(PAPER_TABLE_3.name, PAPER_TABLE_3.rows, half_unit=PAPER_TABLE_3.half_unit)

    assert report.possible
    assert {finding.verdict for finding in report.findings} == {"holds"}
    implied = {finding.bound: finding.implied for finding in report.findings if finding.implied}
    assert implied["recall: full over Route A"] == (
        'rule "text" on at least 16.8 % of pairs (16.7 % whatever was rounded away)'
    )
    assert implied["recall: lost by intersecting"].startswith('rule "both" on at least 54.7 % of pairs')
    assert "recall: full over Route B" not in implied  # Route B alone recalls more
    assert implied[NAME].startswith('of all pairs "both" 54.5 % to 83.3 %, "points" 0.0 % to 28.6 %, "text" 16.7 %')
    assert any("would have a Dice of 72.1 %" in (finding.implied or "") for finding in report.findings)


def test_the_papers_table_with_too_weak_routes_is_not():
    rows = {**PAPER_TABLE_3.rows, "points": dict(PAPER_TABLE_3.rows["points"], recall=0.1, specificity=0.1)}
    rows["text"] = dict(PAPER_TABLE_3.rows["text"], recall=0.2)
    assert "recall: full within the routes together" in broken(check_table("changed", rows))


def test_the_papers_figures_are_those_it_prints():
    assert [row["recall"] for row in PAPER_TABLE_3.rows.values()] == [0.657, 0.643, 0.715, 0.489]
    assert list(PAPER_TABLE_3.rows) == list(ROW_NAMES)
    assert all(list(row) == list(COLUMNS) for row in PAPER_TABLE_3.rows.values())


def test_what_rounding_can_explain_is_no_contradiction():
    row = {"iou": 0.5, "dice": 0.4995}

    (finding,) = [one for one in check_table("x", {"full": row}).findings if one.bound == "IoU <= Dice"]

    assert finding.verdict == "holds within rounding"
    assert finding.margin == pytest.approx(-0.0005)
    assert not check_table("x", {"full": row}, half_unit=0.0).possible
    assert not check_table("x", {"full": {"iou": 0.5, "dice": 0.4985}}).possible


def test_a_span_is_that_of_all_that_prints_the_same():
    low, value, high = span(lambda a, b: a - 2 * b, (0.5, 0.1), 0.05)
    assert (low, value, high) == pytest.approx((0.15, 0.3, 0.45))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"full": {"iou": math.nan}}, "iou is nan"),
        ({"full": {"kappa": 0.5}}, "figure 'kappa' is unknown"),
        ({"half": {"iou": 0.5}}, "row 'half'"),
    ],
)
def test_what_is_no_table_is_refused(rows, words):
    with pytest.raises(DatasetError, match=words):
        check_table("x", rows)


@pytest.mark.parametrize("seed", range(6))
def test_means_of_real_masks_are_always_possible_before_and_after_rounding(seed):
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(60):
        truth, prediction = (rng.random((6, 7)) < rng.choice([0, 0.02, 0.3, 0.8, 1]) for _ in range(2))
        if rng.random() < 0.2:
            prediction = truth.copy()
        rows.append(score(None if rng.random() < 0.1 else prediction, truth)[1])
    for taken in (rows, rows[:1], rows[:3], [rows[0]] * 4):
        means = {
            figure: float(
                np.mean([getattr(one, "boundary_pixels" if figure == "boundary" else figure) for one in taken])
            )
            for figure in COLUMNS
        }
        assert check_table("exact", {"full": means}, half_unit=0.0).possible
        assert check_table("printed", {"full": {name: round(value, 3) for name, value in means.items()}}).possible
