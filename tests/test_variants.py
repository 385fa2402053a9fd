"""Variants of the method: which parts run, that the trace says so, and that it replays."""

import numpy as np
import pytest
from fakes import WordGrounder, WordToolbox, ask, scene

from geoseg_agent import ConfigError, Hints, QueryError, Settings
from geoseg_agent.method import VARIANTS
from geoseg_agent.trace.replay import replay
from geoseg_agent.trace.report import write_report
from geoseg_agent.trace.store import load
from geoseg_tools import refine, whole

SEAMS = {
    "full": {"ground", "encode", "similarity", "points", "text"},
    "no-refinement": {"ground", "encode", "similarity", "points", "text"},
    "points": {"ground", "encode", "similarity", "points"},
    "text": {"ground", "encode", "text"},
    "clip-sam3": {"encode", "similarity", "points"},
    "sam3-text": {"encode", "text"},
}


async def asked(folder, variant, **values):
    answer = await ask(folder, "both of them", variant=variant, **values)
    return answer, load(answer.trace_path)


def test_every_variant_is_examined_here():
    assert SEAMS.keys() == VARIANTS.keys()


@pytest.mark.parametrize("variant", SEAMS)
async def test_only_its_parts_run_and_the_trace_says_which(tmp_path, variant):
    answer, trace = await asked(tmp_path, variant)

    assert {step.seam for step in trace.steps} == SEAMS[variant]
    assert trace.method["variant"] == trace.settings["variant"] == variant
    rules = {"full": "both", "no-refinement": "both", "clip-sam3": "points", "sam3-text": "text"}
    assert answer.targets[0].rule == rules.get(variant, variant)


@pytest.mark.parametrize("variant", SEAMS)
async def test_it_replays_and_its_page_can_be_drawn(tmp_path, variant):
    answer, trace = await asked(tmp_path, variant)

    assert np.array_equal((await replay(answer.trace_path)).answer.mask, answer.mask)
    write_report(trace, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert ("leaves this route out" in page) == (not (VARIANTS[variant].points and VARIANTS[variant].text))


async def test_a_route_alone_gives_what_it_gives_beside_the_other(tmp_path):
    full, _ = await asked(tmp_path, "full")
    points, _ = await asked(tmp_path, "points")
    text, _ = await asked(tmp_path, "text")

    assert points.targets[0].areas.points == full.targets[0].areas.points
    assert text.targets[0].areas.text == full.targets[0].areas.text
    assert np.array_equal(points.mask & text.mask, full.mask)


@pytest.mark.parametrize("variant", ["clip-sam3", "sam3-text"])
async def test_without_grounding_the_whole_image_is_the_region_and_the_query_the_phrase(tmp_path, variant):
    class Nobody(WordGrounder):
        async def ground(self, image, query):
            raise AssertionError("asked all the same")

    answer, _ = await asked(tmp_path, variant, grounder=Nobody())

    assert answer.targets[0].roi == whole(scene().size)
    assert answer.targets[0].phrase == "both of them"
    assert answer.engine == WordToolbox.engine
    assert answer.status == "found"


async def test_without_refinement_the_region_is_the_box(tmp_path):
    answer, trace = await asked(tmp_path, "no-refinement", min_crop=0)
    full, _ = await asked(tmp_path, "full", min_crop=0)

    assert answer.targets[0].roi == answer.targets[0].box
    assert full.targets[0].roi == refine(answer.targets[0].box, scene().size)
    assert (trace.method["alpha"], trace.method["beta"]) == (0, 0)


@pytest.mark.parametrize("margin", ["alpha", "beta"])
def test_margins_and_no_refinement_contradict_each_other(margin):
    with pytest.raises(ConfigError, match=rf"{margin}.*no-refinement has no margins"):
        Settings(variant="no-refinement", **{margin: 0.5})
    assert Settings(variant="no-refinement", **{margin: 0.0}).method({}).alpha == 0


async def test_a_variant_without_route_a_has_no_similarity_and_no_keypoints(tmp_path):
    answer, trace = await asked(tmp_path, "text")

    assert answer.targets[0].similarity is None
    assert len(answer.targets[0].keypoints) == 0
    assert trace.result.targets[0].similarity is None


@pytest.mark.parametrize("variant", ["clip-sam3", "sam3-text"])
async def test_a_box_of_the_callers_stands_in_place_of_the_whole_image(tmp_path, variant):
    answer, _ = await asked(tmp_path, variant, hints=Hints(box=(5, 5, 45, 45)))
    assert tuple(answer.targets[0].roi) == (5, 5, 45, 45)


async def test_without_refinement_a_small_box_still_has_the_smallest_region(tmp_path):
    answer, _ = await asked(tmp_path, "no-refinement", hints=Hints(box=(30, 30, 35, 35)))
    assert answer.targets[0].roi.size == (16, 16)


async def test_points_that_no_route_takes_are_said_to_be_lost(tmp_path):
    point = ((20, 20), (30, 30, False))
    alone, _ = await asked(tmp_path, "text", hints=Hints(points=point))
    assert any("the variant text has no route A" in note for note in alone.notes)
    each = await ask(tmp_path, "both of them", profile="released-code", toolbox=Square(), hints=Hints(points=point))
    assert any("each point prompts an object of its own" in note for note in each.notes)


class Square(WordToolbox):
    """The stock picker wants a square grid."""

    async def similarity(self, crop, phrase):
        return (await super().similarity(crop, phrase))[:6, :6]


async def test_a_query_that_is_the_phrase_is_held_to_the_rules_of_phrases_as_a_query(tmp_path):
    failed = await ask(tmp_path, "the family \U0001f468\u200d\U0001f469", variant="sam3-text")
    assert isinstance(failed, QueryError)
    long = await ask(tmp_path, "text " * 60, variant="sam3-text")
    assert any("first 200 characters" in note for note in long.notes)
