"""Where pairs come from, and what a calibration leaves: traces and JSON lines in; settings, figure and report out."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from asking import BLUE, RED, picture
from mllm_server import MllmServer

from geoseg_agent import Agent, Settings
from geoseg_agent.bench.pairs import Pair
from geoseg_agent.calibrate import density, settings_file
from geoseg_agent.calibrate.box_pairs import Filled
from geoseg_agent.calibrate.from_traces import read_traces, truths_of
from geoseg_agent.calibrate.margins import Cost, Margins
from geoseg_agent.calibrate.mask_boxes import with_mask_boxes
from geoseg_agent.calibrate.pairs import Said
from geoseg_agent.calibrate.pairs_file import read_pairs
from geoseg_agent.calibrate.readings import box_of
from geoseg_agent.calibrate.run import calibrate
from geoseg_agent.calibrate.settings_file import Origin
from geoseg_agent.errors import ConfigError, DatasetError, GeoSegError, InputError
from geoseg_agent.grounding.chat import FRAMES
from geoseg_tools.geometry import Box

EXAMPLES = Path(__file__).parents[1] / "traces" / "examples"
COST = Cost(0.9, 0.99, 1.7, 0.5)
MARGINS = Margins(0.9, 0.2134, 0.0876, (0.19, 0.23), (0.07, 0.1), COST)
ORIGIN = Origin("qwen3-vl-8b", 500, 120, 7, "2026-11-25")
BOXES = (Box(*RED), Box(*BLUE))
MASKS = {"two things": (Box(1, 2, 3, 4), Box(5, 6, 8, 9)), "nothing": ()}
LINE = {"image": "a.jpg", "size": [800, 1200], "said": [[101, 52, 398, 260]], "true": [[95, 50, 410, 255]]}


def replies(count=60, *, frame="norm1000", read="norm1000", drift=0.2, side=810):
    """Right but for a drift to the right and down by a share of the box, in a frame."""
    rng = np.random.default_rng(1)
    found = []
    for number in range(count):
        w, h = rng.integers(100, 250, 2)
        x, y = rng.integers(0, side - 300, 2)
        exact = np.array([x + drift * w, y + drift * h, x + (1 + drift) * w, y + (1 + drift) * h])
        numbers = tuple(float(round(value * (1000 / side if frame == "norm1000" else 1))) for value in exact)
        true = Box(int(x), int(y), int(x + w), int(y + h))
        predicted = box_of(numbers, read, (side, side), None)
        found.append(
            Said((numbers,), (predicted,), (true,), (side, side), None, FRAMES[read], str(number // 3), "qwen3-vl-8b")
        )
    return found


async def ask(folder, queries, **server):
    async with MllmServer("sglang", **server) as endpoint:
        settings = Settings(base_url=endpoint.base_url, traces=folder, attempts=3)
        async with Agent(settings) as agent:
            for query in queries:
                try:
                    await agent.segment(picture(), query)
                except GeoSegError:
                    continue


async def test_a_run_against_an_endpoint_gives_numbers_sizes_and_boxes(tmp_path):
    query = "the red and the blue rectangle"
    await ask(tmp_path, [query])
    found = read_traces(tmp_path, {("two-boxes", query): BOXES})
    (said,) = found.said
    assert said.numbers == ((293, 156, 449, 391), (684, 651, 879, 807))
    assert said.predicted == BOXES
    assert (said.size, said.sent, str(said.read)) == ((768, 1024), (896, 1184), "norm1000")
    assert said.model == "qwen3-vl-8b"
    assert found.skipped == {}


async def test_replies_refused_for_their_unit_are_kept_as_evidence(tmp_path):
    """A model that speaks pixels of what it was sent leaves the 0..1000 it is read in, and is refused."""
    far = '{"status": "found", "targets": [{"bbox_2d": [809, 651, 1040, 807], "label": "blue"}], "reasoning": ""}'
    await ask(tmp_path, ["the blue rectangle"], script=[far] * 3)
    found = read_traces(tmp_path, {("two-boxes", "the blue rectangle"): BOXES[1:]})
    assert len(found.said) == 3
    assert all(one.refused and one.numbers == ((809, 651, 1040, 807),) for one in found.said)


def test_the_examples_are_read_as_the_agent_read_them():
    truths = {("two-boxes", "the red rectangle"): BOXES[:1], ("two-boxes", "the rectangle that is meant"): BOXES[:1]}
    found = read_traces(EXAMPLES, truths)
    assert len(found.said) == 7  # 1 retried, 2 reasked, 3 samples, 1 reviewed; the reviews' own boxes do not count
    assert sum(one.refused for one in found.said) == 1
    assert found.skipped["no true boxes for this image and query"] > 5
    assert found.skipped["no reply with boxes"] == 1
    with pytest.raises(DatasetError, match="qwen3-vl-8b"):
        read_traces(EXAMPLES, truths, model="another")


def test_boxes_of_a_grounder_without_a_model_count_too():
    trace = json.loads((EXAMPLES / "one-target.json").read_text("utf-8"))
    truths = {(Path(trace["image"]["path"] or trace["image"]["name"]).name, trace["query"]): (Box(0, 0, 99, 99),)}
    said, *others = read_traces(EXAMPLES, truths, model=trace["engine"]).said
    assert len(others) == 2  # a variant, and one with copies: the same query
    assert said.read is None
    assert [list(box) for box in said.predicted] == [target["box"] for target in trace["result"]["targets"]]


def test_a_folder_that_holds_nothing(tmp_path):
    with pytest.raises(DatasetError, match="no folder"):
        read_traces(tmp_path / "none", {})
    with pytest.raises(DatasetError, match="it holds no traces"):
        read_traces(tmp_path, {})
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(DatasetError, match="damaged"):
        read_traces(tmp_path, {})


def test_truths_are_keyed_by_image_and_query():
    pair = Pair("a", Path("images/a.jpg"), "  the   lake ", None, boxes=(Box(0, 0, 9, 9),))
    assert truths_of([pair, replace(pair, id="b"), replace(pair, query="trees", boxes=())]) == {
        ("a.jpg", "the lake"): (Box(0, 0, 9, 9),)
    }
    with pytest.raises(DatasetError, match="one is c"):
        truths_of([pair, replace(pair, id="c", boxes=(Box(0, 0, 8, 8),))])


def test_where_there_are_masks_only_the_box_around_one_is_true():
    pairs = [Pair(name, Path("a.jpg"), "what", Filled((9, 9), boxes)) for name, boxes in MASKS.items()]
    assert [pair.boxes for pair in with_mask_boxes(pairs)] == [(Box(1, 2, 8, 9),), ()]


def test_a_line_of_pixels_is_taken_as_it_is(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(LINE) + "\n\n" + json.dumps({**LINE, "read": "norm1000", "sent": [864, 1248]}) + "\n")
    plain, framed = read_pairs(path)
    assert plain.predicted == (Box(101, 52, 398, 260),)
    assert plain.true == (Box(95, 50, 410, 255),)
    assert (plain.size, plain.sent, plain.read, plain.image) == ((800, 1200), None, None, "a.jpg")
    assert framed.predicted == (box_of((101, 52, 398, 260), "norm1000", (800, 1200), (864, 1248)),)
    assert (framed.sent, str(framed.read)) == ((864, 1248), "norm1000")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"said": [[1, 2, 3]]}, "line 2: said.0"),
        ({"said": [[1, 2, 3, "4"]]}, "line 2: said"),
        ({"said": [[1, 2, 3, 1e300]]}, "line 2: said"),
        ({"size": [0, 5]}, "line 2: size"),
        ({"size": "large"}, "line 2: size"),
        ({"read": "pixel"}, "line 2: read: there is no frame 'pixel'"),
        ({"true": [[10, 10, 5, 20]]}, r"line 2: true\[0\]: Box must not be empty"),
        ({"true": [[10, 10, 5000, 20]]}, "reaches over the image of 1200 x 800"),
        ({"boxes": []}, "line 2: boxes: Extra"),
        ({"image": ""}, "line 2: image"),
    ],
)
def test_a_bad_line_is_named(tmp_path, change, message):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(LINE) + "\n" + json.dumps({**LINE, **change}) + "\n")
    with pytest.raises(DatasetError, match=message):
        read_pairs(path)


@pytest.mark.parametrize("text", ["", "\n", "{", "[1]", '{"image": NaN}', '{"image": "a", "size": [1, 1e999]}', "\0"])
def test_files_that_are_no_pairs(tmp_path, text):
    path = tmp_path / "pairs.jsonl"
    path.write_text(text)
    with pytest.raises(DatasetError):
        read_pairs(path)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_pairs(tmp_path / "none.jsonl")
    path.write_bytes(b'{"image": "\xff"}')
    with pytest.raises(DatasetError, match="UTF-8"):
        read_pairs(path)


def test_a_calibration_writes_settings_figure_and_report(tmp_path):
    made = calibrate(replies(), tmp_path / "out", date="2026-11-25", replicates=50)
    assert made.refused is None
    assert set(made.files) == {"settings", "figure", "markdown", "json"}
    assert made.proposal.at(0.9).alpha == pytest.approx(0.2, abs=0.02)
    assert made.proposal.at(0.9).beta == 0
    assert made.files["figure"].read_bytes().startswith(b"\x89PNG")
    told = json.loads(made.files["json"].read_text("utf-8"))
    assert told["frame_test"]["best"] == "norm1000"
    assert told["frame_test"]["problem"] is None
    assert told["margins"]["groups"][0]["margins"][1]["alpha"] == made.proposal.at(0.9).alpha
    text = made.files["markdown"].read_text("utf-8")
    for part in (
        "qwen3-vl-8b",
        "2026-11-25",
        "60 replies",
        "| all (60 on 20) | 0.9 |",
        "](offsets.png)",
        "the paper's",
    ):
        assert part in text, part


def test_a_wrong_frame_is_reported_and_nothing_is_proposed(tmp_path):
    wrong = replies(frame="norm1000", read="pixels")
    made = calibrate(wrong, tmp_path, date="today", replicates=10)
    assert made.proposal is None
    assert "numbers are in norm1000, and were read in pixels" in made.refused.message
    assert set(made.files) == {"markdown", "json"}
    assert not (tmp_path / "calibration.env").exists()
    assert "Remedy: set GEOSEG_FRAME=norm1000" in made.files["markdown"].read_text("utf-8")
    again = calibrate(wrong, tmp_path, date="today", reading="norm1000", replicates=10)
    assert again.proposal.at(0.9).alpha == pytest.approx(0.2, abs=0.02)
    assert "GEOSEG_FRAME=norm1000" in again.files["settings"].read_text("utf-8")


def test_an_earlier_calibration_does_not_stay_beside_a_refusal(tmp_path):
    calibrate(replies(), tmp_path, date="today", replicates=10)
    calibrate(replies(read="pixels"), tmp_path, date="today", replicates=10)
    assert {path.name for path in tmp_path.iterdir()} == {"calibration.md", "calibration.json"}


def test_too_few_pairs_for_margins_still_have_a_frame(tmp_path):
    calibrate(replies(), tmp_path, date="today", replicates=10)
    made = calibrate(replies(12), tmp_path, date="today", replicates=10)
    assert (made.test.best, made.proposal) == ("norm1000", None)
    assert made.refused.message == "12 of 12 pairs overlap by 0.1 or more; margins need 20"
    assert {path.name for path in tmp_path.iterdir()} == {"calibration.md", "calibration.json"}


def test_what_calibrate_refuses(tmp_path):
    with pytest.raises(DatasetError, match="coverages are over 0"):
        calibrate(replies(), tmp_path, date="today", coverage=1.5)
    with pytest.raises(ConfigError, match="no reading 'pixel'"):
        calibrate(replies(), tmp_path, date="today", reading="pixel")
    others = [replace(one, model="glm-4.6v") for one in replies(5)]
    with pytest.raises(DatasetError, match="one model"):
        calibrate([*replies(), *others], tmp_path, date="today")
    with pytest.raises(DatasetError, match="of none"):
        calibrate([], tmp_path, date="today")


def test_pixels_of_the_original_can_be_set_only_where_nothing_was_resized(tmp_path):
    said = replies(frame="pixels", read="norm1000")
    made = calibrate(said, tmp_path, date="today", reading="original", replicates=10)
    assert "GEOSEG_FRAME=pixels" in made.files["settings"].read_text("utf-8")
    resized = [replace(one, sent=(1440, 1440)) for one in said]
    with pytest.raises(ConfigError, match="no setting reads boxes in original"):
        calibrate(resized, tmp_path, date="today", reading="original", replicates=10)


def test_a_shell_loads_the_file_and_the_settings_take_it(tmp_path):
    path = settings_file.write(tmp_path, MARGINS, ORIGIN._replace(frame="norm1000"))
    show = "from geoseg_agent import Settings; s = Settings(); print(s.alpha, s.beta, s.frame)"
    done = subprocess.run(
        ["sh", "-c", f'set -a; . "{path}"; set +a; exec "{sys.executable}" -c "{show}"'],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    assert done.stdout.split() == ["0.213", "0.088", "norm1000"]


def test_foreign_text_stays_a_comment(tmp_path):
    evil = ORIGIN._replace(model="x\nGEOSEG_API_KEY=1\r\u2028\x1b[0m; rm -rf ~", date="today\nGEOSEG_TAU=9")
    lines = settings_file.write(tmp_path, MARGINS, evil).read_text("utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["GEOSEG_ALPHA=0.213", "GEOSEG_BETA=0.088"]


def test_the_settings_say_what_they_rest_on():
    text = settings_file.render(MARGINS, ORIGIN)
    for part in ("qwen3-vl-8b", "2026-11-25", "500 on 120 images", "coverage: 0.9 ", "0.190..0.230", "0.070..0.100"):
        assert part in text, part
    assert "of one image" in settings_file.render(MARGINS._replace(alpha_range=None), ORIGIN)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_density_is_drawn(tmp_path, suffix):
    rng = np.random.default_rng(0)
    values = rng.normal((0.2, 0.15, -0.1, -0.05), 0.05, (300, 4))
    first, second = (
        density.draw(values, tmp_path / f"{name}.{suffix}", margins=(0.25, 0.05)).read_bytes() for name in "ab"
    )
    assert first == second
    if suffix == "svg":
        text = "".join(ET.fromstring(first).itertext())  # noqa: S314 - our own
        assert "left, median +" in text
        assert "beta = 0.050" in text


def test_equal_offsets_have_a_density_too(tmp_path):
    values = np.tile((0.2, 0.2, -0.1, 0.0), (30, 1))
    assert density.draw(values, tmp_path / "a.png").stat().st_size > 5000
    at = np.linspace(-1, 1, 2001)
    assert np.trapezoid(density.density(values[:, 0], at), at) == pytest.approx(1, abs=0.01)
    with pytest.raises(InputError, match=r"neither \.png nor \.svg"):
        density.draw(values, tmp_path / "a.jpg")


def test_what_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot be written"):
        settings_file.write(tmp_path / "file", MARGINS, ORIGIN)
    with pytest.raises(InputError, match="cannot be written"):
        density.draw(np.zeros((5, 4)), tmp_path / "file" / "a.png")


def test_importing_a_calibration_loads_no_plots():
    code = (
        "import sys, geoseg_agent.calibrate.run; "
        "print(*[name for name in ('matplotlib', 'cv2', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
