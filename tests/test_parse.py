"""Replies as models and servers really give them: each has its documented targets or its documented rejection."""

import json
from pathlib import Path

import pytest
from grounding_terms import sent_as, terms_for

from geoseg_agent.grounding.chat import Call, ChatReply
from geoseg_agent.grounding.parse import parse
from geoseg_agent.grounding.rejected import RejectedReply

CORPUS = Path(__file__).parent / "corpus"
CASES = [json.loads(line) for file in sorted(CORPUS.glob("*.jsonl")) for line in file.read_text("utf-8").splitlines()]


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
