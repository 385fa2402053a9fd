"""What is known of each family of models: the frame its boxes are in, and the pictures it likes.

A frame by name is a starting point, not a measurement: servers have shifted the boxes of correct weights more than
once. `geoseg doctor grounding` measures; `GEOSEG_FRAME` overrides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from geoseg_agent.errors import ConfigError
from geoseg_agent.grounding.chat import FRAMES, Fit, Frame

if TYPE_CHECKING:
    from geoseg_agent.grounding.chat import Outside, Verdict
    from geoseg_agent.method import Profile

MOST_TARGETS: Final = 8
"""Targets asked for under the `default` profile."""

_RELATIVE: Final = Frame("norm1000")
_Y_FIRST: Final = Frame("norm1000", "yxyx")
_PIXELS: Final = Frame("pixels")

# Grounding is best at 1024 to 2048 visual tokens (ggml-org/llama.cpp issue 16842, from the Qwen team).
_PATCH_16: Final = Fit(32, 1024, 2048)
_PATCH_14: Final = Fit(28, 1024, 2048)


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """One row of the table.

    Attributes:
        family: its name, as in traces.
        pattern: regular expression, searched in the model's name in lower case with "-" for separators.
        frame: what the family speaks natively.
        fit: how large a picture suits it.
        evidence: where that is known from.
    """

    family: str
    pattern: str
    frame: Frame
    fit: Fit
    evidence: str


UNKNOWN: Final = ModelProfile(
    "unknown",
    "",
    _RELATIVE,
    # 224 is a multiple of both 28 and 32; 21 to 41 such squares have the area of 1029 to 2009 tokens of 32 px.
    Fit(224, 21, 41),
    "nothing known of it; most families are trained on 0..1000, x first",
)

PROFILES: Final = (
    ModelProfile(
        "qwen2.5-vl",
        r"qwen-?2[.p-]?5(?!\d)",
        _PIXELS,
        _PATCH_14,
        "absolute pixels after smart_resize: Qwen2.5-VL README; process_bbox.ipynb of QwenLM/Qwen3-VL",
    ),
    ModelProfile(
        "qwen-vl hosted",
        r"qwen-vl-(max|plus)",
        _PIXELS,
        # The service's own limit; above it the numbers are in pixels of a picture that only the service has seen.
        Fit(28, 1024, 1280),
        "a name that moves from model to model; pixels below the service's max_pixels in QwenLM/Qwen3-VL issue 1855",
    ),
    ModelProfile(
        "qwen2-vl",
        r"qwen-?2-?(vl|omni)|qwen-?vl|(?<![a-z])qvq",
        _RELATIVE,
        _PATCH_14,
        "0..1000: converter process_bbox.ipynb of QwenLM/Qwen3-VL",
    ),
    ModelProfile(
        "qwen3-vl",
        r"qwen-?[3-9](?:[.p]\d+)?(?![0-9b])",
        _RELATIVE,
        _PATCH_16,
        "0..1000: Qwen3-VL README and issues 1427, 1659; 3.5 and later the same, some values over 1000 "
        "(QwenLM/Qwen3.8-Flash-Next issue 4)",
    ),
    ModelProfile(
        "internvl",
        r"intern-?(vl|s1)",
        _RELATIVE,
        _PATCH_16,
        "0..1000: demo and evaluation code of OpenGVLab/InternVL",
    ),
    ModelProfile(
        "glm-v",
        r"glm-?(4\.\d+|[5-9](\.\d+)?)-?v",
        _RELATIVE,
        _PATCH_14,
        "0..1000: README of zai-org/GLM-V; patch 14, merge 2: preprocessor_config.json of GLM-4.6V",
    ),
    ModelProfile(
        "gemini",
        r"gemini",
        _Y_FIRST,
        _PATCH_16,
        "y first, 0..1000: Google Cloud, bounding box detection",
    ),
    ModelProfile(
        "gemma",
        r"(?<!pali)gemma",
        _Y_FIRST,
        _PATCH_16,
        "0..1000: esh04/FindIt (arXiv 2606.04282) for Gemma 4; the order is Gemini's by kinship, not by document",
    ),
    ModelProfile(
        "kimi-vl",
        r"kimi-?(vl|k2[.p-]?[5-9]|k[3-9])",
        Frame("unit"),
        _PATCH_14,
        "0..1: MoonshotAI/Kimi-VL issues 52, 56; Kimi K2.5 varies (MoonshotAI/Kimi-K2.5 issue 15)",
    ),
    ModelProfile(
        "gpt",
        r"(?<![a-z])gpt-?[5-9]",
        _PIXELS,
        _PATCH_16,
        "pixels of the picture sent: esh04/FindIt (arXiv 2606.04282)",
    ),
    ModelProfile(
        "claude",
        r"claude",
        _PIXELS,
        # Older models shrink what is over 1568 tokens of 28 px, and then speak of the smaller picture.
        Fit(28, 1024, 1536),
        "pixels of the picture as seen: Claude docs, coordinates and bounding boxes; esh04/FindIt for 4.5",
    ),
    UNKNOWN,
)
"""The table; the first row whose pattern is found in the name counts."""


class Agreed(NamedTuple):
    """What a profile of the method and a family of models come to.

    Attributes:
        family: row of the table.
        asked: the frame the prompt asks for.
        read: the frame the reply is read in.
        outside: what to do with a box that reaches over the picture.
        max_targets: most targets asked for and taken.
        fit: how large the picture is sent.
    """

    family: str
    asked: Frame
    read: Frame
    outside: Outside
    max_targets: int
    fit: Fit


def profile_of(model: str) -> ModelProfile:
    """The row for a model as an endpoint names it, with organisation, path, size, tag or quantisation around it."""
    name = re.sub(r"[^a-z0-9.]+", "-", model.lower())
    return next(profile for profile in PROFILES if re.search(profile.pattern, name))


def agree(
    model: str, *, frame: Frame | None, profile: Profile, verdict: Verdict | None, max_targets: int | None
) -> Agreed:
    """What to ask `model` for and how to read its reply, under a profile of the method.

    "default" asks for what the family speaks and reads the same; `frame` overrides both. "paper" asks for pixels of
    the picture sent (Eq. 1) and reads what the model was found to answer then: `frame`, or else the verdict.
    "released-code" asks for pixels and reads pixels; `frame` overrides the reading.

    Args:
        model: its name at the endpoint.
        frame: what the settings say, or None.
        profile: of the method.
        verdict: of `geoseg doctor grounding` with this endpoint, model and prompt, or None.
        max_targets: what the settings say, or None for the profile's number.

    Raises:
        ConfigError: the `paper` profile does not know how to read the replies.
    """
    known = profile_of(model)
    if profile == "default":
        chosen = frame or known.frame
        return Agreed(known.family, chosen, chosen, "tolerate", max_targets or MOST_TARGETS, known.fit)
    read = frame or (_found(model, verdict) if profile == "paper" else _PIXELS)
    return Agreed(known.family, _PIXELS, read, "clamp", max_targets or 1, known.fit)


def _found(model: str, verdict: Verdict | None) -> Frame:
    """The frame of the verdict."""
    if verdict is not None and verdict.frame is not None and not verdict.mixed:
        return verdict.frame
    if verdict is None:
        problem = f"the paper profile asks {model} for pixels, and nothing says which frame it answers in"
        remedy = "run `geoseg doctor grounding` once, or set"
    elif verdict.mixed:
        problem = (
            f"`geoseg doctor grounding` found {model} to mix the frames {', '.join(verdict.mixed)} ({verdict.found})"
        )
        remedy = "use the default profile, or another server or model and run it again, or set"
    else:
        problem = (
            f"`geoseg doctor grounding` found no frame that fits {model}: IoU {verdict.iou:.2f} ({verdict.found})"
        )
        remedy = "use the default profile, or another server or model and run it again, or set"
    raise ConfigError(problem, hint=f"{remedy} GEOSEG_FRAME to one of {', '.join(FRAMES)}")
