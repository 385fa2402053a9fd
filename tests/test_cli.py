"""The command line as a person and a program use it: output, files, exit codes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from command_line import here

from geoseg_agent.samples import scene, write

QUERY = "Segment the lake."


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return write(scene(7, (288, 384), kind="lakeside"), tmp_path_factory.mktemp("sample") / "lakeside")


def geoseg(*arguments, **environment):
    """The command line in this process: what it says and how it ends is the same there, and no second is lost."""
    return here(*arguments, **{"COLUMNS": "200", "NO_COLOR": "1"} | environment)


def alone(*arguments, **environment):
    """The command line in a process of its own, where the streams and the exit code are those of a process."""
    command = [sys.executable, "-c", "from geoseg_agent.cli import main; main()", *map(str, arguments)]
    environment = {"COLUMNS": "200", "NO_COLOR": "1"} | environment
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


def test_json_is_exactly_one_object_with_the_documented_fields(sample, tmp_path):
    done = alone("segment", sample.geotiff, QUERY, "--json", "--out", "out")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    fields = ["status", "confidence", "engine", "query", "image", "targets", "mask", "trace", "files", "seconds"]
    assert set(fields) <= set(told)
    assert set(told["image"]) == {"path", "width", "height", "sha256"}
    assert (told["status"], told["engine"], told["query"]) == ("found", "offline-baseline", QUERY)
    of_target = ["box", "roi", "phrase", "rule", "score", "area_px", "keypoints", "instances"]
    assert set(of_target) <= set(told["targets"][0])
    assert told["mask"]["size"] == [288, 384]
    assert set(told["files"]) == {"mask_png", "overlay_png", "mask_tif", "targets_geojson", "targets_gpkg"}
    for path in told["files"].values():
        assert (tmp_path / path).stat().st_size > 0
    mask = np.asarray(PIL.Image.open(tmp_path / told["files"]["mask_png"]))
    assert np.count_nonzero(mask) == sum(target["area_px"] for target in told["targets"])


def test_vectors_in_the_formats_that_are_asked_for(sample):
    options = ["--format", "fgb", "--format", "geoparquet", "--simplify", "1.5"]
    done = geoseg("segment", sample.geotiff, QUERY, "--out", "out", *options)

    assert done.returncode == 0, done.stderr
    listed = re.findall(r"^  (\w+) +out/(\S+)$", done.stdout, re.MULTILINE)
    names = [f"{layer}.{kind}" for kind in ("fgb", "parquet") for layer in ("targets", "instances")]
    assert [name for _, name in listed] == ["mask.png", "overlay.png", "mask.tif", *names]
    assert all((Path("out") / name).stat().st_size for _, name in listed)


@pytest.mark.parametrize("wrong", [("--format", "shp"), ("--simplify=-2",), ("--simplify", "nan")])
def test_files_that_cannot_be_are_refused_before_anything_is_asked(sample, wrong):
    done = geoseg("segment", sample.geotiff, QUERY, "--out", "out", "--traces", "traces", *wrong)

    assert done.returncode == 2
    assert not Path("out").exists()
    assert not Path("traces").exists()


def test_it_says_which_files_there_are_not(sample):
    PIL.Image.fromarray(np.asarray(PIL.Image.open(sample.geotiff))).save("plain.png")
    done = geoseg("segment", "plain.png", QUERY, "--out", "out", "--format", "gpkg", "--json")

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert "There is no gpkg: plain.png has no place on the ground." in told["notes"]
    assert set(told["files"]) == {"mask_png", "overlay_png"}


def test_people_get_a_summary_and_the_trace_replays_with_the_image_gone(sample, tmp_path):
    image = tmp_path / "moved.tif"
    image.write_bytes(sample.geotiff.read_bytes())
    done = alone("segment", image, QUERY, "--out", "out", "--traces", "traces")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("found")
    assert "offline-baseline" in done.stdout
    (trace,) = (tmp_path / "traces").glob("*.json")

    live = alone("replay", trace, "--live-tools", "--image", image)
    image.unlink()
    again = alone("replay", trace)

    assert (live.returncode, "IoU 1.0000" in live.stdout) == (0, True), live.stderr
    assert (again.returncode, again.stdout.startswith("same")) == (0, True), again.stderr


def test_what_it_does_not_know_it_says(sample):
    done = geoseg("segment", sample.geotiff, "Where is the hospital?", "--out", "out")

    assert done.returncode == 0
    assert done.stdout.startswith("not_found")
    assert "offline baseline" in done.stderr
    assert "GEOSEG_" in done.stderr


def test_an_unknown_word_in_a_given_box_is_segmented_with_a_note(sample):
    done = geoseg("segment", sample.png, "hospital", "--box", "40,40,160,150", "--json", "--out", "out")
    told = json.loads(done.stdout)

    assert told["targets"][0]["area_px"] > 0
    assert told["targets"][0]["score"] < 0.5
    assert told["notes"]
    assert set(told["files"]) == {"mask_png", "overlay_png"}


def test_points_may_be_negative(sample):
    arguments = ("--box", "40,40,160,150", "--point", "100,100", "--point", "-45,45")
    done = geoseg("segment", sample.png, "thing", *arguments, "--json", "--out", "out")

    assert done.returncode == 0, done.stderr
    trace = json.loads(Path(json.loads(done.stdout)["trace"]).read_text(encoding="utf-8"))
    assert [(point["x"], point["y"], point["positive"]) for point in trace["hints"]["points"]] == [
        (100, 100, True),
        (45, 45, False),
    ]


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "told"),
    [
        (["segment", "nowhere.tif", "water"], {}, 2, "nowhere.tif"),
        (["segment", "IMAGE", "  "], {}, 2, "empty"),
        (["segment", "IMAGE", "water", "--box", "1,2,3"], {}, 2, "x1,y1,x2,y2"),
        (["segment", "IMAGE", "water", "--box", "0,0,9999,10"], {}, 2, "384 x 288"),
        (["segment", "IMAGE", "water", "--point", "a,b"], {}, 2, "x,y or -x,y"),
        (["segment", "IMAGE", "--point", "4,4", "--point", "-1,-1"], {}, 2, "'-1,-1' is not x,y or -x,y"),
        (["segment", "IMAGE", "water", "--profile", "papers"], {}, 3, "profile"),
        (["segment", "IMAGE", "water"], {"GEOSEG_TOLS": "x"}, 3, "GEOSEG_TOOLS"),
        (["segment", "IMAGE", "water", "--grounder", "nobody"], {}, 3, "known are"),
        (["segment", "IMAGE", "water", "--deadline", "0.001"], {}, 6, "deadline"),
        (["replay", "nowhere.json"], {}, 7, "nowhere.json"),
        (["trace", "list", "nowhere"], {}, 7, "nowhere"),
        (["sample", "--kind", "moon"], {}, 2, "lakeside"),
        (["segment"], {}, 2, "Missing argument"),
    ],
)
def test_exit_codes_and_words(sample, arguments, environment, code, told):
    done = geoseg(*[str(sample.png) if part == "IMAGE" else part for part in arguments], **environment)

    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_failure_in_json_is_one_object_too():
    done = alone("segment", "nowhere.tif", "water", "--json")
    told = json.loads(done.stdout)

    assert done.returncode == 2
    assert (told["status"], told["error"]["code"]) == ("failed", "bad_image")


def test_logs_are_json_lines_when_asked(sample):
    done = alone("segment", sample.png, "water", "--out", "out", GEOSEG_LOG_FORMAT="json")
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]

    answered = next(event for event in events if event["event"] == "answered")
    assert re.fullmatch(r"[0-9A-Za-z-]+", answered["trace_id"])


def test_traces_are_listed_shown_recovered_and_pruned(sample, tmp_path):
    for query in (QUERY, "hospital"):
        assert geoseg("segment", sample.png, query, "--out", "out").returncode == 0
    listed = geoseg("trace", "list")
    (first, _) = sorted((tmp_path / "traces").glob("*.json"))

    assert QUERY in listed.stdout
    assert "hospital" in listed.stdout
    assert "similarity" in geoseg("trace", "show", first.stem).stdout
    page = geoseg("trace", "show", first, "--html", "page.html", "--image", sample.png)
    assert page.returncode == 0, page.stderr
    assert "<html" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "0 recovered of 0" in geoseg("trace", "recover").stderr
    assert "1 removed" in geoseg("trace", "prune", "--keep", "1").stderr
    assert not first.exists()


def test_help_teaches_with_examples():
    assert "Examples" in geoseg("segment", "--help").stdout
    for command in ("segment", "replay", "trace", "sample", "doctor"):
        assert command in geoseg("--help").stdout
        assert geoseg(command, "--help").returncode == 0


def test_the_doctor_names_what_is_ready_and_what_is_missing():
    done = geoseg("doctor", GEOSEG_GROUNDER="scripted:nowhere.json")

    assert done.returncode == 0
    assert "numpy" in done.stdout
    assert "nowhere.json" in done.stdout
    assert "broken" in done.stdout
    assert "[models] extra" in done.stdout
