"""The controller, through its seams: every rule, every hint, every way to fail, and nothing left behind."""

import asyncio
import io
import threading
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from fakes import WordGrounder, WordToolbox, scene

import geoseg_agent
from geoseg_agent import (
    Agent,
    ConfigError,
    DeadlineExceeded,
    Hints,
    Overloaded,
    QueryError,
    Settings,
    ToolFailed,
    errors,
)
from geoseg_agent.types import GroundingReply, Target
from geoseg_tools import Box, Masks, refine

IMAGE = scene()


def agent(tmp_path=None, *, grounder=None, toolbox=None, **settings):
    traces = "none" if tmp_path is None else tmp_path / "traces"
    return Agent(
        Settings(traces=traces, **settings), grounder=grounder or WordGrounder(), toolbox=toolbox or WordToolbox()
    )


@pytest.mark.parametrize(("word", "rule"), [("both", "both"), ("points", "points"), ("text", "text")])
async def test_each_rule_of_fusion_is_reached(word, rule):
    async with agent() as one:
        answer = await one.segment(IMAGE, f"sure {word}")

    (target,) = answer.targets
    assert (answer.status, target.rule) == ("found", rule)
    assert target.mask.shape == target.roi.size
    assert target.areas.mask == target.mask.sum() > 0
    assert answer.mask.sum() == target.mask.sum()
    assert answer.confidence == 0.5
    assert answer.engine == "words+word-tools"


async def test_without_evidence_the_mask_is_empty_and_the_rule_says_so():
    async with agent(toolbox=WordToolbox({"tau": 1.0, "heat_norm": "none"})) as one:
        answer = await one.segment(IMAGE, "none")

    assert [target.rule for target in answer.targets] == ["none"]
    assert not answer.mask.any()
    assert answer.targets[0].score is None


async def test_two_routes_that_do_not_overlap_give_an_empty_mask_and_a_note():
    class Apart(WordToolbox):
        async def from_points(self, handle, points, positive):
            masks = np.zeros((1, *handle.size), dtype=bool)
            masks[0, : handle.size[0] // 2] = True
            return Masks.of(masks)

        async def from_text(self, handle, phrase):
            masks = np.zeros((1, *handle.size), dtype=bool)
            masks[0, handle.size[0] // 2 :] = True
            return Masks.of(masks)

    async with agent(toolbox=Apart()) as one:
        answer = await one.segment(IMAGE, "both")

    assert (answer.status, answer.targets[0].rule) == ("found", "both")
    assert not answer.mask.any()
    assert any("do not overlap" in note for note in answer.notes)


async def test_not_found_is_an_answer():
    async with agent() as one:
        answer = await one.segment(IMAGE, "nothing of the kind")

    assert (answer.status, answer.targets, answer.confidence) == ("not_found", (), None)
    assert answer.mask.shape == IMAGE.size
    assert not answer.mask.any()


async def test_targets_keep_their_order_and_their_masks_unite():
    async with agent() as one:
        answer = await one.segment(IMAGE, "text both points")

    assert [target.rule for target in answer.targets] == ["text", "both", "points"]
    union = np.zeros(IMAGE.size, dtype=bool)
    for target in answer.targets:
        union[target.roi.slices] |= target.mask
    assert np.array_equal(answer.mask, union)


async def test_the_result_is_limited_to_within():
    async with agent() as one:
        free = (await one.segment(IMAGE, "text")).targets[0]
        bound = (await one.segment(IMAGE, "text within")).targets[0]

    limit = np.zeros(bound.roi.size, dtype=bool)
    limit[bound.box.relative_to(bound.roi).slices] = bound.target.within
    assert bound.areas.text == free.areas.text
    assert bound.areas.mask < free.areas.mask
    assert not (bound.mask & ~limit).any()


async def test_instances_of_several_masks_are_the_tools_own():
    async with agent() as one:
        (target,) = (await one.segment(IMAGE, "text")).targets

    assert [(instance.id, instance.score) for instance in target.instances] == [(1, 0.5), (2, 0.9)]
    assert np.array_equal(np.any([instance.mask for instance in target.instances], axis=0), target.mask)
    for instance in target.instances:
        assert target.roi.contains(instance.box)
        assert instance.pixels.any(axis=0).all()
        assert instance.pixels.any(axis=1).all()


async def test_instances_of_one_mask_are_its_components():
    async with agent() as one:
        (target,) = (await one.segment(IMAGE, "points")).targets

    assert sum(int(instance.pixels.sum()) for instance in target.instances) == target.areas.mask
    assert {instance.score for instance in target.instances} == {target.score}


async def test_a_box_from_the_caller_skips_the_grounding():
    async with agent() as one:
        answer = await one.segment(
            IMAGE, "refuse to ground text", hints=Hints(box=(5, 6, 45, 50), phrase="text here")
        )

    (target,) = answer.targets
    assert tuple(target.box) == (5, 6, 45, 50)
    assert target.roi == refine(Box(5, 6, 45, 50), IMAGE.size)
    assert target.phrase == "text here"
    assert (answer.engine, answer.confidence) == ("word-tools", None)


async def test_a_long_query_with_a_box_still_makes_a_phrase():
    async with agent() as one:
        answer = await one.segment(IMAGE, "text " + "very " * 100 + "long", hints=Hints(box=(5, 6, 45, 50)))

    assert len(answer.targets[0].phrase) <= 200


async def test_a_phrase_from_the_caller_replaces_the_grounders():
    async with agent() as one:
        answer = await one.segment(IMAGE, "both", hints=Hints(phrase="text instead"))

    assert [target.phrase for target in answer.targets] == ["text instead"]


async def test_points_join_the_keypoints_in_the_frame_of_the_region():
    seen = []

    class Watching(WordToolbox):
        async def from_points(self, handle, points, positive):
            seen.append((handle.roi, points.tolist(), positive.tolist()))
            return await super().from_points(handle, points, positive)

    async with agent(toolbox=Watching()) as one:
        hints = Hints(box=(20, 20, 60, 50), points=[(30, 25), (40, 45, False), (79, 59)])
        answer = await one.segment(IMAGE, "both", hints=hints)

    ((roi, points, positive),) = seen
    assert points[-2:] == [[30 - roi.x1, 25 - roi.y1], [40 - roi.x1, 45 - roi.y1]]
    assert positive[-2:] == [True, False]
    assert len(points) == len(answer.targets[0].keypoints) + 2
    assert any("(79, 59)" in note for note in answer.notes)


async def test_negative_points_alone_start_no_route():
    async with agent() as one:
        answer = await one.segment(IMAGE, "silent", hints=Hints(box=(20, 20, 60, 50), points=[(30, 30, False)]))

    assert len(answer.targets[0].keypoints) == 0
    assert answer.targets[0].areas.points == 0


async def test_the_released_code_prompts_each_point_alone_and_falls_back_to_nine():
    calls = []

    class Watching(WordToolbox):
        async def similarity(self, crop, phrase):
            return np.zeros((6, 6), dtype=np.float32)

        async def from_points(self, handle, points, positive):
            calls.append(points.tolist())
            return await super().from_points(handle, points, positive)

    async with agent(toolbox=Watching(), profile="released-code") as one:
        answer = await one.segment(IMAGE, "both")

    assert [len(points) for points in calls] == [1] * 9
    assert len(answer.targets[0].keypoints) == 9


@pytest.mark.parametrize("kind", ["path", "array", "pillow", "image"])
async def test_every_kind_of_picture_is_the_same_picture(tmp_path, kind):
    path = tmp_path / "noise.png"
    PIL.Image.fromarray(IMAGE.pixels).save(path)
    pillow = PIL.Image.fromarray(IMAGE.pixels)
    picture = {"path": path, "array": np.array(IMAGE.pixels), "pillow": pillow, "image": IMAGE}[kind]

    async with agent() as one:
        answer = await one.segment(picture, "both")

    assert answer.image.sha256 == IMAGE.sha256
    (expected,) = (await _alone("both")).targets
    assert np.array_equal(answer.targets[0].mask, expected.mask)


async def _alone(query):
    async with agent() as one:
        return await one.segment(IMAGE, query)


async def test_what_is_refused_at_the_door_is_typed():
    async with agent() as one:
        with pytest.raises(QueryError, match="empty"):
            await one.segment(IMAGE, "  ")
        with pytest.raises(QueryError, match="80 x 60"):
            await one.segment(IMAGE, "both", hints=Hints(box=(0, 0, 81, 60)))
        with pytest.raises(geoseg_agent.ImageError):
            await one.segment(Path("nowhere.tif"), "both")
    with pytest.raises(ConfigError, match="closed"):
        await one.segment(IMAGE, "both")


PUBLIC = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, geoseg_agent.GeoSegError)
]


@pytest.mark.parametrize("error", PUBLIC, ids=lambda error: error.__name__)
async def test_two_targets_that_fail_at_once_raise_one_plain_error(tmp_path, error):
    class Failing(WordToolbox):
        async def from_text(self, handle, phrase):
            raise error("the tool says no")

    async with agent(tmp_path, toolbox=Failing()) as one:
        with pytest.raises(error) as caught:
            await one.segment(IMAGE, "both text points")

    assert type(caught.value) is error
    assert caught.value.trace_id


async def test_a_crash_in_both_routes_is_one_tool_failure():
    class Failing(WordToolbox):
        async def from_text(self, handle, phrase):
            raise ValueError("B")

        async def similarity(self, crop, phrase):
            raise KeyError("A")

    async with agent(toolbox=(tools := Failing())) as one:
        with pytest.raises(ToolFailed):
            await one.segment(IMAGE, "both text")
        assert tools.alive == 0


async def test_a_stuck_tool_meets_the_deadline_and_frees_everything(tmp_path):
    tools = WordToolbox()
    async with agent(tmp_path, toolbox=tools, max_running=1) as one:
        with pytest.raises(DeadlineExceeded, match=r"0\.2 s"):
            await one.segment(IMAGE, "stuck", deadline=0.2)
        assert (await one.segment(IMAGE, "both")).status == "found"

    assert tools.alive == 0
    assert not list((tmp_path / "traces").glob("*.journal"))


@pytest.mark.parametrize("deadline", ["5", -1, 0, float("nan"), float("inf"), True])
async def test_a_deadline_that_is_none_is_refused_and_holds_no_place(deadline):
    async with agent(max_running=1) as one:
        with pytest.raises(QueryError, match="deadline"):
            await one.segment(IMAGE, "both", deadline=deadline)
        assert (await one.segment(IMAGE, "both", deadline=30)).status == "found"


async def test_cancelling_at_any_await_leaves_nothing_behind(tmp_path):
    tools, cancelled = WordToolbox(), 0
    async with agent(tmp_path, toolbox=tools, max_running=1) as one:
        for turns in range(60):
            task = asyncio.create_task(one.segment(IMAGE, "both text"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                cancelled += 1
        assert (one._gate.running, one._gate.waiting) == (0, 0)
        assert (await one.segment(IMAGE, "both")).status == "found"

    assert cancelled > 10
    assert tools.alive == 0
    assert len(asyncio.all_tasks()) == 1
    assert not [path for path in (tmp_path / "traces").iterdir() if path.suffix != ".json"]


async def test_many_at_once_are_answered_as_if_alone(tmp_path):
    queries = [f"{word} {number}" for number in range(100) for word in ("both", "text within", "points text")]
    async with agent(tmp_path) as one, asyncio.TaskGroup() as group:
        tasks = [group.create_task(one.segment(IMAGE, query)) for query in queries]
    async with agent() as other:
        for query, task in zip(queries, tasks, strict=True):
            alone = await other.segment(IMAGE, query)
            assert np.array_equal(task.result().mask, alone.mask)
    assert len({task.result().trace_id for task in tasks}) == len(queries)


async def test_beyond_the_queue_exactly_the_rest_is_refused():
    async with agent(max_running=3, max_queued=4) as one:

        async def ask(number):
            try:
                return (await one.segment(IMAGE, f"both {number}")).status
            except Overloaded as error:
                return str(error)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(number)) for number in range(20)]

    outcomes = [task.result() for task in tasks]
    assert sum("max_queued 4" in outcome for outcome in outcomes) == 13


async def test_a_notebook_shows_a_picture():
    async with agent() as one:
        answer = await one.segment(IMAGE, "both")

    assert PIL.Image.open(io.BytesIO(answer._repr_png_())).format == "PNG"


def lanes():
    """Names of the package's threads that are alive."""
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("geoseg"))


async def test_segment_shares_one_agent_per_settings_until_closed():
    first = await geoseg_agent.segment(IMAGE, "water", settings=Settings(traces="none"))
    threads = lanes()
    second = await geoseg_agent.segment(IMAGE, "water", settings=Settings(traces="none"))
    assert lanes() == threads
    await geoseg_agent.segment(IMAGE, "water", settings=Settings(traces="none", k=3))
    assert len(lanes()) > len(threads)
    await geoseg_agent.aclose()
    third = await geoseg_agent.segment(IMAGE, "water", settings=Settings(traces="none"))
    await geoseg_agent.aclose()

    assert first.status == second.status == third.status


def test_a_shared_agent_is_closed_with_its_loop():
    async def ask():
        await geoseg_agent.segment(IMAGE, "water", settings=Settings(traces="none"))
        return lanes()

    assert asyncio.run(ask())
    for thread in threading.enumerate():
        if thread.name.startswith("geoseg"):
            thread.join(5)
            assert not thread.is_alive()


class Mixed:
    """Some targets with a confidence, some without."""

    engine = "mixed"

    async def ground(self, image, query):
        return GroundingReply(
            "found", (Target(Box(0, 0, 20, 20), "text a", 0.9), Target(Box(5, 5, 25, 25), "text b"))
        )

    async def aclose(self):
        pass


async def test_a_confidence_is_never_invented():
    async with agent(grounder=Mixed()) as one:
        assert (await one.segment(IMAGE, "x")).confidence is None
