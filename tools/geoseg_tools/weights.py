"""Weight files: found, read without running what is in them, and told apart by their sha256.

Needs torch, so it is imported by the models only.
"""

from __future__ import annotations

import hashlib
import zipfile
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from geoseg_tools.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

_SHOWN = 4


class Weights(NamedTuple):
    """The tensors of one file.

    Attributes:
        state: name to tensor, on the CPU.
        sha256: of the file, hex.
    """

    state: dict[str, torch.Tensor]
    sha256: str


def read_weights(path: Path, *, remedy: str) -> Weights:
    """Read a PyTorch or safetensors file; wrappers such as {"state_dict": ...} and {"model": ...} are taken off.

    Nothing in the file is executed (`weights_only`).

    Args:
        path: the file.
        remedy: what to do where it cannot be used, for the error.

    Raises:
        WeightsError: it is not there, cannot be read, or holds no tensors.
    """
    if not path.is_file():
        raise WeightsError(f"there are no weights at {path}", hint=remedy)
    try:
        digest = sha256_of(path)
        found = _loaded(path)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file ends in errors of every kind, some of them with advice to run it
        said = f"it is damaged, or no file of weights ({type(error).__name__})"
        raise WeightsError(f"the weights in {path} cannot be read: {said}", hint=remedy) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    if not isinstance(found, dict) or not found or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise WeightsError(f"{path} holds no table of tensors", hint=remedy)
    return Weights({str(name): tensor for name, tensor in found.items()}, digest)


def fit(state: Mapping[str, torch.Tensor], model: torch.nn.Module, name: str, *, remedy: str) -> None:
    """Copy `state` into the model: every tensor, no other, each of the model's own shape.

    Args:
        state: name to tensor, in the model's own naming.
        model: changed in place, once everything was seen to fit.
        name: what the weights are called in errors.
        remedy: what to do where they do not fit, for the error.

    Raises:
        WeightsError: tensors are missing, left over or of another shape; the message names some.
    """
    wanted = model.state_dict()
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    shaped = sorted(k for k in wanted.keys() & state.keys() if wanted[k].shape != state[k].shape)
    if missing or extra or shaped:
        said = [
            f"{len(names)} {what} ({_some(names)})"
            for what, names in (("missing", missing), ("unexpected", extra), ("of another shape", shaped))
            if names
        ]
        raise WeightsError(f"{name} does not belong to this model: {', '.join(said)}", hint=remedy)
    model.load_state_dict(state, strict=True)


def sha256_of(path: Path) -> str:
    """The sha256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _loaded(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file  # noqa: PLC0415 - comes with the models, not with every torch

        return load_file(path)
    # Mapped, so that file and model are not in memory at once; the older format cannot be.
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def _some(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown}, ..."
