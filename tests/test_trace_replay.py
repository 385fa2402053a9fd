"""Replay: the same outcome without tools, pixels or network, and every change is noticed or a known blind spot."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import WordToolbox, ask, scene
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import fields, mutations, with_field

from geoseg_agent.errors import (
    GeoSegError,
    ReplayMismatch,
    ToolFailed,
    TraceError,
    TraceIncomplete,
)
from geoseg_agent.georeference import Georeference
from geoseg_agent.imagery import Image
from geoseg_agent.trace.blind import WHEN
from geoseg_agent.trace.jsontext import compact, parse
from geoseg_agent.trace.live import iou
from geoseg_agent.trace.model import Opening
from geoseg_agent.trace.recover import recover
from geoseg_agent.trace.replay import BLIND_SPOTS, blind_spot, replay, replay_live
from geoseg_agent.trace.seal import reseal
from geoseg_agent.trace.store import checked
from geoseg_agent.trace.tape import grounder_from_trace
from geoseg_agent.types import Hints, PointHint
from geoseg_tools.crop import Scene
from geoseg_tools.geometry import Box
from geoseg_tools.masks import Masks

QUERIES = [
    "both",
    "points sure",
    "text maybe",
    "none both within",
    "apart",
    "silent",
    "hi",
    "hi maybe",
    "both points text none silent apart sure within",
    "both both both",
]
HINTS = {
    "box": Hints(box=Box(5, 5, 40, 40), points=(PointHint(10, 10), PointHint(30, 30, positive=False))),
    "box and phrase": Hints(box=Box(5, 5, 40, 40), phrase="both ways"),
    "phrase": Hints(phrase="points of interest"),
    "point nowhere": Hints(box=Box(5, 5, 20, 20), points=(PointHint(79, 59),)),
    "click": Hints(box=Box(5, 5, 40, 40), points=(PointHint(10, 10), PointHint(30, 30, positive=False))),
    "correction": Hints(points=(PointHint(70, 50), PointHint(9, 9, positive=False)), earlier=np.tri(60, 80) > 0),
}


async def trace_of(folder, query, **how):
    answer = await ask(folder, query, **how)
    name = answer.trace_id
    return folder / f"{name}.json"


@pytest.mark.parametrize("query", QUERIES)
async def test_a_trace_replays_to_the_same_masks(tmp_path, query):
    answer = await ask(tmp_path, query)
    before = answer.trace_path.read_bytes()
    found = (await replay(answer.trace_path)).answer
    assert found.trace_id == answer.trace_id
    assert not found.image.scene.has_pixels
    assert (found.mask == answer.mask).all()
    for a, b in zip(found.targets, answer.targets, strict=True):
        assert (a.rule, a.roi, a.score, a.areas, a.notes) == (b.rule, b.roi, b.score, b.areas, b.notes)
        assert a.keypoints.raw.tobytes() == b.keypoints.raw.tobytes()
    assert answer.trace_path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [answer.trace_path]


@pytest.mark.parametrize("profile", ["default", "paper", "released-code"])
@pytest.mark.parametrize("name", HINTS)
async def test_hints_and_profiles_replay(tmp_path, name, profile):
    grid = WordToolbox()
    if profile == "released-code":
        grid = SquareToolbox()
    answer = await ask(tmp_path, "both", hints=HINTS[name], profile=profile, toolbox=grid)
    found = await replay(answer.trace_path)
    assert (found.answer.mask == answer.mask).all()


class SquareToolbox(WordToolbox):
    """The stock picker wants a square grid."""

    async def similarity(self, crop, phrase):
        return (await super().similarity(crop, phrase))[:6, :6]


@pytest.mark.parametrize(
    "constant",
    [{"k": 1}, {"tau": 0.9}, {"heat_norm": "none"}, {"text_mode": "both"}, {"gamma": 0.2}, {"variant": "text"}],
)
async def test_constants_are_taken_from_the_trace_and_not_from_the_environment(tmp_path, monkeypatch, constant):
    answer = await ask(tmp_path, "both", **constant)
    monkeypatch.setenv("GEOSEG_K", "7")
    monkeypatch.setenv("GEOSEG_PROFILE", "paper")
    monkeypatch.setenv("GEOSEG_ALPHA", "1")
    assert ((await replay(answer.trace_path)).answer.mask == answer.mask).all()


async def test_a_later_change_of_a_toolsets_defaults_breaks_no_trace(tmp_path):
    answer = await ask(tmp_path, "both", toolbox=WordToolbox({"k": 2, "tau": 0.5, "point_prompt": "each"}))
    found = await replay(answer.trace_path)
    assert len(found.answer.targets[0].keypoints) == 2


@pytest.mark.parametrize(
    "query", ["broken", "refuse", "both broken", "broken broken both", "text points broken none"]
)
async def test_a_failed_query_fails_again_with_the_same_error(tmp_path, query):
    error = await ask(tmp_path, query)
    found = await replay(tmp_path / f"{error.trace_id}.json")
    assert found.answer is None
    assert type(found.error) is type(error) is ToolFailed
    assert (found.error.code, found.error.message, found.error.hint) == (error.code, error.message, error.hint)


class UnevenToolbox(WordToolbox):
    """Each call of every seam fails or answers after its own number of turns."""

    def __init__(self, seed):
        super().__init__()
        self.random = np.random.default_rng(seed)

    async def _turns(self):
        for _ in range(self.random.integers(0, 12)):
            await asyncio.sleep(0)
        if self.random.random() < 0.15:
            raise ValueError(f"failed {self.random.integers(10**6)}")

    async def similarity(self, crop, phrase):
        await self._turns()
        return await super().similarity(crop, phrase)

    async def from_points(self, handle, points, positive):
        await self._turns()
        return await super().from_points(handle, points, positive)

    async def from_text(self, handle, phrase):
        await self._turns()
        return await super().from_text(handle, phrase)


async def test_whatever_fails_when_beside_what_else_the_replay_ends_the_same(tmp_path):
    outcomes = Counter()
    for seed in range(60):
        answer = await ask(tmp_path, "both points text", toolbox=UnevenToolbox(seed))
        found = await replay(tmp_path / f"{answer.trace_id}.json")
        outcomes["failed" if isinstance(answer, GeoSegError) else "done"] += 1
        assert isinstance(answer, GeoSegError) == (found.answer is None)
    assert min(outcomes.values()) > 5


async def test_an_interrupted_trace_replays_its_prefix_and_says_how_far_it_got(tmp_path):
    tree = parse((await trace_of(tmp_path / "whole", "both points")).read_bytes())
    for count in range(len(tree["steps"]) + 1):
        cut = cut_short(tmp_path / str(count), tree, count)
        with pytest.raises(TraceIncomplete) as caught:
            await replay(checked(cut, "cut"))
        assert f"{count} of {count} recorded steps replayed" in caught.value.message
        assert ("ground" in caught.value.message) == (count == 0)
        assert ("comes to a result" in caught.value.message) == (count == len(tree["steps"]))


async def test_a_cancelled_query_replays_up_to_the_call_it_waited_for(tmp_path):
    await ask(tmp_path, "both stuck", deadline=0.2)
    (path,) = tmp_path.iterdir()
    with pytest.raises(TraceIncomplete, match="waits for calls that were cancelled"):
        await replay(path)


# changes

ODD = st.sampled_from(
    [None, True, -1, 0, 10**12, 10**30, 1e300, -0.5, "", "x" * 9999, "\x00", [], {}, [[]], [{}]]
) | st.recursive(
    st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=5,
)
OF_MODELS = {"search", "endpoint", "sent", "chat", "replaced"}  # shown in test_trace_chat_changes.py
NAMES = {"same", "TraceCorrupt", "TraceTooNew", "ReplayMismatch", "TraceError"}


async def examples(folder):
    """Traces of every kind, as trees."""
    hints = replace(HINTS["box"], phrase="both again")
    paths = [
        await trace_of(folder, "both points sure within"),
        await trace_of(folder, "none text maybe"),
        await trace_of(folder, "hi"),
        await trace_of(folder, "both", hints=hints, k=2),
        await trace_of(folder, "points", hints=HINTS["phrase"]),
        await trace_of(folder, "silent", hints=HINTS["point nowhere"]),
        await trace_of(folder, "both", profile="released-code", toolbox=SquareToolbox()),
        await trace_of(folder, "text", variant="text"),
        await trace_of(folder, "points", image=placed()),
        await trace_of(folder, "both broken"),
        await trace_of(folder, "broken", hints=replace(hints, phrase="broken too")),
        await trace_of(folder, None, hints=HINTS["click"], stability=2),
        await trace_of(folder, "both", hints=HINTS["correction"]),
    ]
    await ask(folder / "cut", "both stuck", deadline=0.1)
    trees = [parse(path.read_bytes()) for path in [*paths, *(folder / "cut").iterdir()]]
    return [*trees, cut_short(folder / "crashed", trees[0], 0), twice_failed(trees[9])]


def placed():
    """A picture with a place on the ground, and a stretch, that was opened and not read."""
    grid = Georeference("EPSG:25832", (0.5, 0.0, 4e5, 0.0, -0.5, 5.7e6))
    picture = scene()
    opened = Scene(picture.size, picture.sha256, picture.pixels, opened=True)
    return replace(picture, scene=opened, georeference=grid, stretch=((0.0, 9.5),), bands=(4,))


def cut_short(folder, tree, count):
    """What recovery makes of the journal of this trace, killed after `count` steps."""
    folder.mkdir()
    opening = {name: tree[name] for name in ("schema", *Opening.model_fields) if name in tree}
    lines = [opening, *tree["steps"][:count]]
    (folder / f"{tree['id']}.journal").write_bytes(b"".join(compact(line) + b"\n" for line in lines))
    (one,) = recover(folder)
    return parse(one.path.read_bytes())


def twice_failed(tree):
    """A failed trace with a second call that failed in the same moment."""
    failed = next(step for step in tree["steps"] if step["error"] is not None)
    second = next(step for step in tree["steps"] if step["seam"] == "text" and step["target"] == 1)
    error = {**failed["error"], "message": "the same moment"}
    rest = [step for step in tree["steps"] if step is not second]
    steps = [*rest, {**second, "output": None, "error": error}]
    return reseal({**tree, "steps": [{**step, "index": index} for index, step in enumerate(steps)]})


async def outcome(tree):
    """What a replay of the tree says: an error's name, or "same"."""
    try:
        await replay(checked(tree, "example"))
    except TraceError as error:
        return type(error).__name__
    return "same"


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """The examples; whoever changes one changes a copy."""
    return asyncio.run(examples(tmp_path_factory.mktemp("examples")))


@pytest.mark.parametrize("number", range(16))
async def test_every_change_is_noticed_or_lies_in_a_blind_spot(trees, number):
    tree = trees[number]
    trace = checked(tree, "example")
    same = await outcome(tree)
    assert same in {"same", "TraceIncomplete"}
    noticed, missed, before = 0, [], json.dumps(tree)
    for path, changed in mutations(tree):
        if json.dumps(changed) == before:
            continue
        with pytest.raises(TraceError):
            checked(changed, "example")
        spot = blind_spot(trace, path)
        if spot is not None and spot.when == "always":
            continue
        if await outcome(reseal(changed)) != same:
            noticed += 1
        elif spot is None:
            missed.append(path)
    assert missed == []
    assert noticed > 50
    assert json.dumps(tree) == before


async def test_every_blind_spot_is_one(trees):
    blind = set()
    for tree in trees:
        trace, same = checked(tree, "example"), await outcome(tree)
        for path, changed in mutations(tree):
            spot = blind_spot(trace, path)
            if spot is not None and spot not in blind and await outcome(reseal(changed)) == same:
                blind.add(spot)
    assert blind == {spot for spot in BLIND_SPOTS if spot.when not in OF_MODELS}


def test_the_document_lists_every_blind_spot():
    text = (Path(__file__).parents[1] / "docs" / "traces.md").read_text()
    for spot in BLIND_SPOTS:
        assert f"| `{spot.path}` | {WHEN[spot.when]} | {spot.why} |" in text
    assert text.partition("## Changes")[2].count("\n| `") == len(BLIND_SPOTS)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_whatever_stands_in_a_field_is_a_trace_error_at_worst(tmp_path, data):
    if not list(tmp_path.iterdir()):
        asyncio.run(ask(tmp_path, "both within sure", hints=HINTS["phrase"]))
    (path,) = tmp_path.iterdir()
    tree = parse(path.read_bytes())
    way = data.draw(st.sampled_from(list(fields(tree))))
    changed = with_field(tree, way, data.draw(ODD))
    assert asyncio.run(outcome(reseal(changed))) in NAMES


async def test_a_mismatch_names_the_nearest_step_and_both_values(tmp_path):
    tree = parse((await trace_of(tmp_path, "both points")).read_bytes())
    text = next(step for step in tree["steps"] if step["seam"] == "text" and step["target"] == 2)
    text["input"]["phrase"] = "something else"
    with pytest.raises(ReplayMismatch) as caught:
        await replay(checked(reseal(tree), "x"))
    assert f"nearest is step {text['index']} (text, target 2)" in caught.value.message
    assert "input.phrase is 'something else' in the trace and 'points of both points' now" in caught.value.message


async def test_a_changed_result_is_named_with_both_values(tmp_path):
    tree = parse((await trace_of(tmp_path, "both points")).read_bytes())
    tree["result"]["targets"][1]["areas"]["mask"] += 1
    area = tree["result"]["targets"][1]["areas"]["mask"]
    with pytest.raises(ReplayMismatch, match=rf"result.targets\[1\].areas.mask is {area} in .* and {area - 1} in"):
        await replay(checked(reseal(tree), "x"))


# live tools, and grounding from a trace


async def test_live_tools_reproduce_what_they_did(tmp_path):
    answer = await ask(tmp_path, "both points none sure within")
    live = await replay_live(answer.trace_path, scene(), toolbox=WordToolbox())
    assert live.ious == (1.0, 1.0, 1.0)
    assert live.answer.confidence == answer.confidence
    assert live.answer.trace_path is None


async def test_live_tools_that_changed_are_measured(tmp_path):
    class Wider(WordToolbox):
        async def from_text(self, handle, phrase):
            return Masks.of(np.ones((1, *handle.size), dtype=np.bool_))

    answer = await ask(tmp_path, "text")
    live = await replay_live(answer.trace_path, scene(), toolbox=Wider())
    before, now = answer.targets[0].mask, live.answer.targets[0].mask
    assert live.ious == ((before & now).sum() / (before | now).sum(),)
    assert 0 < live.ious[0] < 1


async def test_live_replay_wants_the_same_picture_and_a_result(tmp_path):
    answer = await ask(tmp_path, "both")
    with pytest.raises(TraceError, match="not the picture of the trace"):
        await replay_live(answer.trace_path, scene(1), toolbox=WordToolbox())
    error = await ask(tmp_path, "broken")
    with pytest.raises(TraceError, match="failed and has no masks"):
        await replay_live(tmp_path / f"{error.trace_id}.json", scene(), toolbox=WordToolbox())


async def test_the_iou_of_masks_in_different_regions_counts_image_pixels():
    one = np.ones((4, 4), dtype=np.bool_)
    assert iou(one, Box(0, 0, 4, 4), one, Box(2, 2, 6, 6)) == 4 / 28
    assert iou(one, Box(0, 0, 4, 4), one, Box(8, 8, 12, 12)) == 0
    assert iou(~one, Box(0, 0, 4, 4), ~one, Box(8, 8, 12, 12)) == 1


async def test_a_trace_is_a_grounder_for_its_own_query_once(tmp_path):
    answer = await ask(tmp_path, "both")
    grounder = grounder_from_trace(str(answer.trace_path))
    assert grounder.engine == "words"
    again = await ask("none", "both", grounder=grounder)
    assert (again.mask == answer.mask).all()
    assert "once more than the trace holds" in (await ask("none", "both", grounder=grounder)).message
    other = await ask("none", "text", grounder=grounder_from_trace(str(answer.trace_path)))
    assert "input.query is 'both' in the trace and 'text' now" in other.message


async def test_a_picture_of_one_row_replays(tmp_path):
    row = Image.from_array(np.zeros((1, 3_000_000, 3), dtype=np.uint8), name="row")
    answer = await ask(tmp_path, "both", image=row, hints=Hints(box=(0, 0, 3_000_000, 1)))
    assert (await replay(answer.trace_path)).answer.status == "found"


async def test_a_value_of_another_version_is_named_as_such(tmp_path):
    path = await trace_of(tmp_path, "both")
    tree = parse(path.read_bytes())
    tree["method"]["text_mode"] = tree["result"]["method"]["text_mode"] = "union"
    path.write_bytes(compact(reseal(tree)))

    with pytest.raises(TraceError, match=r"value that is none any more.*'union'"):
        await replay(path)
