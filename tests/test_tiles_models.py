"""The small random CLIP and SAM3 on a region in tiles: shapes, order, one encoding a tile, replay.

Random weights attend to the whole of a crop and mean nothing, so tiles change their answer; the bounds are what was
measured, with room, and prove no accuracy.
"""

import numpy as np
import pytest
from small_models import MISSING, Counted, seat

from geoseg_agent import Agent, Hints, Settings
from geoseg_agent.models import toolbox_over
from geoseg_agent.samples import scene
from geoseg_agent.tiles.reach import MOST_ASKS
from geoseg_agent.trace.live import iou
from geoseg_agent.trace.replay import replay
from geoseg_agent.trace.store import load
from geoseg_tools import Box

pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"needs {', '.join(MISSING)}: pip install 'geoseg-agent[models]'"
)

SIDE = 112  # what the small SAM3 resizes a crop to
HINTS = Hints(box=(0, 0, 240, 180), phrase="lake")
TILES = 6


@pytest.fixture(scope="module")
def picture():
    return np.array(scene(7, (256, 320)).pixels[:180, :240])


async def ask(folder, picture, hints=HINTS, query="x", **values):
    settings = Settings(traces=folder, text_threshold=0.1, **values)
    seen = []

    def watched(inner):
        seen.append(Counted(inner))
        return seen[-1]

    tools = toolbox_over(settings, [seat(settings, segmenter=watched)])
    async with Agent(settings, toolbox=tools) as agent:
        answer = await agent.segment(picture, query, hints=hints)
    return answer, seen[0]


async def test_a_query_in_tiles_is_near_that_of_the_whole_and_replays(tmp_path, picture):
    whole, once = await ask(tmp_path, picture)
    answer, seen = await ask(tmp_path, picture, tile_side=SIDE)

    assert len(once.encoded) == 1, "a region smaller than SAM3's own side is not tiled by itself"
    assert len(set(seen.encoded)) == TILES
    assert len(seen.encoded) <= (1 + MOST_ASKS) * TILES
    assert seen.most <= 2
    assert answer.mask.shape == whole.mask.shape
    # Measured: 0.604, of a mask that covers 68 % of the region.
    assert iou(whole.targets[0].mask, Box(0, 0, 240, 180), answer.targets[0].mask, Box(0, 0, 240, 180)) > 0.5
    ids = [one.id for one in answer.targets[0].instances]
    assert ids == [*range(1, len(ids) + 1)]
    assert 0 <= answer.targets[0].score <= 1
    trace = load(answer.trace_path)
    assert sorted(step.seam for step in trace.steps) == ["encode", "points", "similarity", "text"]
    again = (await replay(answer.trace_path)).answer
    assert (again.mask == answer.mask).all()


async def test_a_phrase_alone_encodes_every_tile_once(tmp_path, picture):
    answer, seen = await ask(tmp_path, picture, tile_side=SIDE, variant="text")
    assert len(seen.encoded) == len(set(seen.encoded)) == TILES
    scores = [one.score for one in answer.targets[0].instances]
    assert scores == sorted(scores, reverse=True)


async def test_the_models_see_a_tile_in_their_own_pixels(tmp_path, picture):
    _, seen = await ask(tmp_path, picture, tile_side=SIDE, variant="text")
    assert {roi.size for _, roi in seen.encoded} == {(SIDE, SIDE)}


async def test_clicks_and_corrections_in_tiles(tmp_path, picture):
    click, seen = await ask(tmp_path, picture, Hints(points=((60, 60), (200, 150, False))), None, tile_side=SIDE)
    assert click.mask.any()
    assert len(seen.encoded) <= MOST_ASKS * TILES
    fixed, _ = await ask(tmp_path, picture, Hints(points=((220, 20),), earlier=click.mask), None, tile_side=SIDE)
    assert (fixed.mask & ~click.mask).any()
    for answer in (click, fixed):
        assert ((await replay(answer.trace_path)).answer.mask == answer.mask).all()
