"""Variations of a recorded run: what each changes, the constants it works with, and what must run for it.

A variation changes single settings of the run that was recorded; everything else stays as the trace says it was, so
that a later default of a profile or of a toolset has no say.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from geoseg_agent.errors import ConfigError, TraceCorrupt
from geoseg_agent.method import VARIANTS, Method
from geoseg_agent.settings import Settings
from geoseg_agent.trace.tape import recorded_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from geoseg_agent.trace.model import Trace

TextEdition = tuple[str, float]
"""`text_mode` and `text_threshold`: tools apply both inside, and a trace holds only what passed."""

FIELDS: Final = frozenset(field.name for field in fields(Method)) & frozenset(Settings.model_fields) - {"tile_side"}
"""The settings that a variation may change: not the tiles, of which a trace holds no answers."""

_KEYPOINTS = {"k", "tau", "heat_norm"}
_REGION = {"alpha", "beta", "min_crop"}
_TEXT = {"text_mode", "text_threshold"}


@dataclass(frozen=True, slots=True)
class Variation:
    """One row of an ablation.

    Attributes:
        name: unique among the variations of one ablation.
        changes: setting to value, of `FIELDS`; empty for the method as it was recorded.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)


FULL: Final = Variation("full")
TABLE_3: Final = (
    FULL,
    Variation("no-refinement", {"variant": "no-refinement"}),
    Variation("text", {"variant": "text"}),
    Variation("points", {"variant": "points"}),
)
"""The rows of the paper's Table 3: full, without refinement, without Route A (text), without Route B (points)."""

UNGROUNDED: Final = (
    Variation("clip-sam3", {"variant": "clip-sam3"}),
    Variation("sam3-text", {"variant": "sam3-text"}),
)
"""The tools alone, on the whole image, with the query for a phrase."""


def sweep(setting: str, values: Iterable[Any]) -> tuple[Variation, ...]:
    """One variation per value of one setting."""
    return tuple(Variation(f"{setting}={value}", {setting: value}) for value in values)


def margins(pairs: Iterable[tuple[float, float]]) -> tuple[Variation, ...]:
    """One variation per (alpha, beta) of Eq. 2."""
    return tuple(Variation(f"alpha={a} beta={b}", {"alpha": a, "beta": b}) for a, b in pairs)


Runs = Literal["nothing", "points where keypoints differ", "text prompt", "everything on another region"]


class Need(NamedTuple):
    """What must run for a variation, beyond what the trace holds.

    Attributes:
        runs: in short.
        why: in words.
    """

    runs: Runs
    why: str


def needs(variation: Variation, trace: Trace) -> Need:
    """What must run for the variation, in the costliest of its changes; no change ever needs the MLLM.

    Raises:
        ConfigError, TraceCorrupt: as `method_of`.
    """
    base, method = recorded_method(trace), method_of(trace, variation)
    changed = {name for name in FIELDS if getattr(base, name) != getattr(method, name)}
    if not method.plan.grounds:
        return Need(
            "everything on another region",
            "nothing is grounded, so the region is the whole image, which the trace holds no answers for",
        )
    if changed & _REGION or not method.plan.refines:
        return Need(
            "everything on another region",
            "another region is another crop: it is encoded, and similarity, points and text run on it; a target "
            "whose region stays the same (at the border of the image, or held by min_crop) needs nothing",
        )
    if changed & _TEXT and method.plan.text:
        return Need(
            "text prompt",
            "the tools apply text_mode and text_threshold inside, and the trace holds only what passed: the text "
            "prompt runs again, on tools that were built for it and must encode the region for themselves",
        )
    if changed & _KEYPOINTS and method.plan.points and method.picker == "topk-nms":
        return Need(
            "points where keypoints differ",
            "keypoints come from the recorded raw grid; the point prompt runs only for a target whose keypoints "
            "were not recorded, since the tools' answer to other points cannot be known",
        )
    if changed & _KEYPOINTS:
        return Need("nothing", "what picks the points here reads neither k nor tau nor the normalisation")
    return Need("nothing", "the recorded masks of the routes are fused again (Eq. 6 and 7)")


def recorded_method(trace: Trace) -> Method:
    """The constants that the trace was made with.

    Raises:
        TraceCorrupt: they are not those of a method.
        ConfigError: a part of the method was left out already, so that it cannot be compared with.
    """
    try:
        method = Method(**trace.method)
    except TypeError as error:
        raise TraceCorrupt(f"the trace {trace.id}: method: {error}") from error
    if method.variant != "full":
        raise ConfigError(
            f"the trace {trace.id} was recorded with variant={method.variant}, "
            "and an ablation starts from the full method",
            hint="record the run again with GEOSEG_VARIANT=full",
        )
    return method


def settings_of(trace: Trace, variation: Variation) -> Settings:
    """The recorded settings with the variation's; for building tools that a variation needs.

    Every constant of the method that is a setting is spelt out. What no setting names (rounding, picker, point
    prompt) stands in `trace.method`.

    Raises:
        ConfigError: a change is no setting of the method, or its value is out of range.
        TraceCorrupt: the trace's own constants are malformed.
    """
    unknown = sorted(set(variation.changes) - FIELDS)
    if unknown:
        raise ConfigError(
            f"variation {variation.name!r} changes {unknown[0]!r}, which is no setting of the method",
            hint=f"known are {', '.join(sorted(FIELDS))}",
        )
    constants = {name: value for name, value in recorded_method(trace).as_dict().items() if name in FIELDS}
    plan = VARIANTS.get(variation.changes.get("variant", "full"))
    if plan is not None and not plan.refines:
        constants |= {"alpha": 0.0, "beta": 0.0}
    kept = recorded_settings(trace).model_dump(exclude={"api_key"})
    return Settings(**{**kept, **constants, **variation.changes, "profile": "default", "traces": "none"})


def method_of(trace: Trace, variation: Variation) -> Method:
    """The constants that the variation works with.

    Raises:
        ConfigError, TraceCorrupt: as `settings_of`.
    """
    return settings_of(trace, variation).method(trace.method)


def text_edition(method: Method) -> TextEdition:
    """What tools must have been built with to answer a text prompt of this method."""
    return method.text_mode, method.text_threshold
