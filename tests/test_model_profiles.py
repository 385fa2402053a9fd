"""Which row of the table a name finds, and what the profiles of the method make of it."""

import re

import pytest

from geoseg_agent.errors import ConfigError
from geoseg_agent.grounding.chat import FRAMES, Frame, Verdict
from geoseg_agent.grounding.model_profiles import PROFILES, UNKNOWN, agree, profile_of


@pytest.mark.parametrize(
    ("family", "frame", "align", "names"),
    [
        (
            "qwen2.5-vl",
            "pixels",
            28,
            "Qwen/Qwen2.5-VL-7B-Instruct-AWQ qwen2.5vl:7b qwen2_5_vl_72b /models/qwen25vl qwen2p5-vl Qwen2.5-Omni-7B",
        ),
        ("qwen-vl hosted", "pixels", 28, "qwen-vl-max qwen-vl-plus-latest qwen/qwen-vl-max"),
        (
            "qwen2-vl",
            "norm1000",
            28,
            "Qwen/Qwen2-VL-7B-Instruct-AWQ qwen2vl Qwen-VL-Chat QVQ-72B-Preview qwen/qvq-72b",
        ),
        (
            "qwen3-vl",
            "norm1000",
            32,
            "Qwen/Qwen3-VL-8B-Instruct-FP8 qwen3-vl:8b qwen3-vl:235b-a22b /models/qwen3vl hf.co/x/qwen3-vl-gguf:Q4",
        ),
        ("qwen3-vl", "norm1000", 32, "Qwen3.5-27B Qwen/Qwen3.6-35B-A3B qwen3.8-flash qwen3-vl-plus qwen3_5_moe"),
        ("internvl", "norm1000", 32, "OpenGVLab/InternVL3_5-8B internvl2 InternVL3-78B-AWQ internlm/Intern-S1"),
        ("glm-v", "norm1000", 28, "zai-org/GLM-4.5V glm-4.6v-flash GLM-4.1V-9B-Thinking z-ai/glm-5v"),
        ("gemini", "norm1000-yxyx", 32, "google/gemini-2.5-pro gemini-3-flash-preview models/gemini-2.5-flash"),
        ("gemma", "norm1000-yxyx", 32, "google/gemma-4-31b-it gemma3:27b"),
        ("kimi-vl", "unit", 28, "moonshotai/Kimi-VL-A3B-Instruct kimi-k2.5"),
        ("gpt", "pixels", 32, "gpt-5.2 openai/gpt-5.4-mini my-gpt5-deployment"),
        ("claude", "pixels", 28, "claude-sonnet-4-5 anthropic/claude-opus-4.5 us.anthropic.claude-haiku-4-5-v1:0"),
        (
            "unknown",
            "norm1000",
            224,
            "default model meta/llama-4-maverick Qwen-7B Qwen2-57B-A14B paligemma2 allenai/Molmo-7B",
        ),
    ],
)
def test_names_as_endpoints_give_them_find_their_family(family, frame, align, names):
    for name in names.split():
        row = profile_of(name)

        assert (row.family, str(row.frame), row.fit.align) == (family, frame, align), name


def test_a_name_that_says_nothing_is_unknown():
    assert profile_of("") is UNKNOWN


def test_every_row_is_sound():
    assert len({row.family for row in PROFILES}) == len(PROFILES)
    assert PROFILES[-1] is UNKNOWN
    for row in PROFILES:
        re.compile(row.pattern)
        assert row.evidence
        assert FRAMES[str(row.frame)] == row.frame
        assert 1024 * 28**2 <= row.fit.least * row.fit.align**2 < row.fit.most * row.fit.align**2 <= 2048 * 32**2
    assert UNKNOWN.fit.align % 28 == UNKNOWN.fit.align % 32 == 0


def verdict(frame, mixed=()):
    return Verdict(frame, mixed, 0.42, (1.0, 1.0), (0.0, 0.0), 0.5, "0" * 64, "2026-11-24T00:00:00Z")


def agreed(model="qwen3-vl", frame=None, profile="default", found=None, most=None):
    return agree(model, frame=frame, profile=profile, verdict=found, max_targets=most)


@pytest.mark.parametrize("row", PROFILES, ids=lambda row: row.family)
def test_default_asks_and_reads_what_the_family_speaks(row):
    name = {"qwen-vl hosted": "qwen-vl-max", "glm-v": "glm-4.5v", "gpt": "gpt-5"}.get(row.family, row.family)

    assert agreed(name) == (row.family, row.frame, row.frame, "tolerate", 8, row.fit)


def test_default_takes_an_explicit_frame_for_both_and_no_verdict_for_either():
    unit = Frame("unit")

    assert agreed(frame=unit)[1:3] == (unit, unit)
    assert agreed(found=verdict(Frame("pixels")))[1:3] == (Frame("norm1000"), Frame("norm1000"))
    assert agreed(found=verdict(None, ("norm1000", "pixels"))).read == Frame("norm1000")


def test_paper_asks_for_pixels_and_reads_what_was_found():
    found = agreed(profile="paper", found=verdict(Frame("norm1000")))

    assert found[:5] == ("qwen3-vl", Frame("pixels"), Frame("norm1000"), "clamp", 1)
    explicit = agreed(profile="paper", frame=Frame("unit"), found=verdict(Frame("norm1000")))
    assert (explicit.asked, explicit.read) == (Frame("pixels"), Frame("unit"))
    assert agreed(profile="paper", frame=Frame("unit")).read == Frame("unit")


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, "nothing says which frame"),
        (verdict(None, ("norm1000", "pixels")), "mix the frames norm1000, pixels"),
        (verdict(Frame("pixels"), ("norm1000", "pixels")), "mix the frames norm1000, pixels"),
        (verdict(None), "found no frame that fits qwen3-vl: IoU 0.42"),
    ],
)
def test_paper_without_a_frame_to_read_by_is_an_error_that_says_what_to_do(found, reason):
    with pytest.raises(ConfigError) as caught:
        agreed(profile="paper", found=found)

    assert reason in caught.value.message
    assert "geoseg doctor grounding" in str(caught.value)
    assert "GEOSEG_FRAME" in caught.value.hint
    assert "norm1000-yxyx" in caught.value.hint


def test_released_code_asks_and_reads_pixels():
    found = agreed(profile="released-code", found=verdict(Frame("norm1000")))

    assert found[1:5] == (Frame("pixels"), Frame("pixels"), "clamp", 1)
    assert agreed(profile="released-code", frame=Frame("norm1000"))[1:3] == (Frame("pixels"), Frame("norm1000"))


@pytest.mark.parametrize("profile", ["default", "paper", "released-code"])
def test_an_explicit_number_of_targets_overrides(profile):
    assert agreed(profile=profile, frame=Frame("pixels"), most=3).max_targets == 3
