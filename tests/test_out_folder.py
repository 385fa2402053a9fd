"""Where the files of an answer may go: never over the image itself, and known before anything is asked."""

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import rasters
from command_line import SUPPORT, here
from saved_answers import answer

from geoseg_agent.errors import InputError
from geoseg_agent.export import save
from geoseg_agent.imagery import read_image

NAMES = ("mask.png", "overlay.png", "mask.tif")


@pytest.fixture
def own(tmp_path, request):
    """An image that has the name of a file of an answer."""
    path = tmp_path / request.param
    if path.suffix == ".tif":
        return rasters.rgb(path, np.random.default_rng(1), (60, 80))
    PIL.Image.new("RGB", (80, 60), (90, 120, 60)).save(path)
    return path


@pytest.mark.parametrize("own", NAMES, indirect=True)
def test_an_answer_never_takes_the_place_of_its_image(own, tmp_path):
    before = own.read_bytes()
    found = answer(read_image(own))
    with pytest.raises(InputError, match="is the image itself") as caught:
        save(found, tmp_path)
    assert "--out" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == [own.name]
    assert own.read_bytes() == before
    assert save(found, tmp_path / "out")["overlay_png"].exists()


@pytest.mark.parametrize("own", ["mask.tif"], indirect=True)
def test_a_link_to_the_image_is_the_image(own, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "overlay.png").symlink_to(own)
    with pytest.raises(InputError, match=r"overlay\.png is the image itself"):
        save(answer(read_image(own)), out)


@pytest.mark.parametrize("own", ["mask.tif"], indirect=True)
@pytest.mark.parametrize(("out", "says"), [
    (".", "is the image itself"),
    ("mask.tif", "mask.tif is no folder"),
    ("mask.tif/below", "mask.tif is no folder"),
])  # fmt: skip
def test_a_folder_that_will_not_do_is_refused_before_anything_is_asked(own, out, says):
    before = own.read_bytes()
    done = here("segment", own, "water", "--out", out, "--traces", "traces")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert says in done.stderr
    assert not Path("traces").exists()
    assert own.read_bytes() == before


def test_what_was_paid_for_is_had_again_where_it_could_not_be_written(tmp_path):
    drawn = np.full((300, 400, 3), (70, 120, 60), np.uint8)
    cv2.rectangle(drawn, (100, 80), (250, 200), (255, 0, 255), -1)
    PIL.Image.fromarray(drawn).save(tmp_path / "scene.png")
    (tmp_path / "out" / "mask.png").mkdir(parents=True)
    command = [sys.executable, SUPPORT / "mllm_child.py", json.dumps({"dialect": "vllm"})]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        url = json.loads(server.stdout.readline())["base_url"]
        asked = ("segment", "scene.png", "the magenta hall", "--traces", "traces")
        failed = here(*asked, "--out", "out", GEOSEG_BASE_URL=url)
        assert failed.returncode == 2, failed.stderr
        again = re.search(r"with --grounder (replay:\S+) nobody is asked again", failed.stderr)[1]
        done = here(*asked, "--out", "other", "--grounder", again, GEOSEG_BASE_URL=url)
        assert done.returncode == 0, done.stderr
        print("records", file=server.stdin, flush=True)
        assert [one["kind"] for one in json.loads(server.stdout.readline())].count("completion") == 1
        server.stdin.close()
    assert (tmp_path / "other" / "mask.png").is_file()
