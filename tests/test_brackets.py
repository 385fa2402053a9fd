"""The end of a streamed value is noticed at its last bracket, however the text is cut into fragments."""

import pytest

from geoseg_agent.grounding.endpoint.brackets import Brackets

ANSWER = '{"status": "found", "targets": [{"bbox_2d": [1, 2, 3, 4], "label": "a \\"}\\" tank"}], "reasoning": ""}'


def closes_at(text):
    """Index after the character at which the value closed, or None."""
    brackets = Brackets()
    return next((index for index, character in enumerate(text, start=1) if brackets.feed(character)), None)


@pytest.mark.parametrize(
    ("before", "value"),
    [
        ("", ANSWER),
        ("Here it is:\n```json\n", ANSWER),
        ('He said "look [here', ANSWER),
        ("The frame is [0, 1000) and {x1, y1} its corner. ", ANSWER),
        ('<think>A draft {"status": "found"} and [[1, 2, 3, 4]]</think>', ANSWER),
        ("", '[{"bbox_2d": [1, 2, 3, 4], "label": "tank"}]'),
        ("<box>", "[[1, 2, 3, 4]]"),
        ('[{"a": 1}} ', ANSWER),
    ],
)
def test_the_value_closes_at_its_last_bracket_and_not_before(before, value):
    text = f"{before}{value} and on it goes {{}}"
    assert closes_at(text) == len(before) + len(value)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_fragments_of_any_size_give_the_same(size):
    text = f"<think>[[{ANSWER}</think>\n{ANSWER}"
    brackets = Brackets()
    seen = [brackets.feed(text[start : start + size]) for start in range(0, len(text), size)]
    assert seen[-1] is True
    assert not any(seen[:-1])


@pytest.mark.parametrize("text", ["", "no brackets", ANSWER[:-1], "[1, 2, 3, 4]", "{}", "{ x", '<think>{"a": 1}'])
def test_what_is_no_complete_value_does_not_close(text):
    assert closes_at(text) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"bbox_2d": [1, 2, 3, 4], "label": "tank"}\n{"bbox_2d": [5, 6, 7, 8], "label": "shed"}',
        '{"label": "tank", "bbox_2d": [1, 2, 3, 4]}',
        '<tool_call>{"name": "segment_targets", "arguments": {"status": "not_found", "targets": []}}</tool_call>',
    ],
)
def test_where_another_target_or_call_may_follow_it_reads_on(text):
    assert closes_at(text) is None
    assert closes_at(text + ANSWER) == len(text + ANSWER)


def test_it_stays_closed():
    brackets = Brackets()
    assert brackets.feed(ANSWER)
    assert brackets.feed('{"a"')
    assert brackets.depth == 0


def test_depth_and_strings_can_be_watched():
    brackets = Brackets()
    brackets.feed('{"targets": [{"label": "a')
    assert (brackets.depth, brackets.in_string) == (3, True)
    brackets.feed('\\" [ b"')
    assert (brackets.depth, brackets.in_string) == (3, False)


def test_whitespace_is_counted_outside_strings_only():
    brackets = Brackets()
    brackets.feed('{"label": "a      b')
    assert brackets.blank == 0
    brackets.feed('",   \n\n')
    assert brackets.blank == 5
    brackets.feed('"')
    assert brackets.blank == 0
