"""What a reply that asks for a closer look may look like, and which window comes of it."""

import json

import pytest
from grounding_terms import sent_as, terms_for
from hypothesis import given
from hypothesis import strategies as st

from geoseg_agent.grounding.chat import Call, ChatReply, Fit
from geoseg_agent.grounding.closer import coarse, window_around, zoom_tool
from geoseg_agent.grounding.reply.contract import segment_targets_tool
from geoseg_agent.grounding.reply.parse import parse
from geoseg_agent.grounding.reply.rejected import RejectedReply
from geoseg_agent.grounding.reply.zooming import parse_zoom, without_wish
from geoseg_tools.geometry import Box

TERMS, SENT = terms_for(), sent_as((1000, 1000))
PART = Box(100, 200, 300, 400)
NUMBERS = [100, 200, 300, 400]
WISH = {"status": "zoom", "zoom_2d": NUMBERS, "targets": [], "reasoning": "small"}
ANSWER = {"status": "found", "targets": [{"bbox_2d": NUMBERS, "label": "car"}], "reasoning": ""}
ARGUMENTS = {"bbox_2d": NUMBERS, "reasoning": "small"}


def called(*calls):
    return ChatReply(calls=tuple(Call(name, json.dumps(arguments)) for name, arguments in calls))


def text(value):
    return ChatReply(content=value if isinstance(value, str) else json.dumps(value))


@pytest.mark.parametrize(
    "reply",
    [
        called(("zoom", ARGUMENTS)),
        called(("functions.zoom", ARGUMENTS)),
        called(("zoom", {"bbox_2d": NUMBERS})),
        called(("zoom", {"box": [str(number) for number in NUMBERS], "reasoning": ""})),
        called(("zoom", dict(zip(("x1", "y1", "x2", "y2"), NUMBERS, strict=True)))),
        called(("zoom", {"bbox_2d": [NUMBERS]})),
        called(("zoom", WISH)),
        called(("zoom", ARGUMENTS), ("zoom", ARGUMENTS)),
        called(("segment_targets", WISH)),
        text(WISH),
        text(f"It is small.\n```json\n{json.dumps(WISH)}\n```\nThank you."),
        text({"name": "zoom", "arguments": ARGUMENTS}),
        text({"name": "zoom", "arguments": json.dumps(ARGUMENTS)}),
        text(f"<tool_call>\n{json.dumps({'name': 'zoom', 'arguments': ARGUMENTS})}\n</tool_call>"),
        text(f"<think>{json.dumps(ANSWER)} or rather not</think>{json.dumps(WISH)}"),
        text(f"At first {json.dumps(ANSWER)}, but better {json.dumps(WISH)}"),
        ChatReply(content="", reasoning=f"I should look closer. {json.dumps(WISH)}"),
    ],
)
def test_a_wish_is_read_wherever_it_stands(reply):
    assert parse_zoom(reply, TERMS, SENT).box == PART


@pytest.mark.parametrize(
    "reply",
    [
        called(("segment_targets", ANSWER)),
        called(("segment_targets", {**ANSWER, "zoom_2d": []})),
        text(ANSWER),
        text({**ANSWER, "zoom_2d": None}),
        text(f"{json.dumps(WISH)} No, I see it: {json.dumps(ANSWER)}"),
        text(f"<think>{json.dumps(WISH)}</think>{json.dumps(ANSWER)}"),
    ],
)
def test_an_answer_is_none(reply):
    assert parse_zoom(reply, TERMS, SENT) is None
    assert [target.box for target in parse(reply, TERMS, SENT, zoomable=True).reply.targets] == [PART]


@pytest.mark.parametrize("reply", [text("I cannot see it."), ChatReply(), text('{"status": "zo'), text("[]")])
def test_what_is_neither_is_left_for_the_reader_of_answers(reply):
    assert parse_zoom(reply, TERMS, SENT) is None


@pytest.mark.parametrize(
    "reply",
    [
        called(("zoom", ARGUMENTS), ("segment_targets", ANSWER)),
        called(("zoom", ARGUMENTS), ("zoom", {"bbox_2d": [1, 1, 90, 90]})),
        called(("zoom", {"reasoning": "small"})),
        called(("zoom", {**ARGUMENTS, "factor": 4})),
        called(("zoom", {**ARGUMENTS, "zoom_2d": NUMBERS})),
        called(("zoom", {"bbox_2d": [NUMBERS, NUMBERS]})),
        called(("zoom", {"bbox_2d": [100, 200, 300]})),
        called(("zoom", {"bbox_2d": [100, 200, 300, "east"]})),
        ChatReply(calls=(Call("zoom", '{"bbox_2d": [100, 200'),), finish="length"),
        ChatReply(calls=(Call("zoom", '{"bbox_2d": [1, 2, 3, 4], "bbox_2d": [1, 1, 90, 90]}'),)),
        text({**WISH, "targets": ANSWER["targets"]}),
        text({**WISH, "status": "found"}),
        text({**WISH, "zoom_2d": [0, 0, 0, 0]}),
        text({**WISH, "zoom_2d": [900, 900, 1200, 1200]}),
    ],
)
def test_a_wish_that_breaks_a_rule_is_refused_by_name(reply):
    with pytest.raises(RejectedReply) as rejected:
        parse_zoom(reply, TERMS, SENT)
    assert all(violation.rule.startswith(("must", "is no part")) for violation in rejected.value.violations)
    assert rejected.value.truncated == (reply.finish == "length")


def test_the_empty_box_of_an_answer_is_left_out_and_no_other():
    assert without_wish({**ANSWER, "zoom_2d": []}) == ANSWER
    assert without_wish(WISH) == WISH
    assert without_wish([1]) == [1]


def test_where_nothing_was_offered_its_box_is_a_broken_rule_as_ever():
    with pytest.raises(RejectedReply, match="zoom_2d"):
        parse(text({**ANSWER, "zoom_2d": []}), TERMS, SENT)


def test_the_schema_is_one_flat_object_that_strict_modes_take():
    tool = zoom_tool(segment_targets_tool(TERMS, SENT), TERMS, SENT)
    assert (tool.name, tool.other.name) == ("segment_targets", "zoom")
    assert list(tool.either["properties"]) == ["status", "zoom_2d", "targets", "reasoning"]
    for schema in (tool.either, tool.other.schema):
        assert schema["required"] == list(schema["properties"])
        assert schema["additionalProperties"] is False
        assert not {"anyOf", "oneOf", "$ref"} & set(json.dumps(schema).split('"'))
    assert tool.schema == segment_targets_tool(TERMS, SENT).schema


# windows


FIT = Fit(32, 1024, 2048)


@given(st.data())
def test_the_window_holds_the_part_and_lies_in_what_was_shown(data):
    width, height = data.draw(st.tuples(st.integers(1500, 40_000), st.integers(300, 40_000)))
    left, top = data.draw(st.tuples(st.integers(0, 500), st.integers(0, 500)))
    shown = Box(left, top, left + width, top + height)
    x1, y1 = data.draw(st.integers(shown.x1, shown.x2 - 1)), data.draw(st.integers(shown.y1, shown.y2 - 1))
    box = Box(x1, y1, data.draw(st.integers(x1 + 1, shown.x2)), data.draw(st.integers(y1 + 1, shown.y2)))
    window = window_around(box, shown, FIT)
    if window is None:
        return
    assert shown.contains(window)
    assert window.contains(box)
    assert max(window.size) <= 0.75 * max(shown.size)
    assert min(window.size) >= min(1440, *shown.size)
    assert max(window.size) <= 2 * min(window.size) or min(window.size) == min(shown.size)


def test_a_small_part_is_shown_at_the_resolution_of_the_image():
    assert window_around(Box(5000, 5000, 5010, 5010), Box(0, 0, 12_000, 12_000), FIT).size == (1440, 1440)
    assert window_around(Box(0, 0, 10, 10), Box(0, 0, 12_000, 12_000), FIT) == Box(0, 0, 1440, 1440)


def test_what_shows_hardly_more_is_none():
    shown = Box(0, 0, 8000, 6000)
    assert window_around(Box(100, 100, 7000, 5500), shown, FIT) is None
    assert window_around(Box(100, 100, 4000, 3000), shown, FIT) is not None


def test_coarse_is_half_of_the_length():
    assert coarse((2000, 2880), (1000, 1440))
    assert not coarse((2000, 2879), (1000, 1440))
