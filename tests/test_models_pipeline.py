"""The toolset `models` in the whole pipeline, over small random models: shapes, order, sharing, failure, replay."""

import asyncio
import json
import subprocess
import sys

import numpy as np
import pytest
from command_line import child, here
from small_models import MISSING, Counted, seat, toolbox

from geoseg_agent import Agent, ConfigError, Hints, Image, OutOfMemory, Settings, ToolFailed
from geoseg_agent.backends import toolbox_of
from geoseg_agent.models import ENGINE, toolbox_over
from geoseg_agent.samples import scene, write
from geoseg_agent.toolbox import Makers
from geoseg_agent.trace.codec import decode_masks
from geoseg_agent.trace.jsontext import compact, parse
from geoseg_agent.trace.replay import replay, replay_live
from geoseg_agent.trace.seal import reseal
from geoseg_agent.trace.store import load
from geoseg_tools import Masks, MemoryExhausted, ToolError

pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"needs {', '.join(MISSING)}: pip install 'geoseg-agent[models]'"
)

LIKELY = {"text_threshold": 0.1}  # random weights are sure of little


@pytest.fixture(scope="module")
def drawn():
    return scene(7, (256, 320))


@pytest.fixture
def picture(drawn):
    return np.array(drawn.pixels)


def test_from_the_command_line_and_its_trace_replays_without_torch(tmp_path, drawn):
    image = write(drawn, tmp_path / "scene").geotiff
    tools = {"GEOSEG_TOOLS": "small_models:toolbox", "GEOSEG_TEXT_THRESHOLD": "0.1"}
    done = here("segment", image, "Segment the lake.", "--json", "--out", "out", **tools)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["engine"] == f"offline-baseline+{ENGINE}"
    (path,) = (tmp_path / "traces").glob("*.json")
    trace = load(path)
    assert {step.seam for step in trace.steps} == {"ground", "encode", "similarity", "points", "text"}
    assert trace.weights == {"clip": "0" * 64, "sam3": "random, seed 0"}

    again = child("replay", path, cwd=tmp_path, without_models=True)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("same")


def test_the_doctor_examines_them():
    done = here("doctor", "models", GEOSEG_TOOLS="small_models:toolbox")

    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("class token", "off by", "one encode", "ran 1 x", "similarity, first", "encode", "text", "points"):
        assert words in done.stdout


def test_the_doctor_lists_the_models_with_their_licences():
    done = here("doctor", "models", "--list", COLUMNS="200")

    assert done.returncode == 0, done.stderr
    for words in ("openai-b16", "remoteclip-l14", "georsclip-l14", "skyclip-l14", "licence"):
        assert words in done.stdout


@pytest.fixture
def empty(tmp_path):
    """The folder that the test stands in, with a weight file that has nothing in it."""
    (tmp_path / "empty.pt").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"sam3_checkpoint": "nowhere.pt"}, ("nowhere.pt", "GEOSEG_SAM3_CHECKPOINT")),
        ({"clip_checkpoint": "nowhere.pt"}, ("nowhere.pt", "GEOSEG_CLIP_CHECKPOINT")),
        ({"clip_checkpoint": "empty.pt", "sam3_checkpoint": "empty.pt"}, ("empty.pt cannot be read",)),
        ({"clip_checkpoint": "empty.pt", "devices": "tpu"}, ("there is no device 'tpu'", "this machine has")),
    ],
)
async def test_what_is_wrong_with_the_set_up_is_said_before_anything_is_paid(empty, picture, chosen, words):
    class Paid:
        engine = "paid"

        async def ground(self, image, query):
            raise AssertionError("asked all the same")

        async def aclose(self):
            pass

    known = {"sam3_checkpoint": "empty.pt", **chosen}
    with pytest.raises(ConfigError) as caught:
        async with Agent(Settings(tools="models", traces=empty / "traces", **known), grounder=Paid()) as agent:
            await agent.segment(picture, "the lake")

    for word in words:
        assert word in str(caught.value)
    assert not list(empty.glob("traces/*.json"))


async def test_queries_at_once_get_what_each_gets_alone_and_every_crop_is_encoded_once(tmp_path, picture):
    boxes = [(8 * i, 6 * i, 120 + 8 * i, 100 + 6 * i) for i in range(4)]
    asked = [(box, phrase) for box in boxes for phrase in ("lake", "field", "road", "building")]
    counted = []

    def watched(inner):
        counted.append(Counted(inner))
        return counted[-1]

    settings = Settings(traces=tmp_path, **LIKELY)
    one = toolbox_over(settings, [seat(settings, segmenter=watched)])
    async with Agent(settings, toolbox=one) as agent:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(agent.segment(picture, "x", hints=Hints(box=box, phrase=phrase)))
                for box, phrase in asked
            ]
        together = [task.result() for task in tasks]
    assert sorted(counted[0].encoded) == sorted(set(counted[0].encoded))
    assert len(counted[0].encoded) == len(boxes)

    async with Agent(settings, toolbox=toolbox(settings)) as agent:
        for (box, phrase), answer in zip(asked, together, strict=True):
            alone = await agent.segment(picture, "x", hints=Hints(box=box, phrase=phrase))
            assert np.array_equal(alone.mask, answer.mask)
            assert alone.targets[0].score == answer.targets[0].score
    assert any(answer.mask.any() for answer in together)
    for answer in together[:4]:
        assert np.array_equal((await replay(answer.trace_path)).answer.mask, answer.mask)


class Quick:
    """Both tools at once, and at once: what is tested with it is how often they are called."""

    def similarity(self, crop, phrase):
        return np.eye(4, dtype=np.float32)

    def encode(self, crop):
        return crop

    def from_points(self, encoded, points, positive):
        return Masks.of(np.ones((1, *encoded.size), dtype=bool), np.ones(1))

    def from_text(self, encoded, phrase):
        return Masks.of(np.ones((1, *encoded.size), dtype=bool), np.ones(1))


async def test_sixteen_queries_of_eight_targets_hold_no_more_encodings_than_allowed(tmp_path, picture):
    replies = [
        {
            "image": "*",
            "query": f"query {q}",
            "status": "found",
            "targets": [{"box": [30 + t, 30 + q, 90 + t, 80 + q], "phrase": "hall"} for t in range(8)],
        }
        for q in range(16)
    ]
    (tmp_path / "script.json").write_text(json.dumps({"replies": replies}))
    counted = Counted(Quick())
    settings = Settings(grounder=f"scripted:{tmp_path / 'script.json'}", traces="none", max_encoded=2)
    one = toolbox_over(settings, [Makers(Quick, lambda: counted)])
    async with Agent(settings, toolbox=one) as agent, asyncio.TaskGroup() as group:
        for query in range(16):
            group.create_task(agent.segment(picture, f"query {query}"))

    assert len(counted.encoded) == len(set(counted.encoded)) == 128
    assert counted.most <= 2


async def test_two_devices_share_the_work(tmp_path, picture):
    settings = Settings(devices="cpu,cpu", traces="none", **LIKELY)
    seats = []

    def watched(inner):
        seats.append(Counted(inner))
        return seats[-1]

    two = toolbox_over(settings, [seat(settings, segmenter=watched) for _ in settings.devices])
    async with Agent(settings, toolbox=two) as agent, asyncio.TaskGroup() as group:
        for i in range(6):
            box = (10 * i, 5 * i, 100 + 10 * i, 90 + 5 * i)
            group.create_task(agent.segment(picture, "x", hints=Hints(box=box, phrase="hall")))

    assert sorted(len(one.encoded) for one in seats) == [3, 3]


class Failing:
    """A segmenter that fails the first time it is asked for a phrase."""

    def __init__(self, inner, fault):
        self.inner, self.faults = inner, [fault]
        self.encode = inner.encode
        self.from_points = inner.from_points

    def from_text(self, encoded, phrase):
        if self.faults:
            raise self.faults.pop()
        return self.inner.from_text(encoded, phrase)


@pytest.mark.parametrize(
    ("fault", "error"),
    [(MemoryExhausted("cpu ran out of memory"), OutOfMemory), (ToolError("SAM3 gave NaN"), ToolFailed)],
)
async def test_after_a_failure_the_next_query_works(tmp_path, picture, fault, error):
    settings = Settings(traces=tmp_path, **LIKELY)
    one = toolbox_over(settings, [seat(settings, segmenter=lambda inner: Failing(inner, fault))])
    hints = Hints(box=(10, 10, 150, 140), phrase="lake")
    async with Agent(settings, toolbox=one) as agent:
        with pytest.raises(error) as caught:
            await agent.segment(picture, "x", hints=hints)
        assert load(tmp_path / f"{caught.value.trace_id}.json").error.code == error.code
        after = await agent.segment(picture, "x", hints=hints)
    async with Agent(settings, toolbox=toolbox(settings)) as agent:
        assert np.array_equal((await agent.segment(picture, "x", hints=hints)).mask, after.mask)


@pytest.mark.parametrize("profile", ["default", "paper", "released-code"])
@pytest.mark.parametrize("variant", ["full", "clip-sam3", "sam3-text"])
async def test_profiles_and_variants_run_and_replay(tmp_path, picture, profile, variant):
    settings = Settings(traces=tmp_path, profile=profile, variant=variant, grounder="classical", **LIKELY)
    async with Agent(settings, toolbox=toolbox(settings)) as agent:
        answer = await agent.segment(picture, "Segment the lake.")
        assert answer.targets
    assert np.array_equal((await replay(answer.trace_path)).answer.mask, answer.mask)


async def test_what_counts_of_the_answer_to_a_phrase_is_a_setting(tmp_path, picture):
    masks = {}
    for mode in ("instances", "semantic", "both"):
        settings = Settings(traces=tmp_path, variant="text", text_mode=mode, **LIKELY)
        async with Agent(settings, toolbox=toolbox(settings)) as agent:
            answer = await agent.segment(picture, "x", hints=Hints(box=(10, 10, 150, 140), phrase="lake"))
        trace = load(answer.trace_path)
        assert trace.method["text_mode"] == mode
        masks[mode] = decode_masks(next(step for step in trace.steps if step.seam == "text").output)

    assert len(masks["instances"]) > 1
    assert len(masks["semantic"]) == 1
    assert np.array_equal(masks["both"].union(), masks["instances"].union() | masks["semantic"].union())
    assert len(masks["both"]) - len(masks["instances"]) in {0, 1}


async def test_from_which_score_an_instance_counts_is_a_setting(tmp_path, picture):
    counts = []
    for threshold in (0.05, 0.3, 1.0):
        settings = Settings(traces=tmp_path, variant="text", text_threshold=threshold)
        async with Agent(settings, toolbox=toolbox(settings)) as agent:
            answer = await agent.segment(picture, "x", hints=Hints(box=(10, 10, 150, 140), phrase="lake"))
        step = next(step for step in load(answer.trace_path).steps if step.seam == "text")
        assert all(score > threshold for score in step.output.scores)
        counts.append(len(step.output.masks))

    assert counts[0] > counts[1] > counts[2] == 0


def test_choosing_the_models_loads_nothing_yet(tmp_path):
    told = (
        "import sys; from geoseg_agent.backends import toolbox_of; from geoseg_agent.settings import Settings; "
        "toolbox_of(Settings(tools='models')); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert toolbox_of(Settings(tools="models")).engine == ENGINE


async def test_live_tools_are_those_of_this_machine_and_not_of_the_one_that_made_the_trace(
    tmp_path, picture, monkeypatch
):
    settings = Settings(
        traces=tmp_path,
        devices="cpu",
        sam3_checkpoint="/nowhere/sam3.pt",
        clip_checkpoint="/nowhere/clip.pt",
        **LIKELY,
    )
    async with Agent(settings, toolbox=toolbox(settings)) as agent:
        answer = await agent.segment(picture, "x", hints=Hints(box=(10, 10, 150, 140), phrase="lake"))
    tree = parse(answer.trace_path.read_bytes())
    tree["settings"]["tools"] = "small_models:toolbox"
    answer.trace_path.write_bytes(compact(reseal(tree)))
    monkeypatch.setenv("GEOSEG_DEVICES", "cpu,cpu")

    live = await replay_live(answer.trace_path, Image.from_array(picture))

    assert live.ious == (1.0,)


async def test_clicks_corrections_and_steadiness_need_no_words_and_nobody(tmp_path, picture):
    chosen = Settings(traces=tmp_path, tools="small_models:toolbox", stability=2, **LIKELY)
    async with Agent(chosen) as agent:
        click = await agent.segment(picture, hints=Hints(points=((60, 60), (200, 200, False))))
        fixed = await agent.segment(picture, hints=Hints(points=((250, 30), (61, 61, False)), earlier=click.mask))
        boxed = await agent.segment(picture, "a field", hints=Hints(box=(20, 20, 200, 160)))

    assert click.engine == ENGINE
    assert click.mask.any()
    assert (fixed.mask != click.mask).any()
    for answer in (click, fixed, boxed):
        assert 0 <= answer.confidence <= 1
        assert ((await replay(answer.trace_path)).answer.mask == answer.mask).all()
        steps = [step.seam for step in load(answer.trace_path).steps]
        assert steps[-1] == "stability"
        assert set(steps) - {"stability"} <= {"encode", "points"} or answer is boxed
