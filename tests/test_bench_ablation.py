"""Ablation from one recorded run: what running the variation alone gives, and nothing that need not run."""

import asyncio
from contextlib import asynccontextmanager

import numpy as np
import pytest
from fakes import WordGrounder, WordToolbox, ask, scene

from geoseg_agent import Agent, ConfigError, Hints, ReplayMismatch, Settings, TraceError
from geoseg_agent.bench.ablation import Live, ablate
from geoseg_agent.bench.memo import Calls, MemoToolbox
from geoseg_agent.bench.variations import FULL, TABLE_3, UNGROUNDED, Variation, margins, needs, sweep
from geoseg_agent.errors import TraceCorrupt
from geoseg_agent.grounding.review import Review, TargetVerdict
from geoseg_agent.samples import scene as drawn
from geoseg_agent.trace.store import load
from geoseg_tools import Box

FREE = (*(one for one in TABLE_3 if one.name != "no-refinement"), *sweep("gamma", (0.0, 0.05, 0.3, 1.0)))
POINTS = (
    *sweep("k", (1, 2, 3, 40)),
    *sweep("tau", (0.0, 0.6, 1.0)),
    *sweep("heat_norm", ("minmax", "none")),
)
REGIONS = (
    *TABLE_3[1:2],
    *margins(((0.0, 0.0), (0.2, 0.1), (0.5, 0.05))),
    *sweep("min_crop", (0, 48)),
    Variation("many", {"alpha": 0.3, "k": 2, "gamma": 0.0}),
    *UNGROUNDED,
)
ALL = (*FREE, *POINTS, *REGIONS)
QUERIES = (
    "both of them",
    "points here",
    "text there",
    "none at all",
    "both points text none apart silent",
    "both sure within maybe text sure",
)


class Counting(WordToolbox):
    """Word tools that remember what they were asked, and how many crops were encoded at once."""

    def __init__(self, **values):
        super().__init__(**values)
        self.encoded, self.asked, self.most = [], [], 0

    @asynccontextmanager
    async def encode(self, crop):
        self.encoded.append((tuple(crop.roi), tuple(crop.box)))
        async with super().encode(crop) as handle:
            self.most = max(self.most, self.alive)
            yield handle

    async def similarity(self, crop, phrase):
        self.asked.append(("similarity", tuple(crop.roi), tuple(crop.box), phrase))
        return await super().similarity(crop, phrase)

    async def from_points(self, handle, points, positive):
        self.asked.append(("points", tuple(handle.roi), tuple(handle.box), str(points.tolist()), str(positive)))
        return await super().from_points(handle, points, positive)

    async def from_text(self, handle, phrase):
        self.asked.append(("text", tuple(handle.roi), tuple(handle.box), phrase))
        return await super().from_text(handle, phrase)


async def recorded(folder, query, **values):
    """The trace of one query with the full method, whatever came of it."""
    before = set(folder.glob("*.json"))
    await ask(folder, query, **values)
    (path,) = set(folder.glob("*.json")) - before
    return load(path)


def plain(answer):
    """Everything that a variation decides, as values that compare."""
    return (
        answer.status,
        answer.confidence,
        answer.engine,
        [
            (
                tuple(t.box),
                tuple(t.roi),
                t.phrase,
                t.target.confidence,
                t.rule,
                t.score,
                t.areas,
                t.similarity,
                t.notes,
                t.mask.tobytes(),
                [(i.id, tuple(i.box), i.score, i.pixels.tobytes()) for i in t.instances],
                [getattr(t.keypoints, name).tolist() for name in ("points", "scores", "cells", "raw")],
            )
            for t in answer.targets
        ],
        answer.mask.tobytes(),
    )


@pytest.mark.parametrize("query", QUERIES)
async def test_every_variation_is_what_it_is_alone(tmp_path, query):
    trace = await recorded(tmp_path, query)

    outcomes = await ablate(trace, ALL, Live(scene(), WordToolbox()))

    assert [outcome.variation for outcome in outcomes] == list(ALL)
    for outcome in outcomes:
        alone = await ask(tmp_path, query, **outcome.variation.changes)
        assert plain(outcome.answer) == plain(alone), outcome.variation.name


@pytest.mark.parametrize("profile", ["paper", "released-code"])
async def test_the_constants_that_no_setting_names_stay_those_of_the_recorded_profile(tmp_path, profile):
    def square(tools):
        inner = tools.similarity

        async def similarity(crop, phrase):
            return (await inner(crop, phrase))[:6, :6]

        tools.similarity = similarity
        return tools

    query, variations = "both points of text", (*FREE, *REGIONS)
    trace = await recorded(tmp_path, query, profile=profile, toolbox=square(WordToolbox()))

    for outcome in await ablate(trace, variations, Live(scene(), square(WordToolbox()))):
        alone = await ask(
            tmp_path, query, toolbox=square(WordToolbox()), **{"profile": profile, **outcome.variation.changes}
        )
        assert plain(outcome.answer) == plain(alone), outcome.variation.name


@pytest.mark.parametrize(
    "hints",
    [
        Hints(points=((20, 20), (5, 5, False), (79, 59))),
        Hints(box=(10, 8, 50, 44)),
        Hints(box=(10, 8, 50, 44), points=((20, 20),), phrase="text of mine"),
        Hints(phrase="apart of mine"),
    ],
    ids=["points", "box", "all", "phrase"],
)
async def test_what_the_caller_knew_still_counts(tmp_path, hints):
    trace = await recorded(tmp_path, "both of text", hints=hints)

    for outcome in await ablate(trace, ALL, Live(scene(), WordToolbox())):
        alone = await ask(tmp_path, "both of text", hints=hints, **outcome.variation.changes)
        assert plain(outcome.answer) == plain(alone), outcome.variation.name


async def test_no_grounder_is_ever_built(tmp_path):
    trace = await recorded(tmp_path, "both of them", grounder=WordGrounder())
    named = trace.model_copy(update={"settings": {**trace.settings, "grounder": "no_such_module:grounder"}})

    assert len(await ablate(named, ALL, Live(scene(), WordToolbox()))) == len(ALL)


@pytest.mark.parametrize("query", QUERIES)
async def test_every_crop_is_encoded_once_and_alone_and_no_call_is_made_twice(tmp_path, query):
    trace, tools = await recorded(tmp_path, query), Counting()

    outcomes = await ablate(trace, ALL, Live(scene(), tools))

    assert len(set(tools.encoded)) == len(tools.encoded)
    assert tools.most == 1
    assert tools.alive == 0
    assert len(set(tools.asked)) == len(tools.asked)
    ran = sum((outcome.ran for outcome in outcomes), Calls())
    assert (ran.encode, ran.live - ran.encode) == (len(tools.encoded), len(tools.asked))


@pytest.mark.parametrize("query", QUERIES)
async def test_routes_and_gamma_need_no_tool_at_all(tmp_path, query):
    trace = await recorded(tmp_path, query)

    outcomes = await ablate(trace, FREE)

    assert sum(outcome.ran.live for outcome in outcomes) == 0
    assert all(needs(one, trace).runs == "nothing" for one in FREE)


async def test_points_run_only_where_keypoints_change(tmp_path):
    trace, tools = await recorded(tmp_path, "both points apart of them"), Counting()

    outcomes = await ablate(trace, POINTS, Live(scene(), tools))

    kept = [[tuple(map(tuple, t.keypoints.points)) for t in o.answer.targets] for o in outcomes]
    was = [tuple(map(tuple, target.keypoints.points)) for target in trace.result.targets]
    new = {(i, points) for row in kept for i, points in enumerate(row) if points and points != was[i]}
    assert len(new) > 3
    assert [call[0] for call in tools.asked] == ["points"] * len(new)
    assert len(tools.encoded) == 3
    assert {needs(one, trace).runs for one in POINTS} == {"nothing", "points where keypoints differ"}
    assert needs(Variation("same", {"k": 3}), trace).runs == "nothing"


async def test_a_region_that_stays_the_same_needs_nothing(tmp_path):
    trace, tools = await recorded(tmp_path, "both of them"), Counting()
    wide = Hints(box=(0, 0, 80, 60))
    at_the_border = await recorded(tmp_path, "both of them", hints=wide)

    (moved,) = await ablate(trace, TABLE_3[1:2], Live(scene(), tools))
    (same,) = await ablate(at_the_border, TABLE_3[1:2])

    assert moved.ran == Calls(encode=1, similarity=1, points=1, text=1)
    assert same.ran == Calls(hits=3)
    assert needs(TABLE_3[1], trace).runs == "everything on another region"


async def test_without_live_tools_a_miss_says_which_call_and_why(tmp_path):
    trace = await recorded(tmp_path, "both of them")

    with pytest.raises(ReplayMismatch) as caught:
        await ablate(trace, sweep("k", (1,)))
    for words in ("points, target 1", "no live tools", "input.points", "give the image and the tools"):
        assert words in str(caught.value)
    with pytest.raises(ReplayMismatch, match=r"similarity, target 1.*input\.roi"):
        await ablate(trace, [Variation("wide", {"beta": 0.9, "variant": "points"})])
    with pytest.raises(ReplayMismatch, match=r"text, target 1.*input\.roi"):
        await ablate(trace, [Variation("wide", {"beta": 0.9, "variant": "text"})])


async def test_a_failed_query_fails_under_every_grounded_variation(tmp_path):
    trace = await recorded(tmp_path, "broken thing")

    outcomes = await ablate(trace, ALL, Live(scene(), WordToolbox()))

    for outcome in outcomes:
        if not outcome.method.plan.grounds:
            continue
        assert outcome.answer is None
        assert outcome.error.code == "tool"
        assert "told to break" in outcome.error.message
    assert {o.variation.name: o.answer is None for o in outcomes if not o.method.plan.grounds} == {
        "clip-sam3": False,  # without the text prompt nothing breaks
        "sam3-text": True,
    }


async def test_nothing_found_stays_nothing(tmp_path):
    trace = await recorded(tmp_path, "where is it")

    outcomes = await ablate(trace, FREE)

    assert {outcome.answer.status for outcome in outcomes} == {"not_found"}
    assert not any(outcome.answer.mask.any() for outcome in outcomes)


async def test_a_tool_that_crashes_is_the_failure_of_that_variation_only(tmp_path):
    class Fragile(WordToolbox):
        async def from_points(self, handle, points, positive):
            raise RuntimeError("points were told to break")

    trace = await recorded(tmp_path, "both of them")

    one, full = await ablate(trace, (*sweep("k", (1,)), FULL), Live(scene(), Fragile()))

    assert (one.answer, one.error.code) == (None, "tool")
    assert full.error is None
    assert full.answer.mask.any()


async def test_live_tools_and_picture_must_be_those_of_the_trace(tmp_path):
    class Others(WordToolbox):
        engine = "other-tools"

    class Heavier(WordToolbox):
        def __init__(self):
            super().__init__()
            self.weights = {"words.bin": "1" * 64}

    trace = await recorded(tmp_path, "both of them")

    with pytest.raises(ConfigError, match=r"words\+word-tools.*other-tools.*cannot be mixed"):
        await ablate(trace, ALL, Live(scene(), Others()))
    with pytest.raises(ConfigError, match="weights"):
        await ablate(trace, ALL, Live(scene(), Heavier()))
    with pytest.raises(TraceError, match="not the picture of the trace"):
        await ablate(trace, ALL, Live(scene(1), WordToolbox()))
    assert await ablate(trace, FREE, Live(scene(), Heavier()))  # nothing of theirs is used


@pytest.mark.parametrize(
    ("variation", "words"),
    [
        (Variation("x", {"kk": 3}), "'kk', which is no setting"),
        (Variation("x", {"picker": "threshold"}), "'picker', which is no setting"),
        (Variation("x", {"k": 0}), "setting k"),
        (Variation("x", {"variant": "no-refinement", "alpha": 0.5}), "has no margins"),
        (Variation("x", {"text_threshold": 0.3}), "none were given that were built for it"),
        (Variation("full"), "two variations are called 'full'"),
    ],
)
async def test_what_cannot_be_is_refused(tmp_path, variation, words):
    trace = await recorded(tmp_path, "both of them")
    with pytest.raises(ConfigError, match=words):
        await ablate(trace, (FULL, variation), Live(scene(), WordToolbox()))


@pytest.mark.parametrize("variant", ["points", "text", "no-refinement", "clip-sam3"])
async def test_an_ablation_starts_from_the_full_method(tmp_path, variant):
    trace = await recorded(tmp_path, "both of them", variant=variant)
    with pytest.raises(ConfigError, match=f"variant={variant}.*full method"):
        await ablate(trace, (FULL,), Live(scene(), WordToolbox()))


async def test_a_recorded_result_that_does_not_come_out_any_more_is_noticed(tmp_path):
    trace = await recorded(tmp_path, "both of them")
    (target,) = trace.result.targets
    other = target.model_copy(update={"score": 0.125, "rule": "text"})
    result = trace.result.model_copy(update={"targets": [other]})

    with pytest.raises(ReplayMismatch, match=r"target 1.*rule, score differ"):
        await ablate(trace.model_copy(update={"result": result}), (FULL,))
    assert await ablate(trace.model_copy(update={"result": result}), TABLE_3[2:])


@pytest.mark.parametrize("box", [[0, 0, 500, 500], [5, 5, 5, 9], [-3, 0, 10, 10]])
async def test_a_target_that_lies_nowhere_is_named(tmp_path, box):
    trace = await recorded(tmp_path, "both of them")
    target = trace.result.targets[0].model_copy(update={"box": box})
    result = trace.result.model_copy(update={"targets": [target]})
    outside = trace.hints.model_copy(update={"box": [0, 0, 500, 500]})

    with pytest.raises(TraceCorrupt, match="image, hints or targets"):
        await ablate(trace.model_copy(update={"result": result}), (FULL,))
    with pytest.raises(TraceCorrupt, match="image, hints or targets"):
        await ablate(trace.model_copy(update={"hints": outside}), UNGROUNDED)


async def test_the_targets_of_a_reviewed_result_are_the_corrected_ones(tmp_path):
    class Reviewing(WordGrounder):
        rounds = 1

        async def review(self, image, query, targets):
            moved = tuple(targets[0].box) == (2, 3, 40, 30)
            box = (12, 9, 60, 50)
            verdict = TargetVerdict("reground", Box(*box)) if moved else TargetVerdict()
            return Review((verdict,) * len(targets), 5.0 if moved else 8.0)

    trace = await recorded(tmp_path, "both of them", grounder=Reviewing())
    assert trace.result.targets[0].box == [12, 9, 60, 50]

    full, points, _ = await ablate(trace, (FULL, TABLE_3[3], *sweep("k", (1,))), Live(scene(), WordToolbox()))

    hints = Hints(box=(12, 9, 60, 50), phrase="both of both of them")
    alone = await ask(tmp_path, "x", hints=hints, variant="points")
    assert points.ran.live == 0
    assert np.array_equal(points.answer.mask, alone.mask)
    assert full.answer.confidence == 0.8


async def test_memory_alone_is_a_toolbox_for_an_agent(tmp_path):
    trace = await recorded(tmp_path, "both text of them")
    memo = MemoToolbox(trace)
    settings = Settings(traces="none", variant="text")
    async with Agent(settings, grounder=WordGrounder(), toolbox=memo) as agent:
        answer = await agent.segment(scene(), "both text of them")
    alone = await ask(tmp_path, "both text of them", variant="text")
    assert np.array_equal(answer.mask, alone.mask)
    assert memo.calls == Calls(hits=2)


async def test_the_offline_default_on_a_drawn_scene_with_one_place_for_encodings(tmp_path):
    made = drawn(7, (256, 256))
    picture = np.array(made.pixels)
    more = Variation("more", {"k": 8, "heat_norm": "minmax", "gamma": 0.2})
    variations = (*TABLE_3, *UNGROUNDED[:1], more, *margins(((0.0, 0.3),)))
    queries = ["Segment the fields.", "Show me the roads."]

    async def ask_all(**changes):
        async with Agent(Settings(traces=tmp_path, max_encoded=1, **changes)) as agent:
            return [await agent.segment(picture, query) for query in queries]

    traces = [load(answer.trace_path) for answer in await ask_all()]
    assert [len(trace.result.targets) for trace in traces] == [4, 0]
    async with Agent(Settings(traces="none", max_encoded=1)) as agent, asyncio.timeout(60):
        live = Live(await agent._read(picture), agent._guarded.inner)
        ablated = [await ablate(trace, variations, live) for trace in traces]

    for number, variation in enumerate(variations):
        for outcomes, alone in zip(ablated, await ask_all(**variation.changes), strict=True):
            assert plain(outcomes[number].answer) == plain(alone), variation.name
    assert any(outcome.answer.mask.any() for outcomes in ablated for outcome in outcomes)
