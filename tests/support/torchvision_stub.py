"""Make `import torchvision` work beside a torch that has no CUDA.

The usual torchvision wheel is linked against CUDA. Beside a CPU build of torch its extension does not load, its
operators are never declared, and the import ends in "operator torchvision::nms does not exist". Declared by hand they
let the import through; the few functions that need the extension raise when they are called, but for
`torchvision.io.decode_image`, which is replaced by Pillow. Where torchvision works, nothing is done.
"""

import io
import sys
from importlib import import_module

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import library

_KEPT = []  # a library of operators lives as long as this


def ensure_torchvision():
    """True where the stub had to step in; call before anything imports torchvision."""
    try:
        import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    else:
        return False
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    operators = library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        operators.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(operators)
    import_module("torchvision.io").decode_image = decode_image
    return True


def decode_image(encoded, mode=None, *, apply_exif_orientation=False):
    """As `torchvision.io.decode_image`: bytes in a tensor to uint8 (3, h, w), always RGB; a path is not taken."""
    with Image.open(io.BytesIO(encoded.numpy().tobytes())) as image:
        upright = ImageOps.exif_transpose(image) if apply_exif_orientation else image
        return torch.from_numpy(np.array(upright.convert("RGB"))).permute(2, 0, 1).contiguous()
