"""`--search` on the command line: the plan is printed, and many paid calls want a yes."""

import json
import threading

import pytest
from command_line import here
from PIL import Image

URL = "http://127.0.0.1:9/v1"


@pytest.fixture
def wide(tmp_path):
    path = tmp_path / "wide.png"
    Image.new("RGB", (4000, 1400), (90, 120, 60)).save(path, compress_level=1)
    return path


def paid(image, *more, **environment):
    return here(
        "segment",
        image,
        "the cars",
        *more,
        GEOSEG_BASE_URL=URL,
        GEOSEG_MODEL="qwen3-vl-8b",
        GEOSEG_ATTEMPTS="1",
        GEOSEG_SAMPLES="6",
        **environment,
    )


def test_many_calls_are_refused_without_a_yes(wide):
    done = paid(wide, "--search", "tiles")
    assert done.returncode == 6
    assert "search in 4 windows of 1440 x 1400 px at 1/1.0" in done.stderr
    assert "at most 24 calls, about" in done.stderr
    assert "nobody confirmed it" in done.stderr
    assert "--yes" in done.stderr
    assert not list(wide.parent.glob("traces/*"))


def test_with_a_yes_the_search_begins(wide):
    done = paid(wide, "--search", "tiles", "--yes")
    assert done.returncode == 4, "nobody listens on this port"
    assert "at most 24 calls" in done.stderr


def test_a_budget_that_is_too_small_is_said_before_anything_else(wide):
    done = paid(wide, "--search", "tiles", "--yes", "--json", GEOSEG_SEARCH_CALLS="23")
    assert done.returncode == 6
    told = json.loads(done.stdout)["error"]
    assert told["code"] == "budget"
    assert "24 calls, and 23 are allowed" in told["message"]


def test_few_calls_need_no_yes(wide):
    done = paid(wide, "--search", "auto")
    assert done.returncode == 4
    assert "one picture of the whole image, because nothing says how large its pixels are" in done.stderr


def test_what_is_free_needs_no_yes_either(tmp_path):
    path = tmp_path / "scene.png"
    Image.new("RGB", (900, 700), (90, 120, 60)).save(path)
    done = here("segment", path, "the lake", "--search", "tiles", "--json", "--traces", "none")
    assert done.returncode == 0
    assert "nothing is paid" in done.stderr
    assert any("searched in" in note for note in json.loads(done.stdout)["notes"])
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("geoseg-search")]


def test_where_nothing_is_grounded_nothing_is_planned(tmp_path):
    path = tmp_path / "scene.png"
    Image.new("RGB", (900, 700), (90, 120, 60)).save(path)
    done = here("segment", path, "the lake", "--search", "tiles", "--box", "1,1,200,200", "--traces", "none")
    assert done.returncode == 0
    assert "search in" not in done.stderr
