"""What a newcomer is told: by the doctor for nothing, by settings that are wrong, by refusals, and after Ctrl-C."""

import asyncio
import contextlib
import os
import signal
import socket
import sys

import PIL.Image
import pytest
from canary import KEY
from mllm_server import MllmServer

from geoseg_agent.doctor import examine
from geoseg_agent.errors import ConfigError
from geoseg_agent.grounding.chat import FRAMES, Verdict
from geoseg_agent.grounding.endpoint.refusals import Answer, Objection, Place, of_answer
from geoseg_agent.grounding.endpoint.verdicts import keep
from geoseg_agent.grounding.messages import prompt_of
from geoseg_agent.settings import Settings

MODEL = "qwen3-vl-8b"


@pytest.fixture
def address(monkeypatch, tmp_path):
    """The address of an endpoint, set as a person would set it; that it was called at all fails the test."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        there = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        monkeypatch.setenv("GEOSEG_BASE_URL", there)
        monkeypatch.setenv("GEOSEG_VERDICTS", str(tmp_path / "verdicts"))
        yield there
        with pytest.raises(BlockingIOError):
            listening.accept()


def found(address, folder, frame, *, profile="default", mixed=(), scale=1.0):
    """A verdict of the doctor, kept."""
    verdict = Verdict(
        frame=None if frame is None else FRAMES[frame],
        mixed=mixed,
        iou=0.97,
        scale=(scale, scale),
        shift=(0.0, 0.0),
        residual=0.4,
        prompt=prompt_of(profile).sha256,
        found="2026-11-24T10:00:00+00:00",
    )
    return keep(folder, address, MODEL, verdict)


def told(part):
    return [finding for finding in examine() if finding.part == part]


async def geoseg(*arguments, **environment):
    """The command as a child; its exit code, output and errors."""
    child = await started(*arguments, **environment)
    out, err = await child.communicate()
    return child.returncode, out.decode(), err.decode()


async def started(*arguments, **environment):
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        # A shell that starts jobs in the background may have them ignore Ctrl-C.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from geoseg_agent.cli import main; main()",
        *map(str, arguments),
        env=os.environ | {"COLUMNS": "80", "NO_COLOR": "1"} | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def test_without_an_endpoint_the_doctor_says_how_to_set_one():
    (finding,) = told("endpoint")
    assert (finding.state, finding.remedy) == ("missing", "GEOSEG_BASE_URL=http://localhost:8000/v1")
    assert told("verdict") == []


def test_the_doctor_names_address_and_model_but_no_key(address, monkeypatch):
    monkeypatch.setenv("GEOSEG_MODEL", MODEL)
    monkeypatch.setenv("GEOSEG_API_KEY", KEY)
    assert [finding.state for finding in (*told("endpoint"), *told("model"))] == ["ready", "ready"]
    assert address in told("endpoint")[0].detail
    assert "with a key" in told("endpoint")[0].detail
    assert MODEL in told("model")[0].detail
    assert KEY not in str(examine())


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("frame", "changes", "state", "says", "remedy"),
    [
        ("norm1000", {}, "ready", "norm1000, IoU 0.97", ""),
        ("pixels", {}, "broken", "read in norm1000", "GEOSEG_FRAME=pixels"),
        ("norm1000", {"scale": 1.02}, "broken", "scale 1.02", "geoseg doctor grounding --profile default"),
        (None, {"mixed": ("norm1000", "pixels")}, "broken", "mixes norm1000 and pixels", "geoseg doctor grounding"),
        (None, {}, "broken", "fits no frame", "geoseg doctor grounding"),
    ],
)
def test_the_doctor_repeats_its_verdict_for_nothing(
    address, tmp_path, monkeypatch, named, frame, changes, state, says, remedy
):
    if named:
        monkeypatch.setenv("GEOSEG_MODEL", MODEL)
    found(address, tmp_path / "verdicts", frame, **changes)
    (verdict,) = told("verdict")
    assert verdict.state == state
    assert MODEL in verdict.detail
    assert says in verdict.detail
    assert remedy in verdict.remedy


@pytest.mark.parametrize(("profile", "state"), [("default", "missing"), ("paper", "broken")])
def test_a_model_never_examined_stops_the_paper_profile_only(address, tmp_path, monkeypatch, profile, state):
    found("http://127.0.0.1:1/v1", tmp_path / "verdicts", "norm1000")
    (tmp_path / "verdicts" / "torn.json").write_text('{"address":')
    assert told("verdict")[0].state == "missing"  # of another endpoint, or damaged
    monkeypatch.setenv("GEOSEG_MODEL", MODEL)
    monkeypatch.setenv("GEOSEG_PROFILE", profile)
    (verdict,) = told("verdict")
    assert verdict.state == state
    assert "never examined" in verdict.detail
    assert f"geoseg doctor grounding --profile {profile}" in verdict.remedy
    assert address in told("endpoint")[0].detail


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"samples": "three"}, "'three': must be a valid integer (samples is: times a model"),
        ({"frame": "xyxy"}, "'xyxy': known are norm1000, norm1000-yxyx, unit"),
        ({"profile": "papr"}, "'papr': must be 'default', 'paper' or 'released-code'"),
        ({"bands": "red,green"}, "'red,green': bands are whole numbers from 1"),
        ({"base_url": "localhost:8000/v1"}, "'localhost:8000/v1': an endpoint is http:// or https://"),
    ],
    ids=str,
)
def test_a_wrong_value_is_told_in_plain_words(values, says):
    with pytest.raises(ConfigError) as caught:
        Settings(**values)
    assert says in str(caught.value)
    assert "Value error" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("GEOSEG_KEY", "did you mean GEOSEG_API_KEY?"),
        ("GEOSEG_BASEURL", "did you mean GEOSEG_BASE_URL?"),
        ("GEOSEG_TIMEOUT", "did you mean GEOSEG_CALL_TIMEOUT?"),
        ("GEOSEG_XXQQ", "known are GEOSEG_ALPHA"),
    ],
)
def test_a_misspelt_name_leads_to_the_one_that_was_meant(monkeypatch, name, says):
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError) as caught:
        Settings()
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("status", "place", "says"),
    [
        (404, Place("http://there:8000"), "try http://there:8000/v1"),
        (404, Place("http://there:8000/v1"), "set GEOSEG_MODEL, and check that GEOSEG_BASE_URL"),
        (404, Place("http://there:8000/v1", MODEL), "check GEOSEG_MODEL, and check that GEOSEG_BASE_URL"),
        (401, Place("http://there/v1", MODEL), "none is set"),
    ],
)
def test_a_refusal_leads_to_the_setting_that_is_wrong(status, place, says):
    hint = of_answer(place, Answer(status, {}, ""), Objection("no")).hint
    assert hint is not None
    assert says in hint


async def test_nothing_is_asked_for_a_verdict_that_could_not_be_kept(address, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GEOSEG_VERDICTS", str(tmp_path / "file"))
    code, out, err = await geoseg("doctor", "grounding")
    assert (code, out) == (3, "")
    assert str(tmp_path / "file") in err
    assert "GEOSEG_VERDICTS" in err
    assert address not in err


async def test_the_doctor_says_that_a_model_ignores_the_frame_it_was_asked_for(tmp_path):
    async with MllmServer("sglang") as server:
        endpoint = {"GEOSEG_BASE_URL": server.base_url, "GEOSEG_VERDICTS": str(tmp_path), "GEOSEG_DIALECT": "plain"}
        code, out, err = await geoseg("doctor", "grounding", "--profile", "paper", **endpoint)
    assert code == 0, err
    assert "asked in pixels" in out
    assert "asked for pixels, it answers in norm1000" in err


async def test_ctrl_c_is_answered_in_words_and_leaves_a_trace_whose_name_is_told_whole(tmp_path):
    PIL.Image.new("RGB", (64, 64), "grey").save("grey.png")
    asked = asyncio.Event()

    def stall(_number):
        asked.set()
        return "stall"

    async with MllmServer(faults=stall) as server:
        child = await started("segment", "grey.png", "lake", GEOSEG_BASE_URL=server.base_url)
        async with asyncio.timeout(30):
            await asked.wait()
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(signal.SIGINT)
        out, err = await child.communicate()
    assert (child.returncode, out) == (130, b"")
    assert err.decode().splitlines() == ["what was done until then is in the newest trace in traces", "interrupted"]
    (trace,) = (tmp_path / "traces").glob("*.json")
    _, listed, _ = await geoseg("trace", "list")
    assert trace.stem in listed
    assert "interrupted" in listed


async def test_a_failed_query_shows_its_remedy_again_and_a_replay_of_another_says_what_it_needs(tmp_path):
    PIL.Image.new("RGB", (64, 64), "grey").save("grey.png")
    endpoint = {"GEOSEG_BASE_URL": "http://127.0.0.1:1/v1", "GEOSEG_ATTEMPTS": "1", "GEOSEG_MODEL": MODEL}
    code, _, err = await geoseg("segment", "grey.png", "lake", **endpoint)
    (trace,) = (tmp_path / "traces").glob("*.json")
    _, shown, _ = await geoseg("trace", "show", trace)
    assert code == 4
    for text in (err, shown):
        assert "try: check that the server is up and GEOSEG_BASE_URL" in text
    PIL.Image.new("RGB", (64, 64), "white").save("white.png")
    code, _, err = await geoseg("segment", "white.png", "lake", GEOSEG_GROUNDER=f"replay:{trace}")
    assert code == 7
    assert "try: a replay needs the image, query" in err
