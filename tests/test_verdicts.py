"""Verdicts of the doctor on disk: kept per endpoint, model and prompt, and never trusted when damaged."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from geoseg_agent.errors import ConfigError
from geoseg_agent.grounding.chat import Frame, Verdict
from geoseg_agent.grounding.endpoint.verdicts import find, keep, path_of

PLACE = ("http://localhost:8000/v1", "qwen3-vl-8b")
VERDICT = Verdict(
    frame=Frame("norm1000", "yxyx"),
    mixed=(),
    iou=0.93,
    scale=(1.02, 0.99),
    shift=(-10.0, 3.5),
    residual=1.25,
    prompt="ab" * 32,
    found="2026-11-24T12:00:00Z",
)


@pytest.mark.parametrize(
    "verdict",
    [VERDICT, dataclasses.replace(VERDICT, frame=None, mixed=("norm1000", "pixels"))],
    ids=["one frame", "a mixture"],
)
def test_what_is_kept_is_found(tmp_path, verdict):
    folder = tmp_path / "deep" / "down"
    path = keep(folder, *PLACE, verdict)

    assert path.is_file()
    assert find(folder, *PLACE, verdict.prompt) == verdict
    assert [one.name for one in folder.iterdir()] == [path.name]


def test_a_verdict_is_about_one_address_model_and_prompt(tmp_path):
    keep(tmp_path, *PLACE, VERDICT)

    assert find(tmp_path, "http://localhost:9000/v1", PLACE[1], VERDICT.prompt) is None
    assert find(tmp_path, PLACE[0], "qwen3-vl-2b", VERDICT.prompt) is None
    assert find(tmp_path, *PLACE, "cd" * 32) is None


def test_a_later_verdict_replaces_the_earlier(tmp_path):
    keep(tmp_path, *PLACE, VERDICT)
    later = dataclasses.replace(VERDICT, frame=Frame("pixels"))
    keep(tmp_path, *PLACE, later)

    assert find(tmp_path, *PLACE, VERDICT.prompt) == later


def test_the_home_folder_may_be_written_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    keep(Path("~/verdicts"), *PLACE, VERDICT)

    assert find(tmp_path / "verdicts", *PLACE, VERDICT.prompt) == VERDICT


def damaged(data, **changes):
    return json.dumps(json.loads(data) | changes).encode()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[: len(data) // 2],
        lambda _: b"",
        lambda _: b"\xff\xfe",
        lambda data: damaged(data, schema_version=2),
        lambda data: damaged(data, frame="parsecs"),
        lambda data: damaged(data, mixed=["parsecs"]),
        lambda data: damaged(data, scale=[1.0]),
        lambda data: damaged(data, iou="high"),
        lambda data: damaged(data, residual=math.nan),
        lambda data: damaged(data, model="another"),
        lambda data: damaged(data, extra=1),
    ],
)
def test_a_damaged_verdict_is_reported_and_counts_as_none(tmp_path, caplog, spoil):
    path = keep(tmp_path, *PLACE, VERDICT)
    path.write_bytes(spoil(path.read_bytes()))

    assert find(tmp_path, *PLACE, VERDICT.prompt) is None

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert str(path) in record.getMessage()


def test_a_folder_in_its_place_is_reported_too(tmp_path, caplog):
    path_of(tmp_path, *PLACE, VERDICT.prompt).mkdir()

    assert find(tmp_path, *PLACE, VERDICT.prompt) is None
    assert len(caplog.records) == 1


def test_what_cannot_be_kept_names_the_folder_and_the_setting(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"file.*GEOSEG_VERDICTS"):
        keep(tmp_path / "file", *PLACE, VERDICT)


def test_a_number_that_is_none_is_not_kept(tmp_path):
    with pytest.raises(ConfigError, match="residual"):
        keep(tmp_path, *PLACE, dataclasses.replace(VERDICT, residual=math.inf))
    assert list(tmp_path.iterdir()) == []
