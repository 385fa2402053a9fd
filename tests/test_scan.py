"""Complete JSON values are found whatever stands around them, and in one pass."""

import math

import pytest

from geoseg_agent.grounding.reply.scan import DEEPEST, MOST_STEPS, MOST_VALUES, Doubled, is_inside, scan

LONG = 200_000


def found(text):
    return [value.data for value in scan(text).values]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('{"a": 1}', [{"a": 1}]),
        ('  [{"a": 1}]\n', [[{"a": 1}]]),
        ('```json\n{"a": 1}\n```', [{"a": 1}]),
        ('Sure! {"a": 1} and then {"b": [2]}. Done.', [{"a": 1}, {"b": [2]}]),
        ('It says "{" here: {"a": "}"}', [{"a": "}"}]),
        ('The frame is [0, 1000) by {x, y}: {"a": 1}', [{"a": 1}]),
        ('see [here] {"a": "say \\"}\\" twice \\\\"}', [{"a": 'say "}" twice \\'}]),
        ("[[1, 2, 3, 4]]", [[[1, 2, 3, 4]]]),
        ("box [1, 2, 3.5, -4e1] it is", [[1, 2, 3.5, -40.0]]),
        ('["1", "2", "3", "4"]', [["1", "2", "3", "4"]]),
        ("[]", [[]]),
        ("{}", [{}]),
        ('[TOOL_CALLS][{"a": 1}]', [[{"a": 1}]]),
        ('{"a": 1}}}]] {"b": 2}', [{"a": 1}, {"b": 2}]),
        ('[{"a": 1}} {"b": 2}', [{"b": 2}]),
        ('```\n{"a": [1, \n```\n{"b": 2}', [{"b": 2}]),
        ("{'a': 1}", []),
        ('{"a": 1,}', []),
        ('{"a": True}', []),
        ('{"a": 1 // one\n}', []),
        ("nothing", []),
        ("", []),
    ],
)
def test_values_are_found_and_nothing_is_mended(text, values):
    assert found(text) == values


def test_indices_enclose_the_value():
    text = 'so {"a": [1]}!'
    (value,) = scan(text).values
    assert text[value.start : value.end] == '{"a": [1]}'


def test_characters_inside_values_are_told_from_those_between():
    text = 'a{"k": 1}b[{"k": 2}]c'
    values = scan(text).values
    assert [text[index] for index in range(len(text)) if not is_inside(index, values)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "unclosed"),
    [
        ('{"a": 1', 0),
        ('so {"a": "x', 3),
        ('[{"a": 1}, {"a": 2}', 0),
        ('{"a": 1} {"b": ', 9),
        ("[1, 2, 3", 0),
        ("[", 0),
        ("{ ", 0),
        ('```\n{"a": [1\n```', 4),
        ('{"a": 1}', None),
        ("prose [ and {", 12),
        ("prose [x and {y", None),
    ],
)
def test_a_value_that_never_closes_is_told(text, unclosed):
    assert scan(text).unclosed == unclosed


def test_pieces_of_an_unclosed_value_are_no_values():
    assert found('[{"a": 1}, {"a": 2}, {"a"') == []


def test_doubled_keys_are_marked_at_any_depth():
    (outer,) = found('{"a": {"k": 1, "m": 2, "k": 3, "k": 4}, "b": 1}')
    assert not isinstance(outer, Doubled)
    assert isinstance(outer["a"], Doubled)
    assert outer["a"].keys_doubled == ("k",)


def test_numbers_that_are_none_are_left_for_the_contract():
    (values,) = found('{"a": [NaN, Infinity, -Infinity, 1e999]}')
    assert math.isnan(values["a"][0])
    assert values["a"][1:] == [math.inf, -math.inf, math.inf]


def test_a_whole_number_of_any_length_is_read():
    (value,) = found('{"a": ' + "9" * 10_000 + "}")
    assert value["a"] == math.inf


def test_a_line_break_inside_a_string_is_accepted_and_told():
    (value,) = scan('{"a": "one\ntwo"}').values
    assert value.data == {"a": "one\ntwo"}
    assert value.repairs == ("line break inside a string accepted",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [('{"a": 1,}', "valid JSON"), ('{"a": 1]', "closed by ']'"), ('{"a":' * 100, "nested deeper")],
)
def test_what_looks_like_json_and_is_none_is_explained(text, reason):
    assert reason in scan(text).refused


def test_nesting_is_read_to_its_limit():
    inside = DEEPEST - 1
    assert len(found('{"a":' + "[" * inside + "]" * inside + "}")) == 1
    assert found('{"a":' + "[" * DEEPEST + "]" * DEEPEST + "}") == []


def test_more_values_than_any_answer_has_are_refused():
    assert len(found("[]" * MOST_VALUES)) == MOST_VALUES
    assert "endless" in scan("[]" * (MOST_VALUES + 1)).refused


@pytest.mark.parametrize(
    "piece",
    [
        "[",
        "{",
        '{"',
        "[ ",
        "{ ",
        '"',
        '["',
        "[]",
        "[1,",
        "[1 ",
        '{"a":',
        '[{"a":1}]',
        "[[",
        '```{"a"',
        "[[1,2],",
        "\\",
        "]",
    ],
)
@pytest.mark.parametrize("head", ["", '{"a": "', '[{"a": ['])
def test_work_is_bounded_by_the_text_and_by_a_limit(piece, head):
    text = head + piece * (LONG // len(piece))
    # Every step looks at another bracket, string or mark.
    assert scan(text).steps <= min(len(text), MOST_STEPS) + 2


def test_what_goes_on_beyond_the_limit_is_refused():
    seen = scan('{"a": [' + "[]," * MOST_STEPS)
    assert (seen.values, seen.refused) == ((), "must be one JSON object; this is endless")


def test_a_string_that_never_ends_is_read_once():
    seen = scan('{"a": "' + 'x\\"' * LONG)
    assert (seen.unclosed, seen.values) == (0, ())
    assert seen.steps < 10
