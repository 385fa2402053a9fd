"""The constants of the method, and the three named sets of them (`GEOSEG_PROFILE`).

`default` is what works best, `paper` is GeoSeg (arXiv 2603.03983) as written, `released-code` is what its authors'
published code does. `docs/deviations.md` lists the differences with their evidence.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geoseg_tools.geometry import Rounding
    from geoseg_tools.keypoints import Normalise

Profile = Literal["default", "paper", "released-code"]
Picker = Literal["topk-nms", "threshold"]
PointPrompt = Literal["together", "each"]
TextMode = Literal["union", "best"]


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
        text_mode: the phrase's instances are united ("union"), or only the "best" counts.
        gamma: smallest share of the region a valid mask covers (Eq. 6); 0: any non-empty mask.
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
    text_mode: TextMode = "union"
    gamma: float = 0.01

    def as_dict(self) -> dict[str, Any]:
        """Field to value, as traces record it."""
        return asdict(self)


PROFILES: Final[Mapping[Profile, Method]] = {
    "default": Method(),
    "paper": Method(min_crop=0),
    "released-code": Method(rounding="truncate", picker="threshold", point_prompt="each", gamma=0.0),
}


def resolve(profile: Profile, tool_defaults: Mapping[str, Any], chosen: Mapping[str, Any]) -> Method:
    """The constants in force: those `chosen` one by one, over the profile, over what the toolset prefers.

    A toolset's preferences only count under the `default` profile; the other two are there to be exact.
    """
    names = {field.name for field in fields(Method)}
    base = PROFILES[profile]
    if profile == "default":
        base = replace(base, **{name: value for name, value in tool_defaults.items() if name in names})
    return replace(base, **{name: value for name, value in chosen.items() if name in names and value is not None})
