"""The scripted grounder: replies from a file, and plain words where the file is wrong."""

import json

import numpy as np
import pytest

from geoseg_agent import ConfigError, Image
from geoseg_agent.grounding.scripted import ScriptedGrounder
from geoseg_agent.types import Query

IMAGE = Image.from_array(np.zeros((20, 30, 3), dtype=np.uint8))
FOUND = {"status": "found", "targets": [{"box": [1, 2, 10, 12], "phrase": "hall", "confidence": 0.5}]}


def script(tmp_path, *replies):
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"replies": replies}), encoding="utf-8")
    return path


async def test_an_entry_for_the_image_wins_over_the_star(tmp_path):
    path = script(
        tmp_path,
        {"image": "*", "query": "the hall", "status": "not_found"},
        {"image": IMAGE.sha256, "query": " the   hall", **FOUND},
    )

    reply = await ScriptedGrounder(path).ground(IMAGE, Query("the hall"))

    assert reply.status == "found"
    assert tuple(reply.targets[0].box) == (1, 2, 10, 12)
    assert (reply.targets[0].phrase, reply.targets[0].confidence) == ("hall", 0.5)


async def test_the_star_answers_for_any_image(tmp_path):
    path = script(tmp_path, {"image": "*", "query": "the hall", **FOUND})

    assert (await ScriptedGrounder(path).ground(IMAGE, Query("the hall"))).status == "found"


async def test_an_unknown_query_is_named_with_the_digest(tmp_path):
    path = script(tmp_path, {"image": "*", "query": "the hall", **FOUND})

    with pytest.raises(ConfigError, match=IMAGE.sha256) as caught:
        await ScriptedGrounder(path).ground(IMAGE, Query("the lake"))
    assert "the lake" in str(caught.value)
    assert "the hall" in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "named"),
    [
        ({"image": "*", "query": "q", "status": "perhaps"}, "status"),
        ({"image": "abc", "query": "q", "status": "not_found"}, "image"),
        ({"image": "*", "query": "q", "status": "not_found", "colour": 1}, "colour"),
        ({"image": "*", "query": "q", "status": "found", "targets": []}, "found"),
        ({"image": "*", "query": "q", "status": "found", "targets": [{"box": [1, 2, 3], "phrase": "x"}]}, "box"),
        ({"image": "*", "query": "q", "status": "found", "targets": [{"box": [5, 2, 3, 4], "phrase": "x"}]}, "Box"),
        ({"image": "*", "query": "", "status": "not_found"}, "query"),
    ],
)
def test_a_malformed_entry_is_named(tmp_path, reply, named):
    with pytest.raises(ConfigError, match=named):
        ScriptedGrounder(script(tmp_path, reply))


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.json"):
        ScriptedGrounder(tmp_path / "nowhere.json")
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken\.json is malformed"):
        ScriptedGrounder(tmp_path / "broken.json")
