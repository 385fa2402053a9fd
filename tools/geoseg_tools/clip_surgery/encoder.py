"""The surgered image encoder: a second way through the weights of an ordinary CLIP, no weight added or changed.

CLIP Surgery (Li et al., arXiv 2304.05653). Over the last six layers two paths run side by side. The original one is
the plain encoder. The new one starts as the input of the first of the six and only collects, from each layer, what
attention would add if values attended to values; it never meets a feed-forward part, a layer norm or an attention.
At the end the patches come from the new path and the class token from the original one.

Everything here is a function over the modules of open_clip's `model.visual`: nothing is rewired, the positional table
is resized from the stored one each time and never written back, so the model stays what it was and inputs of
different sizes do not influence each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn import functional

from geoseg_tools.clip_surgery.towers import DEPTH, check_tower, layers_of
from geoseg_tools.errors import ToolError

if TYPE_CHECKING:
    from torch import Tensor

    from geoseg_tools.arrays import Size


class Encoded(NamedTuple):
    """What the encoder makes of a batch.

    Attributes:
        tokens: (B, 1 + gh * gw, E) in the dtype of the weights, after the last layer norm and the projection, not
            normalised. Token 0 is the class token, the others are the patches, row-major.
        grid: (gh, gw), the patches of the input.
    """

    tokens: Tensor
    grid: Size


class Paths(NamedTuple):
    """The two paths behind one layer, each (B, 1 + gh * gw, C) in the dtype of the weights.

    Attributes:
        original: the plain encoder's state.
        new: the running sum of what value-value attention gave.
    """

    original: Tensor
    new: Tensor


def encode(visual: Any, images: Tensor) -> Encoded:
    """Encode pictures with the surgery; the class token's row is what the plain `encode_image` gives.

    Args:
        visual: `model.visual` of an open_clip model, in evaluation mode.
        images: (B, 3, h, w) float, normalised; h and w are multiples of the patch, on the device of the weights.

    Raises:
        ModelError: the tower is of a kind that the surgery is not defined for.
        ToolError: the input is not of that shape.
    """
    original, new = follow(visual, images)[-1]
    with torch.inference_mode():
        tokens = torch.cat([original[:, :1], new[:, 1:]], dim=1)
    return Encoded(project(visual, tokens), _grid_of(visual, images))


def follow(visual: Any, images: Tensor) -> tuple[Paths, ...]:
    """Both paths behind each of the last six layers, in order.

    Args:
        visual: as for `encode`.
        images: as for `encode`.

    Raises:
        ModelError: as for `encode`.
        ToolError: as for `encode`.
    """
    check_tower(visual)
    layers = layers_of(visual)
    with torch.inference_mode():
        state = embed(visual, images)
        for layer in layers[:-DEPTH]:
            state = layer(state)
        paths, passed = Paths(state, state), []
        for layer in layers[-DEPTH:]:
            paths = _through(layer, paths)
            passed.append(paths)
    return tuple(passed)


def embed(visual: Any, images: Tensor) -> Tensor:
    """What enters the first layer: (B, 1 + gh * gw, C), class token and patches with their positions, normalised.

    Args:
        visual: as for `encode`.
        images: as for `encode`.

    Raises:
        ToolError: as for `encode`.
    """
    grid = _grid_of(visual, images)
    # Where the weights are half, open_clip leaves the table and the class token in float32.
    dtype = visual.conv1.weight.dtype
    with torch.inference_mode():
        patches = visual.conv1(images.to(dtype)).flatten(2).transpose(1, 2)
        first = visual.class_embedding.to(dtype).expand(len(images), 1, -1)
        return visual.ln_pre(torch.cat([first, patches], dim=1) + positional_table(visual, grid).to(dtype))


def positional_table(visual: Any, grid: Size) -> Tensor:
    """The positional table for a grid, (1 + gh * gw, C), resized from the stored one; read-only.

    Bilinear, corners not aligned, no antialiasing, for each axis on its own; row 0, the class token's, stays. What
    open_clip would do itself, bicubic with antialiasing, is another table.

    Args:
        visual: as for `encode`.
        grid: (gh, gw).
    """
    stored = visual.positional_embedding.detach()
    native = tuple(visual.grid_size)
    if tuple(grid) == native:
        return stored
    with torch.inference_mode():
        cells = stored[1:].T.reshape(1, -1, *native)
        resized = functional.interpolate(cells, size=tuple(grid), mode="bilinear", align_corners=False)
        return torch.cat([stored[:1], resized[0].flatten(1).T])


def project(visual: Any, tokens: Tensor) -> Tensor:
    """Tokens of the last layer in the joint space: (B, n, C) to (B, n, E), by the last layer norm and projection."""
    with torch.inference_mode():
        return visual.ln_post(tokens) @ visual.proj


def native_size(visual: Any) -> Size:
    """(h, w) of the pictures that the plain encoder takes, cut down to whole patches."""
    (gh, gw), (ph, pw) = visual.grid_size, visual.conv1.kernel_size
    return gh * ph, gw * pw


def _through(layer: Any, paths: Paths) -> Paths:
    """Both paths through one layer; both additions are computed from the layer norm of the original path."""
    original, new = paths
    attention = layer.attn
    batch, count, width = original.shape
    inner = functional.linear(layer.ln_1(original), attention.in_proj_weight, attention.in_proj_bias)
    # The number of heads is the module's own: a width divided by 64 is wrong for ViT-H.
    heads = inner.reshape(batch, count, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    query, key, value = heads.unbind(0)

    def attended(asking: Tensor, asked: Tensor) -> Tensor:
        mixed = functional.scaled_dot_product_attention(asking, asked, value)
        mixed = mixed.transpose(1, 2).reshape(batch, count, width)
        out = attention.out_proj
        return layer.ls_1(functional.linear(mixed, out.weight, out.bias))

    new = new + attended(value, value)
    original = original + attended(query, key)
    return Paths(original + layer.ls_2(layer.mlp(layer.ln_2(original))), new)


def _grid_of(visual: Any, images: Tensor) -> Size:
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ToolError(f"pictures for CLIP are (B, 3, h, w) float, got {images.dtype} {tuple(images.shape)}")
    (height, width), (ph, pw) = images.shape[2:], visual.conv1.kernel_size
    if height < ph or width < pw or height % ph or width % pw:
        # The convolution would drop the rest on the right and at the bottom, which shifts the whole map.
        raise ToolError(f"a picture of {height} x {width} is no whole number of patches of {ph} x {pw}")
    return height // ph, width // pw
