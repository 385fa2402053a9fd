"""Points in place of words: alone, in a box, on top of an earlier answer; in Python and on the command line."""

import json

import numpy as np
import PIL.Image
import pytest
from command_line import here
from fakes import WordGrounder, WordToolbox

from geoseg_agent import Agent, ConfigError, Hints, Image, QueryError, Settings, ToolFailed
from geoseg_agent.bench.ablation import ablate
from geoseg_agent.bench.variations import FULL
from geoseg_agent.clicks import PHRASE
from geoseg_agent.trace.replay import replay, replay_live
from geoseg_agent.trace.report import write_report
from geoseg_agent.trace.store import load
from geoseg_agent.types import GroundingReply, PointHint, Target
from geoseg_tools import Box

TWO = np.full((120, 160, 3), 90, np.uint8)
TWO[20:60, 20:60] = (200, 40, 40)
TWO[70:100, 90:140] = (40, 60, 200)
TWO += np.random.default_rng(0).integers(0, 4, TWO.shape, dtype=np.uint8)
IMAGE = Image.from_array(TWO, name="two")
RED, BLUE, GREY = (40, 40), (115, 85), (10, 110)


def off(point):
    return (*point, False)


class NoGrounder(WordGrounder):
    async def ground(self, image, query):
        raise AssertionError("nobody should have been asked")


class RedGrounder(WordGrounder):
    async def ground(self, image, query):
        return GroundingReply("found", (Target(Box(20, 20, 60, 60), "zorp"),))


def agent(folder="none", **how):
    return Agent(Settings(traces=folder, **how), grounder=NoGrounder())


def box_of(mask):
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return cols[0], rows[0], cols[-1] + 1, rows[-1] + 1


async def test_a_point_alone_gives_what_it_is_on_and_asks_nobody():
    async with agent() as one:
        answer = await one.segment(IMAGE, hints=Hints(points=(RED,)))

    assert np.abs(np.array(box_of(answer.mask)) - (20, 20, 60, 60)).max() <= 2
    assert (answer.query, answer.status, answer.engine) == ("", "found", "offline-baseline")
    (target,) = answer.targets
    assert (target.phrase, target.rule, len(target.keypoints)) == (PHRASE, "points", 0)
    assert target.similarity is None


async def test_a_phrase_names_what_was_clicked():
    async with agent() as one:
        answer = await one.segment(IMAGE, hints=Hints(points=(RED,), phrase="the hall"))
    assert answer.targets[0].phrase == "the hall"


async def test_a_click_on_a_small_thing_is_not_lost_to_the_smallest_share():
    pixels = np.full((400, 400, 3), 90, np.uint8)
    pixels[200:208, 200:208] = (220, 30, 30)
    async with agent(gamma=0.5) as one:
        answer = await one.segment(pixels, hints=Hints(points=((204, 204),)))
    assert answer.targets[0].rule == "points"
    assert 30 <= answer.mask.sum() <= 200


async def test_points_within_a_box_stay_near_it():
    async with agent() as one:
        answer = await one.segment(IMAGE, hints=Hints(box=(15, 15, 65, 65), points=(RED,)))
    assert answer.targets[0].box.x1 == 15
    assert answer.mask[25:55, 25:55].all()
    assert not answer.mask[:, 80:].any()


async def test_a_second_click_adds_and_a_negative_one_removes():
    async with agent() as one:
        red = await one.segment(IMAGE, hints=Hints(points=(RED,)))
        both = await one.segment(IMAGE, previous=red, hints=Hints(points=(BLUE, off(GREY))))
        blue = await one.segment(IMAGE, previous=both, hints=Hints(points=(off(RED),)))

    assert both.mask[40, 40]
    assert both.mask[85, 115]
    assert not both.mask[110, 10]
    assert blue.mask[85, 115]
    assert not blue.mask[30:50, 30:50].any()
    assert blue.hints.points == (PointHint(*RED), PointHint(*BLUE), PointHint(*off(GREY)), PointHint(*off(RED)))


async def test_clicks_on_an_answer_are_those_clicks_at_once():
    async with agent() as one:
        first = await one.segment(IMAGE, hints=Hints(points=(RED,)))
        step = await one.segment(IMAGE, previous=first, hints=Hints(points=(BLUE,)))
        at_once = await one.segment(IMAGE, hints=Hints(points=(RED, BLUE)))
    assert (step.mask == at_once.mask).all()


async def test_an_answer_in_words_is_corrected_and_not_asked_for_again(tmp_path):
    async with Agent(Settings(traces=tmp_path), grounder=RedGrounder()) as one:
        said = await one.segment(IMAGE, "both of them")
    async with agent(tmp_path) as one:
        fixed = await one.segment(IMAGE, previous=said, hints=Hints(points=(off(RED),)))
        more = await one.segment(IMAGE, previous=fixed, hints=Hints(points=(BLUE,)))

    assert said.mask[40, 40]
    assert not fixed.mask[40, 40]
    assert (fixed.query, fixed.reasoning) == ("both of them", "The points come from the caller.")
    assert (more.hints.earlier == said.mask).all()
    assert more.hints.points == (PointHint(*off(RED)), PointHint(*BLUE))
    assert more.mask[85, 115]
    assert not more.mask[40, 40]
    for answer in (fixed, more):
        assert ((await replay(answer.trace_path)).answer.mask == answer.mask).all()


async def test_any_mask_can_be_corrected():
    mask = np.zeros(IMAGE.size, bool)
    mask[20:60, 20:60] = mask[70:100, 90:140] = True
    async with agent() as one:
        answer = await one.segment(IMAGE, hints=Hints(points=(off(BLUE),), earlier=mask))
    assert (answer.mask[:65] == mask[:65]).all()
    assert not answer.mask[75:95, 95:135].any()


@pytest.mark.parametrize(
    ("query", "hints", "words"),
    [
        (None, None, "no query, and no point"),
        (None, Hints(box=(1, 1, 9, 9)), "no query, and no point"),
        (None, Hints(points=(off(RED),)), "every point is one that is not on the thing"),
        (None, Hints(points=((500, 4),)), r"\(500, 4\) is outside the image of 160 x 120"),
        (None, Hints(earlier=np.ones((120, 160), bool)), "corrected with points"),
        (None, Hints(points=(RED,), earlier=np.ones((5, 5), bool)), "5 x 5 pixels, the image 160 x 120"),
        ("  ", Hints(points=(RED,)), "the query is empty"),
        ("", Hints(points=(RED,), earlier=np.ones((120, 160), bool)), "the query is empty"),
        (None, Hints(points=(RED,), box=(1, 1, 9, 9), earlier=np.ones((120, 160), bool)), "do not go together"),
        (None, Hints(points=(RED,), box=(100, 60, 150, 110)), r"no point on the thing lies in the region \(90, 50"),
    ],
)
async def test_what_says_nothing_is_refused_with_the_remedy(query, hints, words):
    async with agent() as one:
        with pytest.raises(QueryError, match=words) as caught:
            await one.segment(IMAGE, query, hints=hints)
    assert caught.value.hint or "outside" in words


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"hints": Hints()}, "corrected with points"),
        ({"hints": Hints(points=(BLUE,), box=(1, 1, 9, 9))}, "a box was given too"),
        ({"hints": Hints(points=(BLUE,), earlier=np.ones((120, 160), bool))}, "a mask was given too"),
        ({"hints": Hints(points=(BLUE,)), "query": "the lake"}, "'the lake' is not that of the earlier answer"),
        ({"hints": Hints(points=(BLUE,)), "image": np.zeros((9, 9, 3), np.uint8)}, "earlier answer is of two"),
    ],
)
async def test_an_earlier_answer_goes_with_points_on_its_own_image_only(how, words):
    async with agent() as one:
        first = await one.segment(IMAGE, hints=Hints(points=(RED,)))
        with pytest.raises(QueryError, match=words):
            await one.segment(how.pop("image", IMAGE), how.pop("query", None), previous=first, **how)


@pytest.mark.parametrize("mask", [[[True]], np.ones((3, 4)), np.ones(5, bool), np.ones((0, 3), bool)])
def test_an_earlier_mask_is_a_bool_array(mask):
    with pytest.raises(QueryError, match="bool array"):
        Hints(earlier=mask)


def test_an_earlier_mask_is_the_hints_own():
    mask = np.ones((3, 4), bool)
    hints = Hints(earlier=mask)
    mask[0, 0] = False
    assert hints.earlier.all()
    assert not hints.earlier.flags.writeable


async def test_hints_are_hints():
    async with agent() as one:
        with pytest.raises(QueryError, match="got dict"):
            await one.segment(IMAGE, "a box", hints={"box": (0, 0, 10, 10)})


async def test_an_earlier_answer_is_an_answer():
    async with agent() as one:
        with pytest.raises(QueryError, match="not ndarray") as caught:
            await one.segment(IMAGE, previous=np.ones((120, 160), bool), hints=Hints(points=(RED,)))
    assert "Hints(earlier=mask)" in caught.value.hint


async def test_a_name_is_no_reason_to_fail():
    async with Agent(Settings(traces="none"), grounder=RedGrounder()) as one:
        said = await one.segment(IMAGE, "the re\u00add one")
        fixed = await one.segment(IMAGE, previous=said, hints=Hints(points=(BLUE,)))
    assert (fixed.query, fixed.targets[0].phrase) == (said.query, PHRASE)


def test_hints_are_equal_by_what_they_say():
    mask = np.tri(3) > 0
    one, same = (Hints(points=((1, 2),), earlier=mask) for _ in range(2))
    assert one == same
    assert len({one, same, Hints(points=((1, 2),)), Hints(points=((1, 2),), earlier=~mask)}) == 3
    assert one != "hints"


async def test_the_steps_of_a_click_cannot_be_ablated(tmp_path):
    async with agent(tmp_path) as one:
        answer = await one.segment(IMAGE, hints=Hints(points=(RED,)))
    with pytest.raises(ConfigError, match="points without words"):
        await ablate(load(answer.trace_path), [FULL])


async def test_a_variant_without_route_a_cannot_use_points():
    async with agent(variant="text") as one:
        with pytest.raises(QueryError, match="the variant text has no route A"):
            await one.segment(IMAGE, hints=Hints(points=(RED,)))


@pytest.mark.parametrize("profile", ["default", "paper", "released-code"])
async def test_a_click_replays_without_its_image_and_runs_again_with_it(tmp_path, profile):
    async with agent(tmp_path, profile=profile) as one:
        answer = await one.segment(IMAGE, hints=Hints(points=(RED, BLUE, off(GREY))))
    trace = load(answer.trace_path)
    calls = 2 if profile == "released-code" else 1
    assert (trace.query, [step.seam for step in trace.steps]) == ("", ["encode"] + ["points"] * calls)
    assert ((await replay(answer.trace_path)).answer.mask == answer.mask).all()
    assert (await replay_live(answer.trace_path, IMAGE)).ious == (1.0,)


async def test_tools_that_know_of_no_earlier_mask_still_take_points(tmp_path):
    class Older(WordToolbox):
        async def from_points(self, handle, points, positive):
            return await super().from_points(handle, points, positive)

    async with Agent(Settings(traces="none"), grounder=NoGrounder(), toolbox=Older()) as one:
        answer = await one.segment(IMAGE, hints=Hints(points=(RED, BLUE)))
        assert answer.mask[40, 40]
        with pytest.raises(ToolFailed, match="from_points"):
            await one.segment(IMAGE, hints=Hints(points=(RED,), earlier=answer.mask))


@pytest.mark.parametrize("more", [(), (BLUE,)])
async def test_a_point_on_nodata_is_refused_for_it_would_speak_for_all_that_is_dark(more):
    valid = np.ones(IMAGE.size, bool)
    valid[:, :70] = False
    image = Image.from_array(TWO, valid=valid, name="half.png")
    async with agent() as one:
        with pytest.raises(QueryError, match=r"the point \(40, 40\) lies where half\.png has no data") as caught:
            await one.segment(image, hints=Hints(points=(RED, *more)))
        assert "move it" in caught.value.hint
        answer = await one.segment(image, hints=Hints(points=(BLUE, off(RED))))
    assert answer.mask[85, 115]
    assert not answer.mask[:, :70].any()


def test_the_command_line_needs_no_query_where_there_is_a_point(tmp_path):
    PIL.Image.fromarray(TWO).save(tmp_path / "two.png")
    place = ("--out", tmp_path / "out", "--traces", tmp_path / "traces")
    ended = here("segment", tmp_path / "two.png", "--point", "40,40", "--point", "-10,110", "--json", *place)

    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    assert (answer["query"], answer["targets"][0]["rule"]) == ("", "points")
    assert 1400 < answer["targets"][0]["area_px"] < 1800
    assert here("replay", answer["trace"]).returncode == 0

    bare = here("segment", tmp_path / "two.png", "--traces", "none")
    assert bare.returncode == 2
    assert "--point" in bare.stderr


async def test_the_page_of_a_click_and_of_a_correction_say_what_they_are(tmp_path):
    async with agent(tmp_path, gamma=0.9) as one:
        click = await one.segment(IMAGE, hints=Hints(points=(RED, off(GREY))))
        fixed = await one.segment(IMAGE, hints=Hints(points=(off(BLUE),), phrase="hall", earlier=click.mask))
    out = tmp_path / "page.html"
    pages = [write_report(load(one.trace_path), out, IMAGE).read_text("utf-8") for one in (click, fixed)]
    assert "<h1>what the points are on</h1>" in pages[0]
    assert "<h1>hall, corrected</h1>" in pages[1]
    for text in pages:
        assert "there were no words for this route" in text
        assert "Route A is valid and route B was left out" in text
        assert "less than gamma" not in text
