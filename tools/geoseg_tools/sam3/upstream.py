"""What the wheel of sam3 0.1.4 lacks, and what it does to the process that it should not.

Each function says why it is there; where upstream is mended, it can go.
"""

from __future__ import annotations

import sys
import warnings
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from geoseg_tools.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

_EXTRA = "install the models: pip install 'geoseg-agent[models]'"


def prepare() -> None:
    """Make `import sam3` work and keep quiet; to be called before every import of it, and before every build.

    Raises:
        ModelError: the package, or one that it needs, is missing or broken.
    """
    # The wheel imports psutil but does not ask for it; open_clip has the vocabulary.
    for name in ("sam3", "psutil", "open_clip"):
        if find_spec(name) is None:
            raise ModelError(f"SAM3 needs the package {name}, which is not installed", hint=_EXTRA)
    _without_triton()
    _hush()
    try:
        with _same_arithmetic():
            import sam3.model_builder  # noqa: F401, PLC0415 - only now can it be imported
    except (ImportError, RuntimeError) as error:
        # Beside a torch of another build, torchvision raises RuntimeError.
        raise ModelError(
            f"sam3 cannot be imported: {error}",
            hint="torch and torchvision must be of one build: install both from the same index",
        ) from error


def build(device: torch.device, *, compiled: bool) -> Any:
    """The official image model with both kinds of prompts, without weights, in evaluation mode, on `device`.

    Args:
        device: where it will compute.
        compiled: hand the image backbone and the pixel decoder to torch.compile, as upstream offers; they are
            compiled when first used.

    Raises:
        ModelError: a package is missing.
    """
    prepare()
    import sam3  # noqa: PLC0415 - see prepare

    with redirected(device):
        model = sam3.build_sam3_image_model(
            bpe_path=str(vocabulary()),
            # Upstream moves to "cuda" or not at all.
            device="cpu",
            eval_mode=True,
            load_from_HF=False,
            enable_inst_interactivity=True,
            compile=compiled,
        )
    # The tracker switches bfloat16 on for the rest of the thread's life, whatever else computes there.
    model.inst_interactive_predictor.model.bf16_context.__exit__(None, None, None)
    return model.to(device)


def vocabulary() -> Path:
    """The byte pair vocabulary of CLIP, from open_clip: the wheel names the file but ships none."""
    # Found without an import, which takes a second or two and is not needed for a file.
    package = find_spec("open_clip")
    if package is None or package.origin is None:
        raise ModelError("SAM3 needs the package open_clip, which is not installed", hint=_EXTRA)
    return Path(package.origin).with_name("bpe_simple_vocab_16e6.txt.gz")


def redirected(device: torch.device) -> AbstractContextManager[object]:
    """A block, on this thread, in which upstream's fixed "cuda" means `device` and nothing is pinned.

    On a CUDA device there is nothing to redirect; `devices.on` says which one "cuda" is.
    """
    return nullcontext() if device.type == "cuda" else _Redirected(device)


class _Redirected(TorchFunctionMode):  # type: ignore[misc]  # torch is Any to mypy
    """The position encodings and the decoder are made on "cuda", the geometry encoder pins memory for it."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.pin_memory:
            return args[0]
        named = kwargs.get("device")
        if named is not None and torch.device(named).type == "cuda":
            kwargs = {**kwargs, "device": self.device}
        return func(*args, **kwargs)


def _without_triton() -> None:
    # Training and video import a kernel at the top of their modules; no answer here needs it. Torch brings triton on
    # Linux with CUDA, and nowhere else.
    name = "sam3.model.edt"
    if find_spec("triton") is None and name not in sys.modules:
        stub = ModuleType(name)
        stub.edt_triton = _no_triton  # type: ignore[attr-defined]
        sys.modules[name] = stub


def _no_triton(*_: object) -> None:
    raise ModelError("this function of sam3 needs triton, which is not installed")


def _hush() -> None:
    # Filters and not `catch_warnings`: that one swaps the filters of the whole process, and other threads may load
    # models at the same time. Set before every build because whoever does swap them (pytest, for each test) undoes
    # it. An equal filter is moved to the front, not added again.
    warnings.filterwarnings(
        # About video, on machines without CUDA.
        "ignore",
        message="CUDA is not available or torch_xla is imported",
        category=UserWarning,
        module=r"sam3\.",
    )
    warnings.filterwarnings(
        # About how upstream makes its transforms; torch names itself as the place, so the filter can be no narrower.
        "ignore",
        message=r"`torch\.jit\.script",
        category=DeprecationWarning,
        module=r"torch\.jit\.",
    )


@contextmanager
def _same_arithmetic() -> Iterator[None]:
    # Importing the builder lets every float32 product of the process round to TF32, those of other models too.
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        if (matmul, cudnn) != (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32):
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
