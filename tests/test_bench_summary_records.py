"""results.jsonl: what is written is read back, a torn last line is told, anything else malformed is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from geoseg_agent.bench.pairs import Pair
from geoseg_agent.bench.records import PairResult, Took, dump, load_results, result_of
from geoseg_agent.errors import DatasetError
from geoseg_agent.runs.failure import Failure
from geoseg_agent.runs.lines import Torn


def made(name="p0", prediction=True, **known):
    truth = np.zeros((6, 8), bool)
    truth[1:4, 2:6] = True
    pair = Pair(id=name, image=Path("images/a.png"), query='the "lake"\nby the wood \u2028 ü', truth=None, level="2")
    known = {"status": "found", "engine": "test", "confidence": 1 / 3, "rules": ("both", "text"), **known}
    return result_of(pair, truth, np.roll(truth, 1, axis=1) if prediction else None, **known)


RESULTS = [
    made(seconds=Took(total=0.1 + 0.2, stages={"grounding": 1e-9}), trace="t1", calls=3, tokens=1234),
    made("p1", prediction=False, status="failed", error=Failure(code="deadline", message="took {long}\n")),
    made("p2", prediction=False, status="ambiguous", confidence=None, rules=()),
]


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text("".join(map(dump, RESULTS)), encoding="utf-8")
    return path


def test_a_round_trip(written):
    assert list(load_results(written)) == RESULTS
    assert [dump(result) for result in load_results(written)] == written.read_text("utf-8").splitlines(keepends=True)
    assert written.read_bytes().count(b"\n") == len(RESULTS)


@pytest.mark.parametrize("lost", [1, 2, 30, 200])
def test_a_torn_last_line_is_told_and_left_out(written, lost):
    whole = written.read_bytes()
    written.write_bytes(whole[:-lost])
    torn = []
    loaded = list(load_results(written, torn=torn.append))

    if lost == 1:  # only the end of the line is missing: the record is whole
        assert (loaded, torn) == (RESULTS, [])
    else:
        offset = whole.rindex(b"\n", 0, -1) + 1
        assert (loaded, torn) == (RESULTS[:2], [Torn(3, offset)])
        assert list(load_results(written)) == RESULTS[:2]


def test_a_line_torn_inside_a_character_is_torn(written):
    whole = written.read_bytes()
    written.write_bytes(whole[: whole.rindex("ü".encode()) + 1])
    torn = []

    assert list(load_results(written, torn=torn.append)) == RESULTS[:2]
    assert [one.line for one in torn] == [3]


def test_an_empty_file_holds_nothing(tmp_path):
    (tmp_path / "none.jsonl").touch()
    assert list(load_results(tmp_path / "none.jsonl")) == []


def test_results_come_one_at_a_time(written):
    written.write_bytes(written.read_bytes() + b"{broken}\n")
    results = load_results(written)

    assert [next(results) for _ in RESULTS] == RESULTS
    with pytest.raises(DatasetError, match="line 4"):
        next(results)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("id", "", "id"),
        ("status", "perhaps", "status"),
        ("status", "failed", "does not go with error"),
        ("status", "not_found", "prediction_area"),
        ("confidence", 1.5, "confidence"),
        ("confidence", "0.5", "confidence"),
        ("rules", ["maybe"], "rules"),
        ("size", [6, 9], "counts sum to"),
        ("truth_area", 11, "counts do not agree"),
        ("prediction_area", None, "does not go with"),
        ("scores", {**RESULTS[0].scores.model_dump(), "iou": 0.9}, "scores.iou"),
        ("scores", {**RESULTS[0].scores.model_dump(), "boundary_pixels": 2}, "boundary_pixels"),
        ("counts", {"tp": -1, "fp": 0, "fn": 0, "tn": 49}, "tp"),
        ("calls", 1.5, "calls"),
        ("seconds", {"total": -1, "stages": {}}, "seconds.total"),
        ("unknown", 1, "unknown"),
    ],
)
def test_a_malformed_line_is_refused_by_name(written, field, value, said):
    line = {**json.loads(dump(RESULTS[0])), field: value}
    written.write_text(dump(RESULTS[1]) + json.dumps(line) + "\n" + dump(RESULTS[2]))

    with pytest.raises(DatasetError) as caught:
        list(load_results(written))
    assert "results.jsonl, line 2" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "change", [("}", ', "id": "p9"}'), ('"confidence":0.3', '"confidence":NaN,"x":0.3'), (None, "\n")]
)
def test_json_that_is_not_quite_json_is_refused(written, change):
    line = dump(RESULTS[1])
    bad = change[1] if change[0] is None else line[: line.rindex(change[0])] + change[1] + "\n"
    written.write_text(dump(RESULTS[0]) + bad + dump(RESULTS[2]))

    with pytest.raises(DatasetError, match="line 2"):
        list(load_results(written))


def test_a_missing_field_is_named(written):
    line = json.loads(dump(RESULTS[0]))
    del line["counts"], line["query"]
    written.write_text(json.dumps(line) + "\n")

    with pytest.raises(DatasetError, match="query: Field required; counts: Field required"):
        list(load_results(written))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        list(load_results(tmp_path / "none.jsonl"))


def test_what_contradicts_itself_cannot_be_made():
    with pytest.raises(DatasetError, match="pair p0 contradicts itself"):
        made(prediction=False)
    with pytest.raises(DatasetError, match="status not_found"):
        made(status="not_found")
    with pytest.raises(DatasetError, match="confidence"):
        made(confidence=float("nan"))


def test_the_fields_of_a_line():
    line = json.loads(dump(RESULTS[0]))

    assert list(line) == list(PairResult.model_fields)
    assert line["size"] == [6, 8]
    assert line["counts"] == {"tp": 9, "fp": 3, "fn": 3, "tn": 33}
    assert line["scores"]["iou"] == 0.6
    assert line["image"] == "images/a.png"
