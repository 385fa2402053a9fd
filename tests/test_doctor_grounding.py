"""`geoseg doctor grounding` against a server whose boxes are known to be right, wrong or mixed."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from asking import RED, answer, settings
from mllm_frames import Speaks
from mllm_server import MllmServer

from geoseg_agent.errors import ConfigError
from geoseg_agent.probe.run import probe
from geoseg_agent.settings import Settings
from geoseg_agent.trace.replay import replay


async def probed(speaks, *, profile="default", model="qwen3-vl-8b", dialect="plain", **values):
    async with MllmServer("sglang", speaks=speaks, model=model) as server:
        found = await probe(settings(server, dialect=dialect, verdicts="verdicts", **values), profile)
        assert server.completions == 30
    return found


@pytest.mark.parametrize(
    ("frame", "profile"),
    [
        ("norm1000", "default"),
        ("norm1000-yxyx", "default"),
        ("unit", "default"),
        ("pixels-yxyx", "default"),
        ("norm1000", "paper"),
        ("pixels", "paper"),
    ],
)
async def test_the_frame_is_named_whatever_was_asked_for(frame, profile):
    found = await probed(Speaks(frame, noise=1.0), profile=profile)
    assert str(found.finding.frame) == frame
    assert found.finding.faults == ()
    assert (len(found.faults) > 0) == (profile == "default" and frame != "norm1000")


@pytest.mark.parametrize(
    ("speaks", "said"),
    [
        (Speaks(scale=(1.02, 1.02)), "scaled by 1.02"),
        (Speaks(shift=(10, 0)), "shifted by +10."),
        (Speaks("pixels", shift=(0, -95)), "shifted by"),
        (Speaks(mixture=("norm1000", "pixels")), "mix frames"),
    ],
    ids=str,
)
async def test_what_a_server_does_to_boxes_is_flagged_with_its_numbers(speaks, said):
    found = await probed(speaks)
    assert any(said in fault for fault in found.faults), found.faults


async def test_another_frame_than_is_read_is_told_with_the_setting_that_reads_it():
    found = await probed("pixels")
    assert any("GEOSEG_FRAME=pixels" in fault for fault in found.faults)


async def test_the_verdict_goes_into_traces_and_is_what_the_paper_profile_reads_by():
    async with MllmServer("sglang") as server:
        values = {"dialect": "plain", "verdicts": "verdicts", "profile": "paper"}
        before = await answer(server, **values)
        assert isinstance(before, ConfigError)
        assert server.completions == 0
        await probe(settings(server, **values), "paper")
        after = await answer(server, **values)
    assert all(abs(a - b) <= 2 for a, b in zip(after.targets[0].box, RED, strict=True))
    trace = (await replay(after.trace_path)).trace
    assert trace.steps[0].output.verdict.frame == "norm1000"
    assert (trace.steps[0].output.asked, trace.steps[0].output.read) == ("pixels", "norm1000")


async def test_a_verdict_without_a_frame_is_no_verdict_for_the_paper_profile():
    async with MllmServer("sglang", speaks=Speaks(mixture=("norm1000", "pixels"))) as server:
        values = {"dialect": "plain", "verdicts": "verdicts", "profile": "paper"}
        await probe(settings(server, **values), "paper")
        made = server.completions
        found = await answer(server, **values)
        assert isinstance(found, ConfigError)
        assert "mix" in str(found)
        assert server.completions == made


async def test_a_model_that_answers_nothing_is_a_finding_not_an_error():
    async with MllmServer("sglang", answer={"status": "not_found", "targets": [], "reasoning": ""}) as server:
        found = await probe(settings(server, dialect="plain", verdicts="verdicts"), "default")
    assert found.finding.frame is None
    assert "only 0 of 30" in found.faults[0]


async def test_no_endpoint_is_said_before_anything_else():
    with pytest.raises(ConfigError, match="GEOSEG_BASE_URL"):
        await probe(Settings(), "default")


async def run(*arguments, server, **environment):
    """The command line in a process of its own."""
    known = {"GEOSEG_BASE_URL": server.base_url, "GEOSEG_VERDICTS": "verdicts", "GEOSEG_DIALECT": "plain"}
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", "from geoseg_agent.cli import main; main()"),
        *arguments,
        env={**os.environ, **known, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await child.communicate()
    return child.returncode, out.decode(), err.decode()


def left():
    """Bytes of the sheet, and the verdict."""
    verdict = json.loads(next(Path("verdicts").glob("*.json")).read_text())
    return Path("sheet/answers-grounding.png").stat().st_size, verdict


async def test_the_command_line_says_it_and_draws_it():
    async with MllmServer("sglang", speaks=Speaks(shift=(10, 0))) as server:
        code, out, err = await run("doctor", "grounding", "--profile", "default", "-v", "-o", "sheet", server=server)
    assert code == 0, err
    assert "norm1000" in out
    assert "shifted by +10" in err
    assert out.count("rectangle") == 0
    assert out.count("texture-") == 15
    size, verdict = left()
    assert size > 10_000
    assert verdict["frame"] == "norm1000"


async def test_no_frame_is_an_exit_code_of_its_own():
    async with MllmServer("sglang", script=lambda asked: "I would rather not.") as server:
        code, _, err = await run("doctor", "grounding", "--profile", "paper", server=server)
    assert code == 4
    assert "only 0 of 30" in err


async def test_an_unknown_profile_is_usage():
    async with MllmServer("sglang") as server:
        code, _, err = await run("doctor", "grounding", "--profile", "papers", server=server)
        assert server.requests == []
    assert code == 2
    assert "paper, released-code" in err
