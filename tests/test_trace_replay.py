"""Replay: the same outcome without tools, pixels or network, and every change is noticed or a known blind spot."""

import asyncio
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from fakes import WordToolbox, ask
from mutations import mutations

from geoseg_agent.errors import (
    ConfigError,
    GeoSegError,
    ToolFailed,
    TraceError,
    TraceIncomplete,
)
from geoseg_agent.trace.jsontext import compact, parse
from geoseg_agent.trace.model import Opening
from geoseg_agent.trace.recover import recover
from geoseg_agent.trace.replay import blind_spot, replay
from geoseg_agent.trace.seal import reseal
from geoseg_agent.trace.store import checked
from geoseg_agent.types import Hints, PointHint
from geoseg_tools.geometry import Box

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
    "constant", [{"k": 1}, {"tau": 0.9}, {"heat_norm": "none"}, {"text_mode": "best"}, {"gamma": 0.2}]
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
    opening = {name: tree[name] for name in ("schema", *Opening.model_fields) if name in tree}
    for count in range(len(tree["steps"]) + 1):
        folder = tmp_path / str(count)
        folder.mkdir()
        lines = [opening, *tree["steps"][:count]]
        (folder / f"{tree['id']}.journal").write_bytes(b"".join(compact(line) + b"\n" for line in lines))
        (one,) = recover(folder)
        with pytest.raises(TraceIncomplete) as caught:
            await replay(one.path)
        assert f"{count} of {count} recorded steps replayed" in caught.value.message
        assert ("ground" in caught.value.message) == (count == 0)
        assert ("comes to a result" in caught.value.message) == (count == len(tree["steps"]))


async def test_a_cancelled_query_replays_up_to_the_call_it_waited_for(tmp_path):
    await ask(tmp_path, "both stuck", deadline=0.2)
    (path,) = tmp_path.iterdir()
    with pytest.raises(TraceIncomplete, match="waits for calls that were cancelled"):
        await replay(path)


# changes


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
        await trace_of(folder, "text", text_mode="best"),
        await trace_of(folder, "both broken"),
    ]
    await ask(folder / "cut", "both stuck", deadline=0.1)
    return [parse(path.read_bytes()) for path in [*paths, *(folder / "cut").iterdir()]]


async def outcome(tree):
    """What a replay of the tree says: an error's name, or "same"."""
    try:
        await replay(checked(tree, "example"))
    except (TraceError, ConfigError) as error:
        return type(error).__name__
    return "same"


@pytest.mark.parametrize("number", range(10))
async def test_every_change_is_noticed_or_lies_in_a_blind_spot(tmp_path, number):
    tree = (await examples(tmp_path))[number]
    trace = checked(tree, "example")
    same = await outcome(tree)
    assert same in {"same", "TraceIncomplete"}
    noticed, missed = 0, []
    for path, changed in mutations(tree):
        if json.dumps(changed) == json.dumps(tree):
            continue
        with pytest.raises(TraceError):
            checked(changed, "example")
        spot = blind_spot(trace, path)
        if spot is not None and spot.when == "always":
            continue
        if await outcome(reseal(changed)) == same:
            missed.append((path, None if spot is None else spot.path))
        else:
            noticed += 1
    assert [path for path, spot in missed if spot is None] == []
    assert noticed > 100
