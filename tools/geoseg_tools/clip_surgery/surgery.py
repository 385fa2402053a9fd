"""From features to similarities: feature surgery and the similarity map, as pure functions.

Feature surgery (Li et al., arXiv 2304.05653) takes off what every text has in common with a picture: the mean over a
set of labels, or, for phrases that stand alone, the similarity to a text that names nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from geoseg_tools.arrays import Size

_SHARPNESS = 2.0  # multiplies the class token's cosines before the softmax; the published formula, not a setting


def normalise(features: Tensor) -> Tensor:
    """Every feature at unit length, float32: (..., E) to (..., E), over the last axis.

    float32 whatever the encoder ran in: the surgery takes differences of numbers that are nearly equal.
    """
    return functional.normalize(features.float(), dim=-1)


def compare_labels(features: Tensor, texts: Tensor) -> Tensor:
    """Similarities of tokens with a set of labels, each label measured against the mean of all.

    The class token says how likely each label is for the picture as a whole; likely ones weigh more.

    Args:
        features: (B, 1 + N, E) float, unit length; token 0 is the class token.
        texts: (n, E) float, unit length; one label alone gives zeros.

    Returns:
        (B, 1 + N, n) float32.
    """
    cosines = features.float() @ texts.float().T
    likely = (_SHARPNESS * cosines[:, :1]).softmax(dim=-1)
    weighed = cosines * (likely / likely.mean(dim=-1, keepdim=True))
    return weighed - weighed.mean(dim=-1, keepdim=True)


def compare_phrases(features: Tensor, texts: Tensor, redundant: Tensor) -> Tensor:
    """Similarities of tokens with phrases, each on its own, less what they share with a text that names nothing.

    Args:
        features: (B, T, E) float, unit length.
        texts: (n, E) float, unit length.
        redundant: (1, E) or (E,) float, unit length: the ensemble feature of the empty string.

    Returns:
        (B, T, n) float32.
    """
    return features.float() @ (texts.float() - redundant.float()).T


def map_similarity(similarity: Tensor, grid: Size, size: Size) -> Tensor:
    """Similarity maps at the size of the picture: min-max over the patches, then bilinear.

    Scaled before it is resized and not again afterwards, so the largest value may stay under 1. Corners are not
    aligned, and nothing is antialiased, not even where the map shrinks. A constant map gives zeros.

    Args:
        similarity: (B, 1 + gh * gw, n) float; token 0, the class token, is left out.
        grid: (gh, gw).
        size: (height, width) of the maps.

    Returns:
        (B, height, width, n) float32, 0..1.
    """
    patches = similarity.float()[:, 1:]
    low, high = patches.amin(dim=1, keepdim=True), patches.amax(dim=1, keepdim=True)
    span = high - low
    scaled = torch.where(span > 0, (patches - low) / span, 0)
    cells = scaled.transpose(1, 2).unflatten(2, tuple(grid))
    resized = functional.interpolate(cells, size=tuple(size), mode="bilinear", align_corners=False)
    return resized.permute(0, 2, 3, 1)
