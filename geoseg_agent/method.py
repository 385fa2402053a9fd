"""The constants of the method, the three named sets of them (`GEOSEG_PROFILE`), and its variants (`GEOSEG_VARIANT`).

`default` is what works best, `paper` is GeoSeg (arXiv 2603.03983) as written, `released-code` is what its authors'
published code does. `docs/deviations.md` lists the differences with their evidence. A variant leaves a part of the
method out, to measure what that part is worth.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geoseg_tools.geometry import Rounding
    from geoseg_tools.keypoints import Normalise

Profile = Literal["default", "paper", "released-code"]
Picker = Literal["topk-nms", "threshold"]
PointPrompt = Literal["together", "each"]
TextMode = Literal["instances", "semantic", "both"]
Variant = Literal["full", "clip-sam3", "sam3-text", "points", "text", "no-refinement"]


class Plan(NamedTuple):
    """Which parts of the method run.

    Attributes:
        grounds: the query is grounded; else the whole image is the one target, called what the query says.
        refines: the box is widened (Eq. 2).
        points: route A runs.
        text: route B runs.
    """

    grounds: bool = True
    refines: bool = True
    points: bool = True
    text: bool = True


VARIANTS: Final[Mapping[Variant, Plan]] = {
    "full": Plan(),
    "clip-sam3": Plan(grounds=False, refines=False, text=False),
    "sam3-text": Plan(grounds=False, refines=False, points=False),
    "points": Plan(text=False),
    "text": Plan(points=False),
    "no-refinement": Plan(refines=False),
}


@dataclass(frozen=True, slots=True)
class Method:
    """Everything between a target and its mask that is a number or a choice.

    Attributes:
        alpha: share of the box side added left and above (Eq. 2).
        beta: share of the box side added right and below (Eq. 2).
        rounding: "outward" keeps fractions of a pixel of the margins, "truncate" drops them.
        min_crop: shortest side of a region of interest in pixels; 0 for none.
        picker: how keypoints come from the grid: "topk-nms" (Eq. 3) or the stock "threshold" picker.
        k: most keypoints of TopK-NMS.
        tau: smallest similarity of a keypoint of TopK-NMS, 0..1.
        heat_norm: whether the grid is scaled to 0..1 first ("minmax") or taken as it is ("none").
        point_prompt: all points prompt one object "together", or one object "each", united.
        text_mode: what of the text prompt's answer counts: its "instances", its "semantic" mask, or "both".
        text_threshold: score above which an instance counts, 0..1.
        gamma: smallest share of the region a valid mask covers (Eq. 6); 0: any non-empty mask.
        tile_side: pixels of the tiles that a large region is looked at in; 0: as a whole.
        variant: which parts of the method run.
    """

    alpha: float = 0.2
    beta: float = 0.1
    rounding: Rounding = "outward"
    min_crop: int = 16
    picker: Picker = "topk-nms"
    k: int = 5
    tau: float = 0.3
    heat_norm: Normalise = "minmax"
    point_prompt: PointPrompt = "together"
    text_mode: TextMode = "instances"
    text_threshold: float = 0.5
    gamma: float = 0.01
    tile_side: int = 0
    variant: Variant = "full"

    @property
    def plan(self) -> Plan:
        """Which parts of the method run."""
        return VARIANTS[self.variant]

    def as_dict(self) -> dict[str, Any]:
        """Field to value, as traces record it."""
        return asdict(self)


PROFILES: Final[Mapping[Profile, Method]] = {
    "default": Method(),
    "paper": Method(min_crop=0),
    "released-code": Method(
        rounding="truncate", picker="threshold", point_prompt="each", text_threshold=0.25, gamma=0.0
    ),
}


def resolve(profile: Profile, tool_defaults: Mapping[str, Any], chosen: Mapping[str, Any]) -> Method:
    """The constants in force: those `chosen` one by one, over the profile, over what the toolset prefers.

    A toolset's preferences only count under the `default` profile; the other two are there to be exact. A variant
    without refinement has no margins. Tiles are for toolsets that declare a side of them, and for a picker that takes
    a grid of any shape.
    """
    names = {field.name for field in fields(Method)}
    base = PROFILES[profile]
    if profile == "default":
        base = replace(base, **{name: value for name, value in tool_defaults.items() if name in names})
    made = replace(base, **{name: value for name, value in chosen.items() if name in names and value is not None})
    if not tool_defaults.get("tile_side") or made.picker != "topk-nms":
        made = replace(made, tile_side=0)
    return made if made.plan.refines else replace(made, alpha=0.0, beta=0.0)
