"""Attempts to get a wrong, misplaced or empty answer out of grounding without a word; each must fail.

Raw replies stand in the corpus (drafts.jsonl, reasoning.jsonl); here is what takes more than one reply.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from asking import RED, answer
from grounding_terms import sent_as, terms_for
from mllm_server import MllmServer

from geoseg_agent.correct import correct
from geoseg_agent.errors import InvalidReply
from geoseg_agent.grounding.agreement import merge
from geoseg_agent.grounding.chat import FRAMES, Call, ChatReply, Verdict
from geoseg_agent.grounding.endpoint.verdicts import keep
from geoseg_agent.grounding.messages import prompt_of
from geoseg_agent.grounding.reply.contract import shown
from geoseg_agent.grounding.reply.parse import parse
from geoseg_agent.grounding.reply.rejected import RejectedReply
from geoseg_agent.grounding.review import Review, TargetVerdict, parse_review
from geoseg_agent.imagery import Image
from geoseg_agent.trace.replay import replay
from geoseg_agent.trace.store import load
from geoseg_agent.types import Areas, GroundingReply, Similarity, Target, TargetMask
from geoseg_tools.geometry import Box, whole
from geoseg_tools.keypoints import Keypoints

DROPPED = json.dumps({"verdicts": [{"target": 1, "verdict": "drop", "bbox_2d": [], "label": ""}], "score": 5})
ABSENT = '{"status": "not_found", "targets": [], "reasoning": "none"}'
UNSURE = '{"status": "ambiguous", "targets": [], "reasoning": "which?"}'


def found_at(*box, status="found"):
    return json.dumps({"status": status, "targets": [{"bbox_2d": list(box), "label": "tank"}], "reasoning": ""})


async def replayed(found):
    path = found.trace_path if hasattr(found, "trace_path") else Path("traces") / f"{found.trace_id}.json"
    return await replay(load(path))


# Reviews


@pytest.mark.parametrize(
    "reply",
    [
        ChatReply(content=DROPPED[:40], reasoning=f"draft {DROPPED}", finish="length"),
        ChatReply(content=f"{DROPPED} wait: {DROPPED[:40]}", finish="length"),
        ChatReply(content=f'{DROPPED} wait: {{"verdicts": none}}'),
        ChatReply(content=f"<think>{DROPPED}</think>{DROPPED[:40]}"),
        ChatReply(content=f"<think>{DROPPED} no, because"),
        ChatReply(content="", reasoning=f"{DROPPED} no, because"),
        ChatReply(content="Nothing is to be dropped.", reasoning=f"draft {DROPPED}"),
        ChatReply(content=DROPPED, refusal="I cannot help with that."),
        ChatReply(calls=(Call("review_targets", DROPPED), Call("review_targets", DROPPED[:40]))),
        ChatReply(content=f'{{"name": "review_targets", "arguments": {DROPPED}, "arguments": {DROPPED}}}'),
    ],
    ids=[
        "answer cut off, draft in reasoning",
        "second answer cut off",
        "second answer is no JSON",
        "draft in think tags",
        "thoughts that never end",
        "reasoning that goes on",
        "denied in prose",
        "refused",
        "second call cut off",
        "two arguments",
    ],
)
def test_a_draft_of_a_review_changes_nothing(reply):
    with pytest.raises(RejectedReply):
        parse_review(reply, terms_for(), sent_as(), 2)


def mask_of(target):
    points = Keypoints(np.zeros((0, 2), int), np.zeros(0), np.zeros((0, 2), int), np.zeros(0))
    mask = np.ones(target.box.size, dtype=bool)
    return TargetMask(target, target.box, mask, (), Areas(1, 1, 1), "both", 0.5, points, Similarity(0, 1, 0.5))


class Reviewer:
    """Says its reviews one after the other."""

    def __init__(self, *reviews):
        self.rounds = len(reviews) - 1
        self.reviews = list(reviews)

    async def review(self, image, query, targets):
        return self.reviews.pop(0)


async def corrected(reviewer, *targets):
    """The targets after the reviews, and the numbers under which new ones were segmented."""
    numbers = []

    async def segment(target, number):
        numbers.append(number)
        return mask_of(target)

    result = await correct(reviewer, segment, None, None, tuple(map(mask_of, targets)))
    return [mask.target for mask in result.targets], numbers


async def test_numbers_of_targets_stay_apart_where_some_were_dropped():
    drop, again = TargetVerdict("drop"), TargetVerdict("reground", Box(5, 5, 9, 9))
    reviewer = Reviewer(
        Review((drop, drop, again), 1), Review((again,), 2), Review((again,), 3), Review((TargetVerdict(),), 4)
    )
    _, numbers = await corrected(reviewer, *(Target(Box(k, k, k + 9, k + 9), "thing") for k in (0, 20, 40)))
    assert len(numbers) == len(set(numbers)) == 3
    assert min(numbers) > 3


async def test_a_box_that_a_review_moved_does_not_keep_the_confidence_of_the_old_one():
    reviewer = Reviewer(Review((TargetVerdict("reground", Box(50, 50, 60, 60)),), 3), Review((TargetVerdict(),), 8))
    (target,), _ = await corrected(reviewer, Target(Box(0, 0, 10, 10), "barn", 1.0))
    assert tuple(target.box) == (50, 50, 60, 60)
    assert target.confidence is None


# Samples


def said(status, *boxes):
    return GroundingReply(status, tuple(Target(Box(*box), "lake") for box in boxes))


def test_samples_that_call_the_query_ambiguous_do_not_become_absence():
    assert merge([said("ambiguous")] * 3, asked=3, max_targets=8).status == "ambiguous"


def test_samples_that_call_the_query_ambiguous_do_not_become_certainty():
    reply = merge([said("ambiguous", (0, 0, 9, 9))] * 3, asked=3, max_targets=8)
    assert (reply.status, len(reply.targets)) == ("ambiguous", 1)


def test_one_sample_that_found_nothing_is_no_majority_where_the_others_failed():
    reply = merge([said("not_found")], asked=3, max_targets=8)
    assert reply.status == "ambiguous"
    assert "no two halves of the 3 samples agree on whether it is there" in reply.notes[0]


@pytest.mark.parametrize("first", [ABSENT, UNSURE, found_at(100, 200, 300, 400)])
async def test_a_reply_with_samples_lost_is_not_kept_in_the_cache(first):
    async with MllmServer(script=[first, "no JSON", "no JSON"]) as server:
        poor = await answer(server, samples=3, attempts=1, cache="cache")
        rich = await answer(server, samples=3, attempts=1, cache="cache")
    assert any("samples gave no valid answer" in note for note in poor.notes)
    assert rich.status == "found"
    assert all(abs(a - b) <= 2 for a, b in zip(rich.targets[0].box, RED, strict=True))
    assert server.completions == 6
    await replayed(poor)


def move_what_is_cached():
    (file,) = Path("cache").glob("*.json")
    kept = json.loads(file.read_text("utf-8"))
    kept["reply"]["targets"][0]["box"] = [0, 0, 99999, 9]
    file.write_text(json.dumps(kept), "utf-8")


async def test_a_cached_box_that_is_not_on_the_picture_is_not_believed():
    async with MllmServer() as server:
        await answer(server, cache="cache")
        move_what_is_cached()
        found = await answer(server, cache="cache")
    assert all(abs(a - b) <= 2 for a, b in zip(found.targets[0].box, RED, strict=True))
    assert server.completions == 2
    await replayed(found)


# What the doctor found


@pytest.mark.parametrize(
    ("frame", "mixed", "words"),
    [
        (FRAMES["pixels"], (), "in pixels"),
        (None, ("norm1000", "pixels"), "in norm1000 and pixels"),
        (None, (), "in no known frame"),
    ],
)
async def test_boxes_read_against_the_doctors_verdict_are_told(frame, mixed, words):
    prompt = prompt_of("default").sha256
    async with MllmServer() as server:
        verdict = Verdict(frame, mixed, 0.9, (1.0, 1.0), (0.0, 0.0), 1.0, prompt, "2026-01-01T00:00:00+00:00")
        keep(Path("verdicts"), server.base_url, server.model, verdict)
        found = await answer(server, verdicts="verdicts")
        keep(Path("verdicts"), server.base_url, server.model, replace(verdict, frame=FRAMES["norm1000"], mixed=()))
        sure = await answer(server, verdicts="verdicts")
    assert words in found.notes[0]
    assert "may be misplaced" in found.notes[0]
    assert not any("doctor" in note for note in sure.notes)
    await replayed(found)


# Words


@pytest.mark.parametrize("value", ["\ud800", "\u202e", "\u009b31m", "\u2028", "\x1b[31m"])
def test_what_a_message_shows_can_be_printed_anywhere(value):
    text = shown({value: [value]})
    assert text.isprintable()
    text.encode("utf-8")


@pytest.mark.parametrize("status", ["\\ud800", "\\u202e", "\\u009b31m"])
async def test_the_error_about_an_odd_value_can_be_printed_and_replays(status):
    async with MllmServer(script=[f'{{"status": "{status}", "targets": []}}'] * 3) as server:
        error = await answer(server)
    assert isinstance(error, InvalidReply)
    str(error).encode("utf-8")
    assert error.message.isprintable()
    await replayed(error)


# Pictures


@pytest.mark.parametrize("frame", ["norm1000", "unit", "pixels-yxyx"])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 5000), (5000, 3), (20, 20000), (7, 7), (999, 1001)])
def test_whatever_the_size_an_accepted_box_lies_on_the_picture(size, frame):
    rng = np.random.default_rng(7)
    sent = sent_as((224, 4480) if size[1] > size[0] else (4480, 224), whole(size))
    ends = {"norm1000": (1000, 1000), "unit": (1, 1), "pixels-yxyx": (sent.size[0], sent.size[1])}[frame]
    for _ in range(200):
        numbers = rng.uniform(-0.03, 1.03, 4) * np.array([*ends, *ends])
        try:
            parsed = parse(ChatReply(content=found_at(*numbers.tolist())), terms_for(frame), sent)
        except RejectedReply:
            continue
        assert whole(size).contains(parsed.reply.targets[0].box)


@pytest.mark.parametrize("size", [(1, 1), (3, 5000), (20, 20000)])
async def test_odd_pictures_are_answered_or_refused_in_words(size):
    pixels = np.full((*size, 3), 128, dtype=np.uint8)
    async with MllmServer(script=[found_at(0, 0, 1000, 1000)]) as server:
        found = await answer(server, image=Image.from_array(pixels, name="odd"))
    assert tuple(found.targets[0].box) == tuple(whole(size))
    await replayed(found)
