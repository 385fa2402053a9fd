"""Questions to a raster that is opened: the answer of reading it, its trace, and what does not work on it."""

import asyncio
import sys
import threading
from contextlib import asynccontextmanager

import cv2
import numpy as np
import pytest
import rasters
from fakes import WordGrounder, WordToolbox

from geoseg_agent import Agent, Hints, ImageError, Settings, ToolFailed, TraceError
from geoseg_agent.imagery import read_image
from geoseg_agent.overlay import overlay
from geoseg_agent.samples import scene
from geoseg_agent.trace.live import iou
from geoseg_agent.trace.replay import replay, replay_live
from geoseg_agent.trace.store import load
from geoseg_tools import Box, Masks

SIZE = (1500, 2000)
LIMIT = 1_000_000
QUERY = "Segment the lake."
BESIDE = Hints(box=Box(1700, 200, 2000, 900), phrase="text")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A lakeside with an edge of nodata."""
    drawn = cv2.resize(scene(7, (300, 400)).pixels, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    pixels = np.maximum(np.moveaxis(drawn, -1, 0), 1)
    pixels[:, :, -100:] = 0
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "nodata": 0}
    return rasters.write(tmp_path_factory.mktemp("lake") / "lake.tif", pixels, **layout)


def settings(**more):
    return Settings(**{"traces": "none", "max_pixels": LIMIT} | more)


async def ask(path, folder):
    async with Agent(settings(traces=str(folder))) as agent:
        return [await agent.segment(image, QUERY) for image in (path, read_image(path))]


@pytest.fixture(scope="module")
def answers(path, tmp_path_factory):
    """The folder of the traces, and the answers on the opened raster and on the one that was read."""
    folder = tmp_path_factory.mktemp("traces")
    return folder, *asyncio.run(ask(path, folder))


def test_the_offline_default_finds_the_same_lake(answers):
    _, answer, eager = answers
    assert answer.image.opened
    assert not eager.image.opened
    assert answer.status == eager.status == "found"
    assert len(answer.targets) == len(eager.targets) == 1
    (found,), (expected,) = answer.targets, eager.targets
    assert iou(found.mask, found.roi, expected.mask, expected.roi) >= 0.98
    assert overlay(answer).size == overlay(eager).size


async def test_its_trace_says_so_and_replays(answers):
    folder, answer, eager = answers
    trace = load(folder / f"{answer.trace_id}.json")
    assert trace.image.opened is True
    assert trace.image.file_sha256 is None
    assert '"opened"' not in (folder / f"{eager.trace_id}.json").read_text()
    again = (await replay(trace)).answer
    assert again.image.opened
    assert not again.image.scene.has_pixels
    assert np.array_equal(again.targets[0].mask, answer.targets[0].mask)


async def test_live_tools_open_what_was_opened_and_read_what_was_read(path, answers):
    folder, *both = answers
    for answer in both:
        live = await replay_live(folder / f"{answer.trace_id}.json", path)
        assert live.answer.image.opened == answer.image.opened
        assert live.answer.image.sha256 == answer.image.sha256
        assert live.ious == (1.0,)


async def test_live_tools_refuse_another_file(answers, tmp_path):
    folder, answer, _ = answers
    other = rasters.rgb(tmp_path / "other.tif", np.random.default_rng(1), SIZE)
    with pytest.raises(TraceError, match=r"other\.tif is not the picture"):
        await replay_live(folder / f"{answer.trace_id}.json", other)


async def test_copies_for_stability_become_a_note(path, tmp_path):
    async with Agent(settings(traces=str(tmp_path), stability=2)) as agent:
        answer = await agent.segment(path, QUERY)
    assert answer.status == "found"
    assert any(r"lake.tif, which is opened and not read" in note for note in answer.notes)
    assert (await replay(tmp_path / f"{answer.trace_id}.json")).answer.notes == answer.notes


class Full(WordToolbox):
    """Everything in the box, whatever it is."""

    async def from_text(self, handle, phrase):
        return Masks.of(np.ones((1, *handle.size), bool))


class Decoding:
    """Notes every thread on which Python code of ours reads a block."""

    def __init__(self):
        self.threads = set()

    def __call__(self, frame, event, _):
        if event == "call" and frame.f_code.co_name == "shown_block":
            self.threads.add(threading.current_thread().name)

    @asynccontextmanager
    async def watching(self):
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)


@pytest.mark.parametrize("toolbox", [None, Full()], ids=["offline default", "tools that look at nothing"])
async def test_nothing_is_decoded_on_the_event_loop(path, toolbox):
    watch = Decoding()
    async with watch.watching():
        grounder = None if toolbox is None else WordGrounder()
        async with Agent(settings(), grounder=grounder, toolbox=toolbox) as agent:
            answer = await agent.segment(path, QUERY, hints=BESIDE if toolbox else None)
    assert answer.targets
    assert watch.threads
    assert threading.main_thread().name not in watch.threads


async def test_nodata_is_spared_in_masks_of_tools_that_know_of_none(path):
    async with Agent(settings(), grounder=WordGrounder(), toolbox=Full()) as agent:
        (target,) = (await agent.segment(path, QUERY, hints=BESIDE)).targets
    there = np.zeros(SIZE, bool)
    there[target.roi.slices] = target.mask
    assert there[200:900, 1700:1900].all()
    assert not there[:, 1900:].any()


async def test_a_file_that_goes_away_ends_the_query_as_a_bad_image(path, tmp_path):
    gone = tmp_path / "gone.tif"
    gone.write_bytes(path.read_bytes())
    image = read_image(gone, max_pixels=LIMIT)
    gone.unlink()
    async with Agent(settings(traces=str(tmp_path))) as agent:
        with pytest.raises(ImageError, match=r"gone\.tif is not there any more") as caught:
            await agent.segment(image, QUERY)
    trace = load(tmp_path / f"{caught.value.trace_id}.json")
    assert trace.status == "failed"
    assert trace.error.code == "bad_image"
    assert isinstance((await replay(trace)).error, ImageError)


class Whole(Full):
    """Wants all pixels of the scene."""

    async def similarity(self, crop, phrase):
        return crop.scene.pixels[:2, :2, 0].astype(np.float32)


async def test_a_tool_that_needs_all_pixels_fails_with_what_to_do(path):
    async with Agent(settings(), grounder=WordGrounder(), toolbox=Whole()) as agent:
        with pytest.raises(ToolFailed, match=r"lake\.tif has 2000 x 1500") as caught:
            await agent.segment(path, QUERY, hints=BESIDE)
    assert "scene.view" in caught.value.hint
