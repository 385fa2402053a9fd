"""A model from the table with its weights in it, ready to be asked.

Weights from a file and weights from a tag go one way: a local path, read without executing anything, told apart by
its sha256, every tensor fitted or refused. open_clip's own loader is not used for it: it resizes a positional table
that does not fit (bicubic, antialiased: another table), and only warns of a wrong activation.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import open_clip
from open_clip.transformer import QuickGELU

from geoseg_tools.clip_surgery.matcher import ClipSurgery
from geoseg_tools.clip_surgery.table import entry_of
from geoseg_tools.clip_surgery.templates import IMAGENET, templates_of
from geoseg_tools.clip_surgery.towers import check_tower, layers_of
from geoseg_tools.devices import bounded
from geoseg_tools.errors import ModelError, WeightsError
from geoseg_tools.weights import fit, read_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

    from geoseg_tools.clip_surgery.table import Entry
    from geoseg_tools.clip_surgery.templates import Templates

_VARIABLE = "GEOSEG_CLIP_CHECKPOINT"
# Numbers that OpenAI's archives and older releases of open_clip keep beside the weights; nothing of them is learned.
_NOT_LEARNED = ("attn_mask", "context_length", "input_resolution", "vocab_size")


def fetch_tag(name: str, tag: str) -> Path:
    """The file with the weights of a tag, downloaded or from the cache, as open_clip does it.

    Raises:
        Exception: whatever the hub's client and the connection raise.
    """
    return Path(open_clip.download_pretrained(open_clip.get_pretrained_cfg(name, tag)))


def load(
    model: str | Entry,
    checkpoint: Path | None,
    device: torch.device,
    *,
    templates: str | Templates = IMAGENET,
    fetch: Callable[[str, str], Path] = fetch_tag,
) -> ClipSurgery:
    """A model of the table as a matcher, float32 on the device.

    Args:
        model: its key, or an entry of the caller's own.
        checkpoint: a local file with the weights (PyTorch or safetensors; a training checkpoint is unwrapped), or
            None for the tag's, which open_clip fetches from the hub or finds in its cache.
        device: where to compute.
        templates: the name of a set of prompt templates, or a set.
        fetch: gives the local file of (architecture, tag).

    Raises:
        ModelError: there is no such model, or its activation is not the one its weights want.
        WeightsError: there are no weights, they cannot be had or read, or belong to another model.
        MemoryExhausted: the device is too small for the model.
    """
    entry = entry_of(model) if isinstance(model, str) else model
    chosen = templates_of(templates)
    check_entry(entry)
    path = _fetched(entry, fetch) if checkpoint is None else checkpoint
    remedy = f"the weights of {entry.key}: {entry.where}; name the file in {_VARIABLE}"
    if _is_torchscript(path):
        # Reading one means running the program in it.
        raise WeightsError(
            f"{path} is a TorchScript archive, a program with weights in it, and is not run",
            hint=f"{remedy}. Or take the weights out once, where you trust the file: "
            f"torch.save(torch.jit.load('{path.name}', map_location='cpu').state_dict(), 'weights.pt')",
        )
    made, sha256 = _filled(entry, path, remedy)
    bounded(device, f"loading {entry.key}", lambda: made.to(device))
    return ClipSurgery(
        made,
        open_clip.SimpleTokenizer(context_length=made.context_length),
        side=entry.side,
        device=device,
        templates=chosen,
        weights={"clip": sha256},
        name=entry.key,
        mean=entry.mean,
        std=entry.std,
    )


def build(entry: Entry) -> Any:
    """The open_clip model of an entry with random weights, float32, in evaluation mode.

    Built from open_clip's configuration and not by its `create_model`, which logs on its own and sets up logging
    where nobody has.

    Raises:
        ModelError: open_clip does not know the architecture, it is no plain CLIP, the surgery is not defined for
            it, or it has another activation than the entry says.
    """
    model = open_clip.CLIP(**_config_of(entry)).eval()
    check_tower(model.visual)
    check_activation(model, entry)
    return model


def check_entry(entry: Entry) -> None:
    """Compare an entry with what open_clip knows of its architecture and its tag, before anything is read or built.

    Of weights that come as a file nothing is known: there the entry's flag is all there is.

    Raises:
        ModelError: as for `build`, or there is no such tag, or its weights want another activation.
    """
    _config_of(entry)
    if entry.tag is None:
        return
    known = open_clip.get_pretrained_cfg(entry.name, entry.tag)
    if not known:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(entry.name)) or "none"
        raise ModelError(f"open_clip has no weights {entry.tag!r} for {entry.name}", hint=f"it has {tags}")
    trained = bool(known.get("quick_gelu", False))
    if trained != entry.quick_gelu:
        raise ModelError(
            f"QuickGELU mismatch: {entry.key} says {entry.quick_gelu}, the weights {entry.tag!r} of {entry.name} "
            f"were trained with {trained}"
        )


def check_activation(model: Any, entry: Entry) -> None:
    """Compare the entry's activation with the one that stands in every layer of both towers.

    Raises:
        ModelError: they differ; the results would be a little wrong in every layer, and nothing would show it.
    """
    for tower, layers in (("image", layers_of(model.visual)), ("text", list(model.transformer.resblocks))):
        for number, layer in enumerate(layers):
            if isinstance(layer.mlp.gelu, QuickGELU) != entry.quick_gelu:
                found = f"layer {number} of the {tower} tower of {entry.name} has {type(layer.mlp.gelu).__name__}"
                raise _mismatch(entry, found)


def adapt(state: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """The tensors of a file under the names of the model: what open_clip forgives when it loads, and no more.

    The prefix "module." of parallel training is taken off, numbers that are not learned are left out, and a
    temperature may be a scalar or have one element.
    """
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    wanted = model.state_dict()
    kept = {name: tensor for name, tensor in state.items() if name in wanted or name not in _NOT_LEARNED}
    if "logit_scale" in kept and kept["logit_scale"].numel() == 1:
        kept["logit_scale"] = kept["logit_scale"].reshape(wanted["logit_scale"].shape)
    return kept


def _config_of(entry: Entry) -> dict[str, Any]:
    """open_clip's configuration of the architecture, where it is a plain CLIP with the entry's activation."""
    config: dict[str, Any] | None = open_clip.get_model_config(entry.name)
    if config is None:
        raise ModelError(f"open_clip {open_clip.__version__} has no model {entry.name!r}")
    odd = [name for name in ("custom_text", "multimodal_cfg") if config.get(name)]
    odd += [
        name for name in ("hf_model_name", "hf_tokenizer_name", "tokenizer_kwargs") if config["text_cfg"].get(name)
    ]
    if odd:
        raise ModelError(f"{entry.name} is no plain CLIP with CLIP's tokenizer: its configuration has {odd[0]}")
    if bool(config.get("quick_gelu", False)) != entry.quick_gelu:
        raise _mismatch(entry, f"{entry.name} is configured with the other one")
    return config


def _mismatch(entry: Entry, found: str) -> ModelError:
    wanted = "QuickGELU" if entry.quick_gelu else "GELU"
    return ModelError(
        f"QuickGELU mismatch: the weights of {entry.key} want {wanted}, {found}",
        hint=f"{entry.name.removesuffix('-quickgelu')} has GELU, with -quickgelu behind it QuickGELU",
    )


def _filled(entry: Entry, path: Path, remedy: str) -> tuple[Any, str]:
    """The model with the weights of the file, on the CPU, and the sha256 of the file."""
    state, sha256 = read_weights(path, remedy=remedy)
    model = build(entry)
    state = adapt(state, model)
    _check_table(state, model, path, entry)
    fit(state, model, str(path), remedy=remedy)
    return model, sha256


def _fetched(entry: Entry, fetch: Callable[[str, str], Path]) -> Path:
    if entry.tag is None:
        raise WeightsError(
            f"the weights of {entry.key} come as a file only",
            hint=f"get {entry.where}, and set {_VARIABLE}=FILE",
        )
    try:
        return fetch(entry.name, entry.tag)
    except Exception as error:  # the hub's client raises errors of several libraries, and its own
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise WeightsError(
            f"the weights of {entry.key} could not be fetched: {said}",
            hint=f"connect to the network once, or get {entry.where} and set {_VARIABLE}=FILE",
        ) from error


def _check_table(state: dict[str, Tensor], model: Any, path: Path, entry: Entry) -> None:
    """A table of another grid belongs to the same model at another input size; say so before `fit` says shapes."""
    table, own = state.get("visual.positional_embedding"), model.visual.positional_embedding
    if table is None or table.shape == own.shape or table.shape[1:] != own.shape[1:]:
        return
    side, patch = round((len(table) - 1) ** 0.5), model.visual.conv1.kernel_size[0]
    input_side = f", an input of {side * patch} px" if side * side == len(table) - 1 else ""
    raise WeightsError(
        f"{path} has a positional table of {len(table)} rows{input_side}; {entry.name} has {len(own)}, "
        f"an input of {model.visual.grid_size[0] * patch} px",
        hint=f"give the weights of that size: {entry.where}; the table is resized to the picture later, bilinearly",
    )


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False  # no archive; reading it says what it is
