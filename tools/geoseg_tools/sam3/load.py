"""SAM3 with its weights: the official model, filled strictly."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from geoseg_tools import devices
from geoseg_tools.errors import ModelError, WeightsError
from geoseg_tools.sam3 import hub, upstream
from geoseg_tools.sam3.segmenter import Sam3
from geoseg_tools.weights import fit, read_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import torch

    from geoseg_tools.sam3.segmenter import Precision, TextMode

_PREFIXES = {"detector.": "", "tracker.": "inst_interactive_predictor.model."}
_SHOWN = 4


def load(
    checkpoint: Path | None,
    device: torch.device,
    *,
    text_mode: TextMode = "instances",
    text_threshold: float = 0.5,
    precision: Precision = "auto",
    compiled: bool = False,
    fetch: Callable[..., str] | None = None,
) -> Sam3:
    """SAM3 on `device`, ready to be asked.

    Args:
        checkpoint: a file in the official format; no network is touched then. None takes the released weights from
            the hub.
        device: where to compute.
        text_mode: see `Sam3`.
        text_threshold: see `Sam3`.
        precision: see `Sam3`.
        compiled: compile the image backbone and the pixel decoder, at their first use and for minutes; for CUDA.
        fetch: see `hub.download`.

    Raises:
        WeightsError: there are no weights, or they are not those of this model, to the last tensor.
        ModelError: a package is missing, or it cannot be compiled for the device.
        MemoryExhausted: the model does not fit the device.
    """
    if compiled:
        _check_compiler(device)
    # What is missing is said before a large file is fetched and a model built for it.
    upstream.prepare()
    weights = read_weights(checkpoint or hub.download(fetch), remedy=hub.BY_HAND)
    state = _named(weights.state)

    def build() -> Sam3:
        with devices.on(device):
            model = upstream.build(device, compiled=compiled)
        fit(state, model, "the file of SAM3's weights", remedy=hub.BY_HAND)
        return Sam3(
            model.requires_grad_(requires_grad=False).eval(),
            device=device,
            resolution=model.inst_interactive_predictor.model.image_size,
            text_mode=text_mode,
            text_threshold=text_threshold,
            precision=precision,
            weights={"sam3": weights.sha256},
        )

    return devices.bounded(device, "loading SAM3", build)


def _named(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of the released file under the image model's names.

    The file is that of the video model: a detector and a tracker. Only a prefix is replaced; upstream replaces the
    words wherever they stand.
    """
    named, strangers = {}, []
    for name, tensor in state.items():
        for prefix, ours in _PREFIXES.items():
            if name.startswith(prefix):
                named[ours + name.removeprefix(prefix)] = tensor
                break
        else:
            strangers.append(name)
    if strangers or len(named) < len(state):
        raise WeightsError(
            f"this is no file of SAM3's weights: of its {len(state)} tensors {len(strangers)} belong neither to "
            f"detector nor to tracker ({', '.join(sorted(strangers)[:_SHOWN]) or 'but some to both'})",
            hint=hub.BY_HAND,
        )
    return named


def _check_compiler(device: torch.device) -> None:
    if device.type not in {"cuda", "cpu"}:
        raise ModelError(f"SAM3 cannot be compiled for {device}", hint="leave `compiled` off")
    if device.type == "cuda" and find_spec("triton") is None:
        raise ModelError("compiling SAM3 for CUDA needs triton, which is not installed", hint="pip install triton")
