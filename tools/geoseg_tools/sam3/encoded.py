"""One crop, encoded: what the prompts read, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from geoseg_tools.arrays import Size


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """The features of one crop for both kinds of prompts; it holds neither the crop nor its scene.

    With the released model about 140 MB in float32 and 75 MB in bfloat16, whatever the size of the crop.

    Attributes:
        size: (h, w) of the crop.
        pyramid: image features for phrases, finest first, each (1, 256, g, g); g = 288, 144, 72 as released.
        positions: position encodings of those levels that the encoder attends to, each (1, 256, g, g).
        embedding: (1, 256, g, g), the coarsest features for points.
        details: finer features for points, finest first: (1, 32, 4g, 4g) and (1, 64, 2g, 2g).
    """

    size: Size
    pyramid: tuple[torch.Tensor, ...]
    positions: tuple[torch.Tensor, ...]
    embedding: torch.Tensor
    details: tuple[torch.Tensor, ...]

    @classmethod
    def of(cls, state: dict[str, Any], model: Any) -> Encoded:
        """What is needed of the state that the official processor's `set_image` returns."""
        seen = state["backbone_out"]
        *details, coarsest = seen["sam2_backbone_out"]["backbone_fpn"]
        # An image is a video without a past; upstream adds this at each prompt.
        no_memory = model.inst_interactive_predictor.model.no_mem_embed.reshape(1, -1, 1, 1)
        return cls(
            (state["original_height"], state["original_width"]),
            tuple(seen["backbone_fpn"]),
            tuple(seen["vision_pos_enc"][-model.num_feature_levels :]),
            coarsest + no_memory,
            tuple(details),
        )

    def with_text(self, features: torch.Tensor, mask: torch.Tensor) -> dict[str, Any]:
        """The dictionary that `forward_grounding` takes; new each time, because it may be changed in there.

        Args:
            features: (tokens, 1, 256) of the phrase.
            mask: (1, tokens) bool, True where there is no token.
        """
        return {
            "backbone_fpn": list(self.pyramid),
            "vision_pos_enc": list(self.positions),
            "language_features": features,
            "language_mask": mask,
        }
