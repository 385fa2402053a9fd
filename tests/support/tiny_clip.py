"""Small CLIP models: the one of the golden vectors, an awkward one, and a ready matcher that takes milliseconds.

Needs torch and open_clip; pytest is not imported.
"""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torchvision_stub import ensure_torchvision

ensure_torchvision()

import open_clip  # noqa: E402 - needs a torchvision that imports
from open_clip.model import CLIP  # noqa: E402

from geoseg_tools import Box, Crop, Scene  # noqa: E402
from geoseg_tools.clip_surgery import ClipSurgery  # noqa: E402

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "clip_surgery"
SMALL = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": 6, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 512, "width": 32, "heads": 2, "layers": 1},
}
# Nothing about it is round: three heads, a grid that is not square, layer scale, no first layer norm, plain GELU.
AWKWARD = {
    "embed_dim": 10,
    "quick_gelu": False,
    "vision_cfg": {
        "image_size": (40, 52),
        "layers": 7,
        "width": 36,
        "head_width": 12,
        "patch_size": 12,
        "mlp_ratio": 2.5,
        "ls_init_value": 0.5,
        "no_ln_pre": True,
    },
    "text_cfg": {"context_length": 12, "vocab_size": 64, "width": 24, "heads": 3, "layers": 1},
}


def golden_meta():
    return json.loads((GOLDEN / "meta.json").read_text(encoding="utf-8"))


def golden_state():
    """The golden weights as a state dict."""
    with np.load(GOLDEN / "weights.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


def golden_model():
    model = CLIP(**golden_meta()["model_cfg"]).eval()
    model.load_state_dict(golden_state(), strict=True)
    return model


def golden_clip(**options):
    """The golden model as a matcher: 64 x 64 pixels, 4 x 4 cells."""
    options = {"side": 64, "device": torch.device("cpu"), **options}
    return ClipSurgery(golden_model(), open_clip.SimpleTokenizer(), **options)


def random_model(config, seed=0, **options):
    """A model whose every parameter is random, so that leaving one out shows."""
    model = CLIP(**config, **options).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("gamma") or (name.endswith("weight") and parameter.ndim == 1):
                parameter.copy_(1 + 0.3 * noise)
            elif parameter.ndim < 2 or "embedding" in name:
                parameter.copy_(0.5 * noise)
            else:
                columns = parameter.shape[0] if name.endswith("proj") else parameter[0].numel()
                parameter.copy_(noise / math.sqrt(columns))
    return model


class Words:
    """A tokenizer without a vocabulary: every word is a number between start and end."""

    def __init__(self, vocabulary):
        self.last = vocabulary - 1  # the text tower reads its feature off the highest number

    def encode(self, text):
        return [1 + zlib.crc32(word.encode()) % (self.last - 2) for word in text.lower().split()]

    def __call__(self, texts, context_length):
        table = torch.zeros(len(texts), context_length, dtype=torch.long)
        for row, text in zip(table, texts, strict=True):
            ids = [*[self.last - 1, *self.encode(text)][: context_length - 1], self.last]
            row[: len(ids)] = torch.tensor(ids)
        return table


def clip(seed=0, **options):
    """A ready matcher with random weights: any phrase, any crop, maps of 8 x 8 that differ from cell to cell."""
    options = {"side": 64, "device": torch.device("cpu"), "weights": {"clip": f"{seed:064x}"}, **options}
    return ClipSurgery(random_model(SMALL, seed), Words(SMALL["text_cfg"]["vocab_size"]), **options)


def crop_of(pixels, roi=None, digest=None):
    """A crop of a scene of these pixels, the whole of it by default."""
    height, width = pixels.shape[:2]
    box = roi or Box(0, 0, width, height)
    known = digest or f"{zlib.crc32(np.ascontiguousarray(pixels).tobytes()):08x}"
    return Crop(Scene((height, width), known, pixels), box, box)


def noise(size, seed=0):
    """(h, w, 3) uint8, smooth blobs of colour."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    rows, cols = (np.arange(side) * 9 // side for side in size)
    return coarse[rows][:, cols]
