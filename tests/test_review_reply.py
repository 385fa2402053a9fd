"""A model's verdict on a result: the tool it is given, and what is taken from its answer."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg_agent.errors import InvalidReply
from geoseg_agent.grounding.chat import FRAMES, Call, ChatReply, Fit, SentImage, Terms
from geoseg_agent.grounding.reply.rejected import RejectedReply
from geoseg_agent.grounding.review import TargetVerdict, parse_review, review_tool
from geoseg_tools.geometry import Box

SENT = SentImage((768, 1024), Box(0, 0, 2048, 1536), "image/jpeg", "ab" * 32, None)
NORM, PIXELS = FRAMES["norm1000"], FRAMES["pixels"]
TERMS = Terms(
    server="vllm",
    model="qwen",
    rungs=("tool",),
    proved=True,
    family="qwen3",
    asked=NORM,
    read=NORM,
    outside="tolerate",
    max_targets=8,
    fit=Fit(32, 1024, 2048),
)
MOVED = {"target": 2, "verdict": "reground", "bbox_2d": [100, 200, 500, 600], "label": "white tank"}
GOOD = {
    "verdicts": [
        {"target": 1, "verdict": "accept", "bbox_2d": [], "label": ""},
        MOVED,
        {"target": 3, "verdict": "drop", "bbox_2d": [], "label": ""},
    ],
    "score": 6,
    "reasoning": "the second lies beside it",
}


def review_of(answer, *, terms=TERMS, count=3):
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return parse_review(ChatReply(content=text), terms, SENT, count)


def one(**fields):
    return {"verdicts": [{"target": 1, "verdict": "reground", "bbox_2d": [0, 0, 500, 500], **fields}], "score": 5}


def broken(answer, **more):
    with pytest.raises(RejectedReply) as caught:
        review_of(answer, **more)
    return caught.value


def test_each_target_gets_its_verdict_and_boxes_are_pixels_of_the_original():
    review = review_of(GOOD)

    assert review.verdicts == (
        TargetVerdict("accept"),
        TargetVerdict("reground", Box(205, 307, 1024, 922), "white tank"),
        TargetVerdict("drop"),
    )
    assert (review.score, review.reasoning, review.repairs) == (6.0, "the second lies beside it", ())
    assert not review.accepts_all


def test_targets_that_are_not_mentioned_are_accepted():
    review = review_of({"verdicts": [MOVED], "score": 3})

    assert [verdict.verdict for verdict in review.verdicts] == ["accept", "reground", "accept"]
    assert review_of({"verdicts": [], "score": 10}).accepts_all


def test_the_order_of_the_list_does_not_matter():
    assert review_of({**GOOD, "verdicts": GOOD["verdicts"][::-1]}) == review_of(GOOD)


@pytest.mark.parametrize(
    ("frame", "numbers"),
    [
        ("norm1000", [250, 500, 750, 1000]),
        ("norm1000-yxyx", [500, 250, 1000, 750]),
        ("unit", [0.25, 0.5, 0.75, 1.0]),
        ("pixels", [256, 384, 768, 768]),
        ("pixels-yxyx", [384, 256, 768, 768]),
    ],
)
def test_boxes_are_read_in_the_frame_of_the_terms(frame, numbers):
    terms = replace(TERMS, read=FRAMES[frame])

    assert review_of(one(bbox_2d=numbers), terms=terms).verdicts[0].box == Box(512, 768, 1536, 1536)


def test_repairs_of_boxes_are_told():
    review = review_of(one(bbox_2d=[0, 0, 1010, 500]))

    assert review.verdicts[0].box == Box(0, 0, 2048, 768)
    assert len(review.repairs) == 1
    assert review.repairs[0].startswith("verdicts[0]: x2 clamped")


@pytest.mark.parametrize("verdict", ["accept", "drop"])
@pytest.mark.parametrize("fields", [{}, {"bbox_2d": None, "label": None}, {"bbox_2d": [9999] * 5, "label": "<x>"}])
def test_box_and_label_of_what_does_not_move_are_ignored(verdict, fields):
    answer = {"verdicts": [{"target": 1, "verdict": verdict, **fields}], "score": 1}

    assert review_of(answer).verdicts[0] == TargetVerdict(verdict)


@pytest.mark.parametrize(
    ("label", "taken"),
    [(None, None), ("", None), ("  ", None), (" red  roof ", "red roof"), ("<b>red</b> roof", "red roof")],
)
def test_labels_are_cleaned(label, taken):
    assert review_of(one(label=label)).verdicts[0].label == taken


@pytest.mark.parametrize(
    ("answer", "path", "rule"),
    [
        (one(bbox_2d=[]), "verdicts[0].bbox_2d", "four numbers"),
        (one(bbox_2d=None), "verdicts[0].bbox_2d", "four numbers"),
        (one(bbox_2d=[1, 2, 3]), "verdicts[0].bbox_2d", "four numbers"),
        (one(bbox_2d=[0, 0, 1500, 500]), "verdicts[0].bbox_2d", "2 % are allowed"),
        (one(bbox_2d=[5, 5, 5, 5]), "verdicts[0].bbox_2d", "at least 2"),
        (one(bbox_2d="[1,2,3,4]"), "verdicts[0].bbox_2d", "list"),
        (one(bbox_2d=[True, 0, 5, 5]), "verdicts[0].bbox_2d[0]", "number"),
        (one(label="!!!"), "verdicts[0].label", "words"),
        (one(target=0), "verdicts[0].target", "from 1 to 3"),
        (one(target=4), "verdicts[0].target", "from 1 to 3"),
        (one(target="1"), "verdicts[0].target", "integer"),
        (one(target=1.5), "verdicts[0].target", "integer"),
        (one(target=True), "verdicts[0].target", "integer"),
        (one(verdict="keep"), "verdicts[0].verdict", "'accept', 'reground' or 'drop'"),
        (one(colour="red"), "verdicts[0].colour", "not permitted"),
        ({"verdicts": [MOVED, MOVED], "score": 1}, "verdicts[1].target", "one verdict only"),
        ({"verdicts": []}, "score", "required"),
        ({"score": 5}, "verdicts", "required"),
        ({"verdicts": [], "score": 11}, "score", "less than or equal to 10"),
        ({"verdicts": [], "score": -1}, "score", "greater than or equal to 0"),
        ({"verdicts": [], "score": "7"}, "score", "number"),
        ('{"verdicts": [], "score": NaN}', "score", "number"),
        ('{"verdicts": [], "score": 5, "score": 9}', "", "twice"),
        ('{"verdicts": [{"target": 1, "target": 2, "verdict": "drop"}], "score": 9}', "verdicts[0]", "twice"),
        ({"verdicts": [], "score": 5, "better": True}, "better", "not permitted"),
        ({"verdicts": {}, "score": 5}, "verdicts", "list"),
        ("I like it", "", "one complete JSON object"),
        ("[1, 2]", "", "one complete JSON object"),
    ],
)
def test_a_broken_rule_is_named(answer, path, rule):
    error = broken(answer)

    assert isinstance(error, InvalidReply)
    assert path in [violation.path for violation in error.violations]
    found = next(violation for violation in error.violations if violation.path == path)
    assert rule in found.rule
    assert found.value
    assert len(found.value) <= 80


def test_every_broken_rule_is_named_at_once():
    answer = {"verdicts": [{**MOVED, "target": 7}, {**MOVED, "bbox_2d": [1]}], "score": 5}

    assert [violation.path for violation in broken(answer).violations] == [
        "verdicts[0].target",
        "verdicts[1].bbox_2d",
    ]


TEXT = json.dumps(GOOD)


@pytest.mark.parametrize(
    "reply",
    [
        ChatReply(calls=(Call("review_targets", TEXT),)),
        ChatReply(calls=(Call("other_name", TEXT),), content="{}"),
        ChatReply(calls=(Call("review_targets", ""),), content=TEXT),
        ChatReply(calls=(Call("review_targets", "{}"),), content=TEXT),
        ChatReply(content=f"Here:\n```json\n{TEXT}\n```\nDone."),
        ChatReply(content=f'<think>maybe {{"verdicts": [], "score": 1}}</think>{TEXT}'),
        ChatReply(content=f'{{"note": "x"}} {TEXT} {{"note": "y"}}'),
        ChatReply(content=f'<tool_call>{{"name": "review_targets", "arguments": {TEXT}}}</tool_call>'),
        ChatReply(content="", reasoning=f"so {TEXT}"),
        ChatReply(content=TEXT, finish="length", stopped="answer"),
    ],
    ids=[
        "call",
        "any name",
        "no arguments",
        "empty arguments",
        "fence",
        "think",
        "others",
        "markup",
        "reasoning",
        "finish lies",
    ],
)
def test_the_answer_is_found_wherever_it_stands(reply):
    assert parse_review(reply, TERMS, SENT, 3) == review_of(GOOD)


@pytest.mark.parametrize(
    ("reply", "truncated"),
    [
        (ChatReply(content=TEXT[:-20]), True),
        (ChatReply(calls=(Call("review_targets", TEXT[:60]),)), True),
        (ChatReply(content="", reasoning="long thoughts", finish="length"), True),
        (ChatReply(content="{", stopped="whitespace"), True),
        (ChatReply(content='{"note": 1} {"verdicts": ['), True),
        (ChatReply(content="no"), False),
        (ChatReply(), False),
        (ChatReply(refusal="I cannot help"), False),
    ],
)
def test_an_answer_that_is_cut_off_is_told_apart(reply, truncated):
    with pytest.raises(RejectedReply) as caught:
        parse_review(reply, TERMS, SENT, 3)

    assert caught.value.truncated is truncated
    assert caught.value.violations[0].path == ""


@given(
    st.text(max_size=200)
    | st.recursive(
        st.none()
        | st.booleans()
        | st.floats()
        | st.integers()
        | st.text(max_size=5)
        | st.sampled_from(["accept", "reground", "drop"]),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["verdicts", "score", "target", "verdict", "bbox_2d", "label", "reasoning", "x"]),
                inner,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_it_says_it_is_a_review_or_a_rejection(answer):
    try:
        review = review_of(answer)
    except RejectedReply:
        return

    assert len(review.verdicts) == 3
    assert 0 <= review.score <= 10


@given(st.lists(st.floats() | st.integers(), min_size=4, max_size=4))
def test_an_accepted_box_lies_on_the_image(numbers):
    try:
        box = review_of(one(bbox_2d=numbers)).verdicts[0].box
    except RejectedReply:
        return

    assert Box(0, 0, 2048, 1536).contains(box)


def test_the_tool_is_plain_json_schema_that_strict_modes_take():
    tool = review_tool(3)
    allowed = {
        "type", "properties", "required", "additionalProperties", "enum", "items",
        "minItems", "maxItems", "minimum", "maximum", "maxLength",
    }  # fmt: skip

    def check(schema):
        assert set(schema) <= allowed
        if schema["type"] == "object":
            assert schema["required"] == list(schema["properties"])
            assert schema["additionalProperties"] is False
        for inner in (*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])):
            check(inner)

    check(tool.schema)
    assert json.loads(json.dumps(tool.schema)) == tool.schema
    assert tool.name == "review_targets"


def test_numbers_have_no_bounds_that_a_decoder_could_cut_digits_by():
    item = review_tool(2).schema["properties"]["verdicts"]["items"]
    assert item["properties"]["bbox_2d"]["items"] == {"type": "number"}


def test_a_review_needs_a_target():
    with pytest.raises(ValueError, match="at least one target, got 0"):
        review_tool(0)
