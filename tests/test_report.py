"""The trace page: complete, self-contained, and safe whatever the trace holds."""

import html
import re
from pathlib import Path

import numpy as np
import pytest
from fakes import WordGrounder, WordToolbox, scene

from geoseg_agent import Agent, GeoSegError, Image, ImageError, InputError, Settings
from geoseg_agent.trace.report import write_report
from geoseg_agent.trace.store import load

EXAMPLES = sorted((Path(__file__).parents[1] / "traces" / "examples").glob("*.json"))
SEAMS = ("ground", "encode", "similarity", "points", "text")


async def traced(folder, query, image=None):
    async with Agent(Settings(traces=folder), grounder=WordGrounder(), toolbox=WordToolbox()) as agent:
        try:
            return load((await agent.segment(image or scene(), query)).trace_path)
        except GeoSegError as error:
            return load(folder / f"{error.trace_id}.json")


def page_of(trace, folder, image=None):
    return write_report(trace, folder / "page.html", image).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_becomes_a_page_that_asks_nobody(path, tmp_path):
    trace = load(path)
    page = page_of(trace, tmp_path)

    assert html.escape(trace.query) in page
    assert trace.id in page
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", page)
    assert "@import" not in page
    assert "<script" not in page
    assert "Content-Security-Policy" in page
    assert len(page) < 3_000_000


async def test_every_step_and_its_times_are_on_the_page(tmp_path):
    trace = await traced(tmp_path, "sure both points")
    page = page_of(trace, tmp_path, scene())

    assert len(trace.steps) == 9
    for seam in SEAMS:
        assert seam in page
    for target in trace.result.targets:
        assert html.escape(target.phrase) in page
        assert f"{target.areas.mask:,}" in page


async def test_markup_in_a_query_or_phrase_stays_text(tmp_path):
    trace = await traced(tmp_path, "both <script>alert(1)</script> <img src=x onerror=alert(2)>")
    page = page_of(trace, tmp_path, scene())

    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page


async def test_another_image_is_refused_with_both_digests(tmp_path):
    trace = await traced(tmp_path, "both")
    other = Image.from_array(np.zeros((60, 80, 3), dtype=np.uint8))

    with pytest.raises(ImageError, match=trace.image.sha256) as caught:
        write_report(trace, tmp_path / "page.html", other)
    assert other.sha256 in str(caught.value)
    assert not (tmp_path / "page.html").exists()


async def test_a_failed_query_shows_its_error(tmp_path):
    trace = await traced(tmp_path, "both broken")
    page = page_of(trace, tmp_path)

    assert trace.status == "failed"
    assert html.escape(trace.error.message) in page


async def test_a_page_that_cannot_be_written_is_a_typed_error(tmp_path):
    trace = await traced(tmp_path, "both")
    (tmp_path / "file").write_text("in the way", encoding="utf-8")

    with pytest.raises(InputError):
        write_report(trace, tmp_path / "file" / "page.html")
