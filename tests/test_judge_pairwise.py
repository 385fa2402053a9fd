"""A against B in both orders: a win needs both, a preferred place is told, and nothing is paid twice."""

import json
import re

import pytest
from judge_cases import HALF, TRUTH, Given, case, settings, texts_asked
from mllm_server import MllmServer
from mllm_sight import decode

from geoseg_agent.bench.judge.cases import Duel
from geoseg_agent.bench.judge.overlap import iou_of, overlap_score
from geoseg_agent.bench.judge.pairwise import compare
from geoseg_agent.bench.judge.released import threes
from geoseg_agent.grounding.chat import Call, ChatReply


def duel(number, a=TRUTH, b=HALF):
    return Duel(case(number).pair, Given(a), Given(b))


def said(better):
    return json.dumps({"evidence": "more yellow", "better": better})


def yellower(asked):
    """Looks at the picture: which of the two right parts has less green."""
    pixels = decode(asked.picture).astype(int)
    third = pixels.shape[1] // 3
    parts = [pixels[:, third * n + 8 : third * (n + 1) - 8] for n in (1, 2)]
    green = [((part[..., 1] - part[..., 0]) > 90).sum() for part in parts]
    return said("tie" if green[0] == green[1] else "first" if green[0] < green[1] else "second")


async def test_a_win_needs_both_orders_and_a_preferred_place_is_told():
    def script(asked):
        number = int(re.search(r"number (\d+)", asked.text)[1])
        return {0: yellower(asked), 1: said("first"), 2: said("second"), 3: said("tie"), 4: "who knows"}[number]

    duels = [*(duel(n) for n in range(5)), duel(0, HALF, TRUTH)]
    duels[-1] = Duel(case(0, id="other").pair, Given(HALF), Given(TRUTH))
    async with MllmServer(script=script) as server:
        found = await compare(duels, settings(server))
    assert [one.winner for one in found.pairs] == ["a", "tie", "tie", "tie", None, "b"]
    summary = json.loads(json.dumps(found.summary()))
    assert (summary["pairs"], summary["judged"], summary["missing"]) == (6, 5, 1)
    assert (summary["replies_malformed"], summary["replies_failed"]) == (2, 0)
    lost = json.loads(json.dumps(found.pairs[4].as_json()))
    assert (lost["winner"], lost["a_first"], len(lost["malformed"]), lost["evidence"]) == (None, None, 2, [])
    assert found.pairs[0].evidence == ("more yellow", "more yellow")
    assert (summary["a_wins"], summary["b_wins"], summary["ties"], summary["ties_of_split_orders"]) == (1, 1, 3, 2)
    assert summary["a_share"] == 0.5
    assert summary["replies"] == {"first": 4, "second": 4, "tie": 2}
    assert summary["position_bias"] == 0


async def test_a_judge_that_always_takes_the_first_has_full_bias_and_no_win(tmp_path):
    kept = tmp_path / "judgements.jsonl"
    async with MllmServer(script=lambda _: said("first")) as server:
        found = await compare([duel(0), duel(1)], settings(server), kept=kept)
        assert server.completions == 4
        again = await compare([duel(0), duel(1)], settings(server), kept=kept)
        assert server.completions == 4
    assert again == found
    summary = found.summary()
    assert (summary["a_wins"], summary["b_wins"], summary["ties"]) == (0, 0, 2)
    assert summary["position_bias"] == 1


async def test_the_two_orders_differ_in_the_picture_only_and_swapping_gives_the_same_bytes():
    async with MllmServer(script=yellower) as server:
        await compare([duel(3)], settings(server))
        await compare([duel(3, HALF, TRUTH)], settings(server))
    assert len(set(texts_asked(server))) == 1
    raw = [record.raw for record in server.asked]
    assert raw[0] != raw[1]
    assert raw[:2] == raw[2:][::-1]


async def test_families_are_told_and_nothing_judged_has_no_share():
    async with MllmServer(script=lambda _: "nothing") as server:
        found = await compare([duel(0)], settings(server), grounders=("qwen2.5-vl", "gpt-5"))
    assert len(found.warnings) == 1
    summary = found.summary()
    assert (summary["a_share"], summary["position_bias"], summary["a_share_interval"]) == (None, None, None)


@pytest.mark.parametrize(
    ("iou", "score"),
    [(0, 1), (0.1999, 1), (0.2, 2), (0.3999, 2), (0.4, 3), (0.5999, 3), (0.6, 4), (0.7999, 4), (0.8, 5), (1, 5)],
)
def test_overlap_is_binned_as_released(iou, score):
    assert overlap_score(iou) == score


def test_two_empty_masks_agree_or_not_as_is_said():
    nothing = TRUTH & ~TRUTH
    assert (iou_of(nothing, nothing), iou_of(nothing, nothing, empty=0.0)) == (1, 0)
    assert iou_of(TRUTH, nothing) == 0
    assert iou_of(TRUTH, HALF) == 0.5


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('{"faithfulness": 4, "localization": 5, "robustness": 1, "overlap": "?"}', 0),
        ("Faithfulness: 4\nlocalization = 2\nrobustness - 3", 1),
        ('{"faithfulness": 7.5, "localization": "5", "robustness": 0}', 1),
        ('{"faithfulness": ..., "localization": 1.2.3, "robustness": 9', 1),
        ("", 3),
    ],
)
def test_what_the_released_judge_would_have_read(text, count):
    names = ("faithfulness", "localization", "robustness", "overlap")
    assert threes(ChatReply(content=text), names) == count
    assert threes(ChatReply(calls=(Call("rate_result", text),)), names) == count
