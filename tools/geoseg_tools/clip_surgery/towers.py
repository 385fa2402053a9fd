"""Which image towers the surgery is defined for: open_clip's own Vision Transformer with a class token.

What is read of a tower is its weights and a few plain attributes; its classes differ between releases of open_clip
and are never asked for. A tower of another kind would give numbers too, only wrong ones, so it is refused by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from geoseg_tools.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPTH = 6
"""How many of the last layers the surgery changes, for every Vision Transformer (Li et al., arXiv 2304.05653)."""

SUPPORTED = (
    f"CLIP Surgery reads open_clip's plain Vision Transformers with a class token and at least {DEPTH} layers, "
    "such as ViT-B-16, ViT-B-32, ViT-L-14 and ViT-H-14"
)

_PARTS = ("conv1", "class_embedding", "positional_embedding", "ln_pre", "transformer", "ln_post", "proj", "grid_size")
_LAYER_PARTS = ("ln_1", "attn", "ln_2", "mlp", "ls_1", "ls_2")


def check_tower(visual: Any) -> None:
    """Refuse every image tower that the surgery is not defined for.

    Args:
        visual: `model.visual` of an open_clip model.

    Raises:
        ModelError: the message names what the tower is, the hint what is supported.
    """
    for reason in _reasons(visual):
        raise ModelError(f"the surgery does not know this image tower: {reason}", hint=SUPPORTED)


def layers_of(visual: Any) -> list[Any]:
    """The layers of a tower, first to last."""
    return list(visual.transformer.resblocks)


def _reasons(visual: Any) -> Iterator[str]:
    """What is in the way, the most telling first; each one may assume that those before it do not hold."""
    kind = type(visual).__name__
    if hasattr(visual, "trunk"):
        yield f"it is a timm tower ({type(visual.trunk).__name__})"
    if hasattr(visual, "attnpool"):
        yield f"it is a ResNet ({kind}), which attends in its last pooling only"
    if missing := [name for name in _PARTS if not hasattr(visual, name)]:
        yield f"{kind} has no {missing[0]}"
    yield from _output_reasons(visual)
    rows, (gh, gw) = len(visual.positional_embedding), visual.grid_size
    if rows != gh * gw + 1:
        yield f"its positional table has {rows} rows for a grid of {gh} x {gw} and one class token"
    layers = layers_of(visual)
    if len(layers) < DEPTH:
        yield f"it has {len(layers)} layers"
    if not getattr(visual.transformer, "batch_first", True):
        yield "its layers take the tokens before the batch"
    for number, layer in enumerate(layers):
        for reason in _layer_reasons(layer):
            yield f"layer {number} {reason}"


def _output_reasons(visual: Any) -> Iterator[str]:
    if getattr(visual, "attn_pool", None) is not None:
        yield "it pools its tokens by attention, as CoCa does, and its image feature is no class token"
    pool = getattr(visual, "pool_type", "tok")
    if pool != "tok":
        yield f"its image feature is pooled as {pool!r}, not taken from the class token"
    if getattr(visual, "final_ln_after_pool", False):
        yield "its final layer norm comes after pooling (final_ln_after_pool)"
    if visual.proj is None:
        yield "it has no projection into the joint space (proj is None)"
    dtype = visual.ln_post.weight.dtype
    if dtype in {torch.float16, torch.bfloat16}:
        # Half weights are fine; a half layer norm loses what the surgery subtracts.
        yield f"its layer norms are {dtype} (a 'pure' half precision; 'fp16' and 'bf16' leave them in float32)"


def _layer_reasons(layer: Any) -> Iterator[str]:
    if missing := [name for name in _LAYER_PARTS if not hasattr(layer, name)]:
        yield f"has no {missing[0]}"
    attention = layer.attn
    if getattr(attention, "in_proj_weight", None) is None or not hasattr(attention, "out_proj"):
        yield f"keeps its attention weights in a way of its own ({type(attention).__name__})"
    for name, what in (("ln_q", "queries"), ("ln_k", "keys"), ("ln_inner", "attended values")):
        if not _passes(getattr(attention, name, None)):
            yield f"normalises its {what} ({name})"
    if getattr(attention, "logit_scale", None) is not None:
        yield "attends by scaled cosine"
    if getattr(attention, "head_scale", None) is not None:
        yield "scales its heads"
    if not _passes(getattr(layer, "ln_attn", None)) or not _passes(getattr(layer.mlp, "ln", None)):
        yield "has layer norms behind its attention or inside its feed-forward part"


def _passes(module: Any) -> bool:
    return module is None or isinstance(module, torch.nn.Identity)
