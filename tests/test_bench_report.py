"""The page of a benchmark run: complete, self-contained, safe whatever the run holds, and true to its summary."""

import html
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image as Pillow

from geoseg_agent import DatasetError
from geoseg_agent.bench.gallery import EACH
from geoseg_agent.bench.metrics import METRICS
from geoseg_agent.bench.pairs import Pair
from geoseg_agent.bench.plan import Source, plan_of
from geoseg_agent.bench.records import Took, result_of
from geoseg_agent.bench.report import MOST_BYTES, MOST_ERRORS, write_report
from geoseg_agent.bench.report_facts import known_of
from geoseg_agent.bench.summary import summarise
from geoseg_agent.runs.failure import Failure

SIZE = (40, 50)
DASH = "\u2013"
MARKUP = """<script>alert(1)</script> <img src=x onerror="alert(2)"> 'q' & {{ 7 * 7 }}"""


class Drawn:
    def __init__(self, mask):
        self.mask = mask

    def read(self):
        return self.mask


class Cells(HTMLParser):
    """Texts by the id of the element around them, and the rows of cells inside."""

    def __init__(self, page):
        super().__init__()
        self.open, self.texts, self.rows = [], {}, {}
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag not in {"meta", "input", "br", "img"}:
            self.open.append((tag, dict(attrs).get("id")))
        if tag == "tr":
            for name in self.ids():
                self.rows.setdefault(name, []).append([])
        if tag in {"td", "th"}:
            for name in self.ids():
                self.rows.setdefault(name, [[]])[-1].append("")

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        inside = any(tag in {"td", "th"} for tag, _ in self.open)
        for name in self.ids():
            self.texts[name] = self.texts.get(name, "") + data
            if inside and name in self.rows:
                self.rows[name][-1][-1] += data

    def ids(self):
        return [name for _, name in self.open if name]


def square(area):
    mask = np.zeros(SIZE, dtype=np.bool_)
    mask.ravel()[:area] = True
    return mask


def pair_of(number, folder, truth=400, query=None, **known):
    path = folder / f"picture{number // 2}.png"
    if not path.exists():
        noise = np.random.default_rng(number // 2).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Pillow.fromarray(noise).save(path)
    return Pair(f"pair{number:04}", path, query or f"query {number}", Drawn(square(truth)), **known)


def found(pair, area, *, image=None, **known):
    given = {"status": "found" if area else "not_found", "engine": "tests", "image": image or pair.image.name}
    return result_of(pair, pair.truth.read(), square(area), **given | known)


def failed(pair, code="deadline", message="it took too long", **known):
    given = {"status": "failed", "engine": "tests", "image": pair.image.name}
    return result_of(pair, pair.truth.read(), None, error=Failure(code=code, message=message), **given | known)


def a_run(folder):
    known = [{"level": str(1 + i % 3), "domain": ("urban", "rural")[i % 2], "source": f"s{i % 3}"} for i in range(12)]
    pairs = [pair_of(i, folder, (10, 90, 700)[i % 3], **known[i]) for i in range(12)]
    results = [
        found(
            pair,
            60 * i,
            confidence=None if i == 3 else (i + 1) / 20,
            rules=(("both",), ("points",), ("text", "both"))[i % 3],
            seconds=Took(total=1 + i / 7, stages={"grounding": 0.5 + i / 90, "points": 0.25}),
            calls=2,
            tokens=1000 + i,
        )
        for i, pair in enumerate(pairs[:10])
    ]
    results.append(failed(pairs[10]))
    declined = result_of(
        pairs[11], pairs[11].truth.read(), None, status="ambiguous", engine="tests", image="picture5.png"
    )
    return pairs, [*results, declined]


def page_of(folder, pairs, results, name="a run", **more):
    summary = summarise(results, resamples=50)
    page = write_report(folder, name, results, summary, pairs, **more).read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:image/(?:webp|png);base64,|#)""", page)
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]*", "", page).replace("http-equiv", "")
    assert not re.search(
        r"<script|@import|url\((?!#)|<link|<iframe| style=| on\w+=\"", page.replace(html.escape(MARKUP), "")
    )
    assert "Content-Security-Policy" in page
    assert len(page.encode()) < MOST_BYTES, len(page.encode())
    return page, summary


def cent(value):
    return f"{100 * value:.1f}"


def test_the_numbers_are_those_of_the_summary(tmp_path):
    page, summary = page_of(tmp_path, *a_run(tmp_path))
    cells = Cells(page)

    for cell, metric in zip(cells.rows["overall"][0][1:], METRICS, strict=False):
        mean = summary.overall.metrics[metric]
        assert cell == f"{cent(mean.value)}{cent(mean.low)}{DASH}{cent(mean.high)}"
    whole = summary.overall.cumulative_iou
    assert cells.rows["overall"][0][-1] == f"{cent(whole.value)}{cent(whole.low)}{DASH}{cent(whole.high)}"
    assert cells.rows["over-sources"][0][1:-1] == [cent(summary.over_sources[metric]) for metric in METRICS]
    for kind, groups in summary.strata.items():
        rows = cells.rows[f"by-{kind}"][1:]
        assert [row[0] for row in rows] == list(groups)
        for row, group in zip(rows, groups.values(), strict=True):
            silent = group.outcomes.failed + group.outcomes.abstained
            assert row[1:4] == [str(group.n), str(group.images), str(silent)]
            assert row[5] == cent(group.metrics["iou"].value)
    for kind, count in summary.overall.outcomes.model_dump().items():
        assert cells.texts[f"outcome-{kind}"] == str(count)
    assert cells.texts["aurc"] == f"{summary.risk.aurc:.3f}"
    assert cells.texts["bad-at-half"] == f"{cent(summary.risk.bad_at_half)} %"
    costs = {row[0]: row[1:] for row in cells.rows["costs"][1:]}
    assert costs["Calls per pair"] == ["10", "2", "2", "2", "20"]
    assert costs["Tokens per pair"][-1] == f"{summary.costs.tokens.per_pair.total:,.0f}"
    assert costs["points"] == ["10", "0.25", "0.25", "0.25", "2.50"]


def test_every_outcome_counts_and_failures_say_why(tmp_path):
    page, summary = page_of(tmp_path, *a_run(tmp_path))

    assert sum(summary.overall.outcomes.model_dump().values()) == summary.overall.n == 12
    assert "it took too long" in page
    assert "deadline" in page
    assert page.count('<figure class="sheet case">') == 12


def test_markup_stays_text_wherever_it_comes_from(tmp_path):
    known = {"level": MARKUP[:60], "domain": MARKUP, "source": MARKUP}
    pairs = [pair_of(i, tmp_path, query=MARKUP, **known) for i in range(3)]
    took = Took(total=1, stages={MARKUP: 0.5, "$\\frac$ ünï": 0.5})
    results = [
        found(pairs[0], 300, engine=MARKUP, seconds=took, trace="../../etc/passwd", image=MARKUP),
        failed(pairs[1], code=MARKUP, message=MARKUP),
        found(pairs[2], 400, seconds=took),
    ]
    page, _ = page_of(tmp_path, pairs, results, name=MARKUP)

    assert "<img" not in page
    assert "onerror=&#34;" in page
    assert "{{ 7 * 7 }}" in page
    assert "&lt;script&gt;" in page


def test_characters_that_reorder_a_line_are_shown_by_number(tmp_path):
    pair = pair_of(0, tmp_path, query="roofs \u202e sfoor")
    page, _ = page_of(tmp_path, [pair], [found(pair, 400)])

    assert "\u202e" not in page
    assert "⟨U+202E⟩" in page


def test_one_pair_has_no_interval_and_says_so(tmp_path):
    pair = pair_of(0, tmp_path)
    page, _ = page_of(tmp_path, [pair], [found(pair, 200)])

    assert "no interval: there is one image" in page
    assert Cells(page).rows["overall"][0][1] == f"50.0{DASH}"
    assert 'id="gallery-best"' in page
    assert 'id="gallery-worst"' not in page


@pytest.mark.parametrize("engine", ["tests", "none"])
def test_a_run_where_everything_failed(tmp_path, engine):
    pairs = [pair_of(i, tmp_path) for i in range(4)]
    page, _ = page_of(tmp_path, pairs, [failed(pair, engine=engine) for pair in pairs])

    assert "Every pair failed." in page
    assert Cells(page).rows["overall"][0][1].startswith("0.0")
    assert "No pair has a confidence" in page
    assert "no query came to the fusion" in page
    assert 'id="gallery-silent"' in page


def test_a_run_of_empty_masks_is_not_ranked_in_two_scores(tmp_path):
    pairs = [pair_of(i, tmp_path) for i in range(4)]
    page, summary = page_of(tmp_path, pairs, [found(pair, 0) for pair in pairs])

    row = Cells(page).rows["overall"][0]
    assert [metric for cell, metric in zip(row[1:], METRICS, strict=False) if "*" in cell] == list(summary.unranked)
    assert "Every mask is empty." in page


def test_targets_that_are_not_there(tmp_path):
    pairs = [pair_of(i, tmp_path, truth=0) for i in range(4)]
    page, _ = page_of(tmp_path, pairs, [found(pair, 0) for pair in pairs])

    assert "No pair has a target" in page
    assert Cells(page).rows["overall"][0][-1] == DASH


def test_what_a_data_set_does_not_state_is_not_a_row(tmp_path):
    pairs = [pair_of(i, tmp_path) for i in range(4)]
    page, _ = page_of(tmp_path, pairs, [found(pair, 100 * i) for i, pair in enumerate(pairs)])

    assert page.count("the data set does not state it") == 3
    assert "No pair failed or went without an answer." in page
    assert "unstated" not in page
    assert "mean over sources" not in re.sub(r"Mean over sources", "", page)
    assert "Nobody timed these answers." in page


def test_masks_of_another_system_have_no_picture_of_the_prediction_and_the_page_says_so(tmp_path):
    pairs = [pair_of(i, tmp_path) for i in range(4)]
    page, _ = page_of(tmp_path, pairs, [found(pair, 100 * i) for i, pair in enumerate(pairs)])

    assert "made by another system" in page
    assert page.count("answer outlined") == 3  # the mask of pair 0 is empty, so it is known


def test_it_works_with_pictures_truths_and_pairs_gone(tmp_path):
    pairs, results = a_run(tmp_path)
    (tmp_path / "picture0.png").unlink()
    (tmp_path / "picture1.png").write_bytes(b"no picture")
    page, _ = page_of(tmp_path, pairs[:-2], results)

    assert page.count("The picture cannot be read: ") == 4
    assert page.count("The pair is no longer in the data set") == 2


def test_the_plan_of_the_run_is_told_and_a_stranger_is_not(tmp_path):
    pairs = [pair_of(i, tmp_path) for i in range(2)]
    results = [failed(pair, engine="none") for pair in pairs]
    settings = {"profile": "default", "grounder": "mllm", "model": MARKUP, "samples": 3, "bands": None}
    plan = plan_of(
        Source(path=str(tmp_path), kind="manifest"),
        [(pair, pair.image.name) for pair in pairs],
        settings,
        {"gamma": 0.01, "variant": "full"},
        concurrency=(2, 4),
    )
    (tmp_path / "run.json").write_text(plan.model_dump_json(), encoding="utf-8")
    page, _ = page_of(tmp_path, pairs, results)

    assert "layout manifest" in page
    assert "gamma 0.01, variant full" in page
    assert "samples 3, 2 and 4 pairs at once" in page
    assert "No pair failed" not in page
    assert plan.digest[:16] in page
    assert known_of(tmp_path, results[:1]).plan is None
    (tmp_path / "run.json").write_text("{", encoding="utf-8")
    assert "layout manifest" not in page_of(tmp_path, pairs, results)[0]


def test_its_size_is_bounded_whatever_the_run(tmp_path):
    long = "x" * 5000 + MARKUP
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    Pillow.fromarray(noise).save(tmp_path / "noise.png")
    truth = np.random.default_rng(1).random((900, 900)) < 0.5
    bare = Pair("bare", tmp_path / "noise.png", long, Drawn(truth))
    error = Failure(code=long, message=long)
    ends = (
        result_of(bare, truth, np.roll(truth, 1), status="found", engine=long, image=long, trace=long),
        result_of(bare, truth, np.zeros_like(truth), status="not_found", engine=long, image=long),
        result_of(bare, truth, None, status="failed", engine=long, error=error, image=long),
    )
    names = [
        {"id": f"pair{i}", "level": f"level {i}", "domain": long, "source": f"{i}" * 90, "image": f"{i // 9}"}
        for i in range(3000)
    ]
    pairs = [Pair(name["id"], bare.image, long, bare.truth) for name in names]
    results = [ends[i % 3].model_copy(update=name) for i, name in enumerate(names)]
    page, _ = page_of(tmp_path, pairs, results, name=long)

    assert f"The first {MOST_ERRORS} of 1,000 by id" in page
    assert "2,970 smaller parts are in summary.json" in page
    assert "1,500 of 3,000 pairs are drawn" in page
    assert page.count('<figure class="sheet case">') == 3 * EACH


def test_it_tells_how_far_it_is_and_replaces_an_older_page(tmp_path):
    pairs, results = a_run(tmp_path)
    (tmp_path / "report.html").write_text("older", encoding="utf-8")
    told = []
    page, _ = page_of(tmp_path, pairs, results, told=lambda done, total: told.append((done, total)))

    assert told == [(i, 12) for i in range(1, 13)]
    assert "older" not in page
    assert page == page_of(tmp_path, pairs, results)[0]


def test_a_page_that_cannot_be_written_is_a_typed_error(tmp_path):
    pairs, results = a_run(tmp_path)
    (tmp_path / "file").write_text("in the way", encoding="utf-8")

    with pytest.raises(DatasetError, match="report"):
        write_report(tmp_path / "file", "a run", results, summarise(results, resamples=10), pairs)


def test_matplotlib_is_loaded_for_a_page_only_and_never_pyplot():
    code = """
import sys
import geoseg_agent.bench.report
assert "matplotlib" not in sys.modules
from geoseg_agent.bench.plots import _axes
from geoseg_agent.bench.plots_svg import plain_style, svg_of
with plain_style():
    assert "<path" in svg_of(_axes("a", "b")[0], "empty")
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
