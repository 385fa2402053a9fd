"""Queries that a multimodal model grounds: recorded at its seams, replayed with everything between them for real."""

import pytest
from chat_ways import (
    BOTH,
    BUSY,
    FAILURES,
    TWO,
    WAYS,
    Memory,
    Model,
    cut_short,
    grounder_of,
    judged,
    seams,
    traced,
    way,
)
from fakes import WordToolbox, ask, scene

from geoseg_agent.errors import (
    EndpointRefused,
    GeoSegError,
    ReplayMismatch,
    TraceCorrupt,
    TraceIncomplete,
)
from geoseg_agent.grounding.chat import (
    Call,
    ChatReply,
    Frame,
)
from geoseg_agent.trace.jsontext import compact, parse
from geoseg_agent.trace.numbering import step_numbers
from geoseg_agent.trace.replay import replay, replay_live
from geoseg_agent.trace.report import write_report
from geoseg_agent.trace.seal import reseal
from geoseg_agent.trace.store import checked, load
from geoseg_agent.trace.tape import grounder_from_trace
from geoseg_agent.types import GroundingReply, Target
from geoseg_tools.geometry import Box
from geoseg_tools.masks import Masks


@pytest.mark.parametrize("name", WAYS)
async def test_a_query_replays_to_the_same_masks(tmp_path, name):
    answer, trace = await way(tmp_path, **WAYS[name])
    assert not isinstance(answer, GeoSegError)
    found = (await replay(answer.trace_path)).answer
    assert found.trace_id == answer.trace_id
    assert not found.image.scene.has_pixels
    assert (found.mask == answer.mask).all()
    assert (found.status, found.confidence, found.reasoning, found.notes, found.engine) == (
        answer.status,
        answer.confidence,
        answer.reasoning,
        answer.notes,
        answer.engine,
    )
    for a, b in zip(found.targets, answer.targets, strict=True):
        assert (a.rule, a.roi, a.score, a.phrase) == (b.rule, b.roi, b.score, b.phrase)
    assert (trace.prompt is None) == (name == "box")


@pytest.mark.parametrize("name", FAILURES)
async def test_a_failed_query_fails_again_with_the_same_error(tmp_path, name):
    how, kind = FAILURES[name]
    error, trace = await way(tmp_path, **how)
    assert isinstance(error, kind)
    found = await replay(trace)
    assert type(found.error) is type(error)
    assert (found.error.code, found.error.message, found.error.hint) == (
        error.code,
        trace.error.message,
        error.hint,
    )


# what is recorded


async def test_the_steps_say_what_crossed_the_seams(tmp_path):
    answer, trace = await traced(tmp_path, BUSY, ChatReply(content="no"), TWO, cache=Memory())
    assert seams(trace)[:6] == ["endpoint", "cache", "sent", "chat", "chat", "chat"]
    assert {step.target for step in trace.steps[:6]} == {None}
    assert {step.target for step in trace.steps[6:]} == {1, 2}
    terms, cache, sent, *chats = trace.steps[:6]
    assert terms.input.model_dump() == {"address": "http://models.example:8000/v1", "model": "seer-2"}
    assert terms.output.model_dump()["read"] == "norm1000"
    assert terms.output.verdict.scale == [1.0, 0.99]
    assert (cache.output, cache.error) == (None, None)
    assert sent.input.window == [0, 0, 80, 60]
    assert sent.input.overlay is None
    assert (sent.output.size, sent.output.media_type) == ([96, 128], "image/jpeg")
    assert sent.output.bytes > 20
    busy, no, two = chats
    assert (busy.error.type, busy.error.message, busy.output) == ("EndpointUnavailable", BUSY.message, None)
    assert (no.output.content, no.output.calls) == ("no", [])
    assert two.output.model_dump() == {
        "content": None,
        "reasoning": None,
        "calls": [{"name": "segment_targets", "arguments": TWO.calls[0].arguments}],
        "refusal": None,
        "finish": "stop",
        "stopped": "answer",
        "usage": {"prompt": 1000, "completion": 50},
        "request_id": "req-1",
    }
    assert busy.input == no.input != two.input
    assert [message.role for message in two.input.messages] == ["system", "user", "assistant", "user"]
    assert two.input.messages[1].image == sent.output.sha256
    assert trace.prompt.name == "grounding"
    assert answer.engine == trace.engine == "mllm:seer-2+word-tools"


async def test_a_hit_of_the_cache_is_recorded_and_asks_nobody(tmp_path):
    kept = GroundingReply("found", (Target(Box(4, 4, 40, 40), "both kept", 0.5),), "known", ("a note",))
    answer, trace = await traced(tmp_path, cache=Memory(kept))
    assert seams(trace)[:2] == ["endpoint", "cache"]
    assert "chat" not in seams(trace)
    found = await replay(trace)
    assert (found.answer.mask == answer.mask).all()
    assert found.answer.notes == answer.notes


async def test_a_reply_is_on_the_disk_before_it_is_used(tmp_path):
    seen = []

    class Watching(WordToolbox):
        async def similarity(self, crop, phrase):
            (journal,) = tmp_path.glob("*.journal")
            seen.append(journal.read_bytes())
            return await super().similarity(crop, phrase)

    grounder = grounder_of(Model(BOTH))
    await ask(tmp_path, "where?", grounder=grounder, toolbox=Watching(), model="seer-2")
    lines = [parse(line) for line in seen[0].splitlines()]
    assert [line["seam"] for line in lines[1:4]] == ["endpoint", "sent", "chat"]


async def test_steps_are_in_the_order_in_which_they_ended_though_some_wait_for_the_disk(tmp_path):
    for seed in range(12):
        replies = {number: (BUSY,) * (number % 3) + (BOTH,) for number in range(8)}
        _, trace = await traced(tmp_path, seeds=replies, samples=8, attempts=4 + seed % 2)
        assert [step.index for step in trace.steps] == list(range(len(trace.steps)))
        assert (await replay(trace)).answer is not None


async def test_no_picture_key_or_header_gets_into_a_trace(tmp_path):
    canary = "sk-canary-0123456789"
    _, trace = await traced(tmp_path, TWO, judged(9), verify_rounds=1, api_key=canary)
    (path,) = tmp_path.iterdir()
    page = write_report(trace, tmp_path / "page.html", scene()).read_text()
    for text in (path.read_text(), page):
        assert canary not in text
        assert "picture'" not in text
        assert "\\u00ff\\u00d8" not in text
        assert "authorization" not in text.lower()


@pytest.mark.parametrize(
    "text",
    [
        "\ud800",
        "\x00\x01\x1b[31m",
        "\ud83d\ude00",
        "x" * 1_000_000,
        "\u202etxt",
        "<script>alert(1)</script>",
        "\n" * 50,
    ],
)
async def test_whatever_a_model_writes_comes_back_and_shows_as_text(tmp_path, text):
    odd = ChatReply(
        content=text, reasoning=text, calls=(Call(text[:100], text),), refusal=text, finish=text, request_id=text
    )
    answer, trace = await traced(tmp_path, odd, BOTH)
    first = next(step for step in trace.steps if step.seam == "chat")
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    assert first.output.content == first.output.calls[0].arguments == whole
    assert ((await replay(answer.trace_path)).answer.mask == answer.mask).all()
    page = write_report(trace, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert not set(page) & set("\x00\x1b\u202e")
    assert len(page) < 500_000


async def test_an_error_of_the_endpoint_with_odd_characters_is_kept(tmp_path):
    error, trace = await traced(tmp_path, EndpointRefused("he said \ud800\x00", hint="\udfff"))
    assert (error.message, trace.error.message, trace.error.hint) == (error.message, error.message, "\udfff")
    assert str((await replay(trace)).error) == str(error)


# the same text, another prompt, other terms


async def test_another_prompt_is_refused(tmp_path):
    _, trace = await traced(tmp_path, BOTH)
    tree = trace.model_dump(by_alias=True)
    for change in ({"version": "v99"}, {"name": "nothing"}, {"sha256": "0" * 64}):
        changed = checked(reseal({**tree, "prompt": {**tree["prompt"], **change}}), "x")
        with pytest.raises(ReplayMismatch, match="prompt"):
            await replay(changed)


@pytest.mark.parametrize(
    "terms", [{"asked": Frame("pixels")}, {"read": Frame("norm1000", "yxyx")}, {"max_targets": 1}, {"model": "other"}]
)
async def test_terms_that_change_what_is_asked_or_read_are_noticed(tmp_path, terms):
    _, trace = await traced(tmp_path, TWO)
    tree = parse(compact(trace.model_dump(by_alias=True)))
    values = {name: str(value) if isinstance(value, Frame) else value for name, value in terms.items()}
    tree["steps"][0]["output"].update(values)
    with pytest.raises(ReplayMismatch):
        await replay(checked(reseal(tree), "x"))


async def test_a_box_moved_in_a_reply_moves_the_crop_and_is_noticed(tmp_path):
    _, trace = await traced(tmp_path, TWO)
    tree = parse(compact(trace.model_dump(by_alias=True)))
    chat = next(step for step in tree["steps"] if step["seam"] == "chat")
    call = chat["output"]["calls"][0]
    call["arguments"] = call["arguments"].replace("450", "600")
    with pytest.raises(ReplayMismatch, match=r"input\.roi|input\.box"):
        await replay(checked(reseal(tree), "x"))


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": None},
        {"hints": {"box": [1, 1, 9, 9], "points": [], "phrase": None}},
    ],
)
async def test_what_cannot_go_together_is_corrupt(tmp_path, change):
    _, trace = await traced(tmp_path, BOTH)
    tree = trace.model_dump(by_alias=True)
    with pytest.raises(TraceCorrupt, match="prompt"):
        checked(reseal({**tree, **change}), "x")


async def test_a_grounder_and_a_model_in_one_trace_are_corrupt(tmp_path):
    _, trace = await traced(tmp_path, BOTH)
    ground = load((await ask(tmp_path / "other", "both")).trace_path).steps[0]
    tree = trace.model_dump(by_alias=True)
    steps = [{**ground.model_dump(), "index": 0}, *({**s, "index": s["index"] + 1} for s in tree["steps"])]
    with pytest.raises(TraceCorrupt, match="grounder was asked without"):
        checked(reseal({**tree, "steps": steps}), "x")


# interrupted


@pytest.mark.parametrize("name", ["all of it", "samples", "corrected", "missed"])
async def test_an_interrupted_trace_replays_its_prefix(tmp_path, name):
    _, trace = await way(tmp_path, **WAYS[name])
    for count in range(len(trace.steps) + 1):
        path = cut_short(tmp_path / str(count), trace, count)
        done = sum(step.error is None for step in trace.steps[:count])
        with pytest.raises(TraceIncomplete, match=f"{done} of {count} recorded steps replayed"):
            await replay(path)


async def test_a_query_that_waits_for_its_model_is_interrupted_there(tmp_path):
    _, trace = await traced(tmp_path, ChatReply(content="no"), deadline=0.3)
    assert trace.status == "interrupted"
    assert [(s.seam, s.error.code) for s in trace.steps if s.error is not None] == [("chat", "cancelled")]
    with pytest.raises(TraceIncomplete, match="waits for calls that were cancelled"):
        await replay(trace)


async def asked_again(path, image=None, folder="none", hints=None):
    grounder = grounder_from_trace(str(path))
    return await ask(folder, "where is it?", grounder=grounder, image=image, hints=hints)


@pytest.mark.parametrize("name", ["all of it", "missed", "two", "samples"])
async def test_an_interrupted_query_goes_on_from_the_replies_that_were_paid(tmp_path, name):
    answer, trace = await way(tmp_path, **WAYS[name])
    last = max(step.index for step in trace.steps if step.seam == "chat")
    for count in range(len(trace.steps) + 1):
        path = cut_short(tmp_path / str(count), trace, count)
        again = await asked_again(path)
        if count > last:
            assert (again.mask == answer.mask).all()
            assert again.confidence == answer.confidence
        else:
            assert isinstance(again, TraceIncomplete)
            assert "interrupted before this call" in again.message


async def test_a_query_cut_off_in_its_review_goes_on_without_it_and_says_so(tmp_path):
    answer, trace = await way(tmp_path, **WAYS["corrected"])
    first = max(step.index for step in trace.steps if step.seam == "similarity" and step.target <= 2)
    for count in range(first, len(trace.steps) + 1):
        again = await asked_again(cut_short(tmp_path / str(count), trace, count))
        assert again.status == "found"
        assert len(again.targets) == 2
        chats = sum(step.seam == "chat" for step in trace.steps[:count])
        assert any("was interrupted before" in note for note in again.notes) == (chats < 3)
    assert (again.mask == answer.mask).all()


async def test_a_resumed_query_leaves_a_whole_trace_of_its_own(tmp_path):
    _, trace = await way(tmp_path, **WAYS["all of it"])
    path = cut_short(tmp_path / "cut", trace, len(trace.steps) - 2)
    again = await asked_again(path, folder=tmp_path / "again")
    resumed = load(again.trace_path)
    assert seams(resumed)[:3] == ["endpoint", "sent", "chat"]
    assert resumed.steps[1].output.bytes is None
    assert resumed.prompt == trace.prompt


async def test_a_tape_of_a_model_is_for_its_own_query_and_picture(tmp_path):
    answer, _ = await traced(tmp_path, TWO)
    other = await asked_again(answer.trace_path, image=scene(1))
    assert isinstance(other, ReplayMismatch)
    assert "input.image" in other.message


# live tools


async def test_live_tools_take_the_replies_from_the_trace(tmp_path):
    for name in ("two", "samples", "corrected", "corrected twice", "all of it"):
        answer, _ = await way(tmp_path, **WAYS[name])
        live = await replay_live(answer.trace_path, scene(), toolbox=WordToolbox())
        assert live.ious == (1.0,) * len(answer.targets)


async def test_live_tools_that_changed_are_shown_the_reviews_of_then(tmp_path):
    class Fewer(WordToolbox):
        async def from_text(self, handle, phrase):
            found = await super().from_text(handle, phrase)
            masks = found.masks
            masks[:, :2] = False
            return Masks.of(masks, found.scores, found.notes)

    answer, _ = await way(tmp_path, **WAYS["corrected"])
    live = await replay_live(answer.trace_path, scene(), toolbox=Fewer())
    assert len(live.ious) == 2
    assert 0 < min(live.ious) < 1


# which steps belong to which target


async def test_a_corrected_target_is_shown_with_its_own_steps(tmp_path):
    assert step_numbers((await way(tmp_path, **WAYS["two"]))[1]) == [1, 2]
    assert step_numbers((await way(tmp_path, **WAYS["corrected"]))[1]) == [3, 2]
    assert step_numbers((await way(tmp_path, **WAYS["made worse"]))[1]) == [1, 2]
    assert step_numbers((await way(tmp_path, **FAILURES["tool"][0]))[1]) == []


async def test_a_failed_trace_with_a_request_too_many_is_noticed(tmp_path):
    _, trace = await way(tmp_path, **FAILURES["gone"][0])
    tree = trace.model_dump(by_alias=True)
    more = parse(compact({**tree["steps"][-1], "index": len(tree["steps"])}))
    with pytest.raises(ReplayMismatch, match="never asks for it"):
        await replay(checked(reseal({**tree, "steps": [*tree["steps"], more]}), "x"))
