"""The function a model must call, and the strict check of what it says."""

import json

import pytest
from grounding_terms import sent_as, terms_for

from geoseg_agent.grounding.reply.contract import check, segment_targets_tool
from geoseg_agent.grounding.reply.rejected import RejectedReply, Violation

TARGET = {"bbox_2d": [1, 2, 30.5, 40], "label": "tank"}
ALLOWED = {
    "type",
    "properties",
    "required",
    "additionalProperties",
    "enum",
    "items",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
    "maxLength",
}


def broken(data, at=""):
    with pytest.raises(RejectedReply) as caught:
        check(data, at)
    return caught.value.violations


def schemas_in(schema):
    yield schema
    for part in schema.get("properties", {}).values():
        yield from schemas_in(part)
    if "items" in schema:
        yield from schemas_in(schema["items"])


@pytest.mark.parametrize("frame", ["norm1000", "norm1000-yxyx", "unit", "pixels"])
def test_coordinates_have_no_bounds_that_a_decoder_could_cut_digits_by(frame):
    tool = segment_targets_tool(terms_for("norm1000", asked=frame), sent_as((768, 1344)))
    assert tool.schema["properties"]["targets"]["items"]["properties"]["bbox_2d"] == {
        "type": "array",
        "items": {"type": "number"},
        "minItems": 4,
        "maxItems": 4,
    }


def test_the_schema_keeps_to_keywords_that_every_decoder_takes_and_closes_every_object():
    tool = segment_targets_tool(terms_for(), sent_as())
    for schema in schemas_in(tool.schema):
        assert set(schema) <= ALLOWED
        if schema["type"] == "object":
            assert schema["additionalProperties"] is False
            assert schema["required"] == list(schema["properties"])
    assert json.loads(json.dumps(tool.schema)) == tool.schema


def test_the_schema_says_box_before_label_and_status_before_targets_and_allows_no_target():
    tool = segment_targets_tool(terms_for(max_targets=3), sent_as())
    assert tool.name == "segment_targets"
    assert list(tool.schema["properties"]) == ["status", "targets", "reasoning"]
    targets = tool.schema["properties"]["targets"]
    assert (targets["minItems"], targets["maxItems"]) == (0, 3)
    assert list(targets["items"]["properties"]) == ["bbox_2d", "label"]


def test_the_description_says_order_and_unit():
    assert "y1, x1, y2, x2" in segment_targets_tool(terms_for("norm1000-yxyx"), sent_as()).description
    assert "1344 x 768" in segment_targets_tool(terms_for("pixels"), sent_as((768, 1344))).description


@pytest.mark.parametrize("status", ["found", "ambiguous"])
def test_a_whole_answer_passes(status):
    answer = check({"status": status, "targets": [TARGET], "reasoning": "seen"})
    assert answer.targets[0].bbox_2d == [1, 2, 30.5, 40]


@pytest.mark.parametrize("status", ["not_found", "ambiguous"])
def test_an_answer_without_targets_or_reasoning_passes(status):
    assert check({"status": status, "targets": []}).reasoning == ""


@pytest.mark.parametrize(
    ("data", "path", "value", "rule"),
    [
        ({"targets": []}, "status", "missing", "must be given"),
        ({"status": "found"}, "targets", "missing", "must be given"),
        (
            {"status": "Found", "targets": [TARGET]},
            "status",
            '"Found"',
            'must be "found", "not_found" or "ambiguous"',
        ),
        ({"status": ["found"], "targets": [TARGET]}, "status", '["found"]', "must be"),
        ({"status": "found", "targets": []}, "targets", "[]", "must hold at least one target"),
        ({"status": "not_found", "targets": [TARGET]}, "status", '"not_found"', "when targets are given"),
        ({"status": "found", "targets": [TARGET], "note": 1}, "note", "1", "must be left out"),
        ({"status": "found", "targets": [TARGET], "a b": 1}, '"a b"', "1", "must be left out"),
        ({"status": "found", "targets": [{**TARGET, "score": 0.9}]}, "targets[0].score", "0.9", "must be left out"),
        ({"status": "found", "targets": TARGET}, "targets", '{"bbox_2d": [1', "must be a list"),
        ({"status": "found", "targets": ["tank"]}, "targets[0]", '"tank"', "must be an object"),
        ({"status": "found", "targets": [{"label": "x"}]}, "targets[0].bbox_2d", "missing", "must be given"),
        ({"status": "found", "targets": [{"bbox_2d": [1, 2, 3, 4]}]}, "targets[0].label", "missing", "must be given"),
        ({"status": "found", "targets": [{**TARGET, "label": 7}]}, "targets[0].label", "7", "must be a text"),
        ({"status": "found", "targets": [TARGET], "reasoning": 7}, "reasoning", "7", "must be a text"),
        ([TARGET], "", '[{"bbox_2d"', "must be an object"),
        ("found", "", '"found"', "must be an object"),
    ],
)
def test_a_violation_names_path_value_and_rule(data, path, value, rule):
    (violation,) = broken(data)
    assert violation.path == path
    assert violation.value.startswith(value)
    assert rule in violation.rule


@pytest.mark.parametrize(
    ("box", "path", "value", "rule"),
    [
        ([1, 2, "3", 4], "[2]", '"3"', "must be a number"),
        ([1, 2, True, 4], "[2]", "true", "must be a number"),
        ([1, None, 3, 4], "[1]", "null", "must be a number"),
        ([1, 2, 3, [4]], "[3]", "[4]", "must be a number"),
        ([float("nan"), 2, 3, 4], "[0]", "NaN", "must be a finite number"),
        ([1, 2, 3, float("-inf")], "[3]", "-Infinity", "must be a finite number"),
        ([1, 2, 3], "", "[1, 2, 3]", "must be four numbers"),
        ([1, 2, 3, 4, 5], "", "[1, 2, 3, 4, 5]", "must be four numbers"),
        ({"x1": 1}, "", '{"x1": 1}', "must be a list"),
        ("1, 2, 3, 4", "", '"1, 2, 3, 4"', "must be a list"),
    ],
)
def test_a_box_is_four_finite_numbers(box, path, value, rule):
    (violation,) = broken({"status": "found", "targets": [TARGET, {"bbox_2d": box, "label": "tank"}]})
    assert violation.path == f"targets[1].bbox_2d{path}"
    assert violation.value == value
    assert rule in violation.rule


def test_values_and_keys_are_cut():
    long = "x" * 5000
    violations = broken({"status": long, "targets": [], long: long})
    assert all(len(part) <= 80 for violation in violations for part in violation)


def test_every_broken_rule_is_named_and_the_message_counts_them():
    data = {"status": "found", "targets": [{"bbox_2d": ["a", 2, 3, "b"], "label": "x"}], "more": 1}
    with pytest.raises(RejectedReply) as caught:
        check(data, "calls[1]")
    assert [violation.path for violation in caught.value.violations] == [
        "calls[1].targets[0].bbox_2d[0]",
        "calls[1].targets[0].bbox_2d[3]",
        "calls[1].more",
    ]
    assert caught.value.message == ('calls[1].targets[0].bbox_2d[0] is "a": must be a number; and 2 more like this')


def test_a_rejection_is_an_invalid_reply_that_says_whether_it_was_cut_off():
    rejected = RejectedReply([Violation("", "{", "is cut off; must be complete")], truncated=True)
    assert (rejected.code, rejected.truncated) == ("invalid_reply", True)
    assert rejected.message == "the reply is {: is cut off; must be complete"


def test_endless_targets_are_refused_before_each_is_checked():
    (violation,) = broken({"status": "found", "targets": [{"bbox_2d": "x"}] * 501})
    assert violation.path == "targets"
    assert "501 targets" in violation.rule
