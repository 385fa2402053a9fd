"""Replies as models and servers really give them: each has its documented targets or its documented rejection.

A line of tests/corpus/*.jsonl is one case: a name, the row of the failure catalogue it stands for ("source"), the
raw reply, and where they differ from norm1000 on 1000 x 1000 pixels the terms, the size sent (h, w) and the window
of the original. "expect" has the status, [x1, y1, x2, y2, phrase] for each target, repairs, notes and where it was
found; "reject" has the path of each violation, a part of the first rule, and whether the reply counts as cut off.
"""

import importlib.util
import json
from pathlib import Path

import pytest
from grounding_terms import sent_as, terms_for

from geoseg_agent.grounding.chat import Call, ChatReply
from geoseg_agent.grounding.reply.parse import parse
from geoseg_agent.grounding.reply.rejected import RejectedReply

ROOT = Path(__file__).parents[1]
CORPUS = Path(__file__).parent / "corpus"
CASES = [json.loads(line) for file in sorted(CORPUS.glob("*.jsonl")) for line in file.read_text("utf-8").splitlines()]

ANSWER = '{"status": "found", "targets": [{"bbox_2d": [100, 200, 300, 400], "label": "tank"}], "reasoning": "seen"}'


def reply_of(raw):
    fields = {name: value for name, value in raw.items() if name != "calls"}
    calls = tuple(
        Call(name, arguments if isinstance(arguments, str) else json.dumps(arguments))
        for name, arguments in raw.get("calls", ())
    )
    return ChatReply(calls=calls, **fields)


def conditions(case):
    given = case.get("terms", {})
    terms = terms_for(
        given.get("frame", "norm1000"),
        max_targets=given.get("max_targets", 8),
        outside=given.get("outside", "tolerate"),
    )
    return terms, sent_as(case.get("size", (1000, 1000)), case.get("window"))


def answered(case, **changed):
    """Boxes and names that the case gives with some fields of its reply changed, or None where it is rejected."""
    try:
        parsed = parse(reply_of({**case["reply"], **changed}), *conditions(case))
    except RejectedReply:
        return None
    return {(tuple(target.box), target.phrase) for target in parsed.reply.targets}


def is_one_target_list(case):
    """Whether the case is one short text with one answer; of several calls as text, each is a whole answer."""
    reply, expected = case["reply"], case.get("expect", {})
    whole = expected.get("targets") and "2 calls joined" not in expected.get("repairs", ())
    return bool(whole and set(reply) == {"content"} and len(reply["content"]) < 2000)


def test_the_corpus_is_large_and_every_case_has_a_name_of_its_own():
    names = [case["name"] for case in CASES]
    assert len(names) >= 150
    assert len(set(names)) == len(names)
    assert all(case["source"] for case in CASES)


@pytest.mark.parametrize("case", [case for case in CASES if "expect" in case], ids=lambda case: case["name"])
def test_an_answer_gives_its_targets(case):
    parsed = parse(reply_of(case["reply"]), *conditions(case))
    expected = case["expect"]
    assert parsed.reply.status == expected["status"]
    assert [[*target.box, target.phrase] for target in parsed.reply.targets] == expected["targets"]
    assert list(parsed.repairs) == expected.get("repairs", [])
    assert parsed.source == expected.get("from", "content")
    assert list(parsed.reply.notes) == expected.get("notes", [])


@pytest.mark.parametrize("case", [case for case in CASES if "reject" in case], ids=lambda case: case["name"])
def test_a_rejection_names_path_and_rule(case):
    with pytest.raises(RejectedReply) as caught:
        parse(reply_of(case["reply"]), *conditions(case))
    expected = case["reject"]
    broken = caught.value.violations
    assert [violation.path for violation in broken] == expected["paths"]
    assert expected["rule"] in broken[0].rule
    assert caught.value.truncated is expected.get("truncated", False)
    assert all(len(violation.value) <= 80 for violation in broken)


@pytest.mark.parametrize("case", [case for case in CASES if is_one_target_list(case)], ids=lambda case: case["name"])
def test_a_text_cut_anywhere_never_gives_some_of_its_targets(case):
    text, whole = case["reply"]["content"], answered(case)
    for end in range(len(text)):
        seen = answered(case, content=text[:end], finish="length")
        assert not seen or not seen < whole, text[:end]


@pytest.fixture(scope="module")
def fuzz():
    spec = importlib.util.spec_from_file_location("fuzz_replies", ROOT / "benchmarks" / "fuzz_replies.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", [1, 2])
def test_mutated_replies_give_boxes_inside_the_picture_or_a_typed_rejection(fuzz, seed):
    result = fuzz.run(1000, seed)
    assert result["faults"] == []
    assert result["accepted"] > 100
    assert result["rejected"] > 300


def test_the_fuzzer_would_notice_a_box_outside(fuzz):
    parsed = parse(reply_of({"content": ANSWER}), terms_for(), sent_as())
    assert fuzz.faults(parsed, terms_for(), sent_as()) == []
    assert fuzz.faults(parsed, terms_for(), sent_as(window=(0, 0, 150, 150)))


def test_the_reasoning_is_one_clean_line_of_at_most_500_characters():
    said = json.loads(ANSWER) | {"reasoning": "<b>So</b>\u202e " + "very long " * 200}
    reasoning = parse(ChatReply(content=json.dumps(said)), terms_for(), sent_as()).reply.reasoning
    assert reasoning.startswith("So very long")
    assert len(reasoning) <= 500


def test_reasonings_of_several_calls_follow_each_other():
    said = json.loads(ANSWER)
    calls = tuple(Call("segment_targets", json.dumps(said | {"reasoning": text})) for text in ("First.", "Second."))
    assert parse(ChatReply(calls=calls), terms_for(), sent_as()).reply.reasoning == "First. Second."


def test_values_of_a_violation_hold_neither_markup_nor_hidden_characters():
    with pytest.raises(RejectedReply) as caught:
        parse(ChatReply(content="<script>x</script>\u202e\x00 no"), terms_for(), sent_as())
    assert caught.value.violations[0].value == "x no"


@pytest.mark.parametrize(
    "piece", ["[", "{", '{"', '{"a":', "[[", "<box>", "<ref>", "<think>", "<parameter=a>", "<tool_call>"]
)
def test_a_megabyte_of_brackets_or_marks_is_refused(piece):
    text = piece * (1_000_000 // len(piece))
    for head in ("", "<function=f>", '{"status": "found", "targets": ['):
        with pytest.raises(RejectedReply):
            parse(ChatReply(content=head + text), terms_for(), sent_as())
