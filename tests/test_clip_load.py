"""The table of models and the way of weights into them."""

from importlib.util import find_spec

import pytest

if not all(map(find_spec, ("torch", "torchvision", "open_clip"))):
    pytest.skip("torch, torchvision and open_clip are not all installed", allow_module_level=True)

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import tiny_clip
import torch
from safetensors.torch import save_file
from tiny_clip import open_clip

from geoseg_tools import ModelError, WeightsError
from geoseg_tools.clip_surgery import (
    DEFAULT,
    TABLE,
    Entry,
    adapt,
    build,
    check_activation,
    check_entry,
    entry_of,
    load,
)

CPU = torch.device("cpu")
CONFIG = {**tiny_clip.SMALL, "text_cfg": {**tiny_clip.SMALL["text_cfg"], "vocab_size": 49408, "width": 16}}
REAL_TOKENS = {**tiny_clip.AWKWARD["text_cfg"], "vocab_size": 49408}
SMALL = Entry("small", "geoseg-small", None, quick_gelu=True, side=64, licence="none", where="tests/support")
SHORT = ("a {}.",)


@pytest.fixture(scope="module", autouse=True)
def _registered(tmp_path_factory):
    """open_clip knows the architectures of these tests."""
    folder = tmp_path_factory.mktemp("configs")
    configs = {"geoseg-small": CONFIG, "geoseg-awkward": {**tiny_clip.AWKWARD, "text_cfg": REAL_TOKENS}}
    if tiny_clip.GOLDEN.is_dir():
        configs["geoseg-golden"] = tiny_clip.golden_meta()["model_cfg"]
    for name, config in configs.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        open_clip.add_model_config(path)


@pytest.fixture(scope="module")
def state():
    return dict(tiny_clip.random_model(CONFIG, seed=3).state_dict())


@pytest.fixture(scope="module")
def expected(state):
    """The map of a model that was filled by open_clip's own strict loading."""
    model = open_clip.CLIP(**CONFIG)
    model.load_state_dict(state, strict=True)
    matcher = tiny_clip.ClipSurgery(model, open_clip.SimpleTokenizer(), side=64, device=CPU, templates=SHORT)
    return matcher.similarity(CROP, "roof")


CROP = tiny_clip.crop_of(tiny_clip.noise((50, 40)))


def loaded(path, entry=SMALL):
    return load(entry, path, CPU, templates=SHORT)


def refused(path, entry=SMALL):
    with pytest.raises(WeightsError) as caught:
        loaded(path, entry)
    assert "GEOSEG_CLIP_CHECKPOINT" in caught.value.hint or "positional table" in str(caught.value)
    return caught.value


@pytest.mark.parametrize("key", TABLE)
def test_every_entry_is_what_open_clip_knows(key):
    entry = TABLE[key]
    with torch.device("meta"):  # no memory, no time
        model = build(entry)
    layers = [*model.visual.transformer.resblocks, *model.transformer.resblocks]
    assert {isinstance(layer.mlp.gelu, open_clip.transformer.QuickGELU) for layer in layers} == {entry.quick_gelu}
    assert entry.quick_gelu == entry.name.endswith("-quickgelu")
    assert entry.key == key
    assert entry.licence
    assert entry.where
    patch = model.visual.conv1.kernel_size[0]
    assert entry.side % (2 * patch) == 0
    assert abs(entry.side - 512) < patch
    check_entry(entry)
    assert entry.needs_file == (entry.tag is None)
    if entry.tag:
        known = open_clip.get_pretrained_cfg(entry.name, entry.tag)
        assert (known["mean"], known["std"]) == (entry.mean, entry.std)
        assert known["interpolation"] == "bicubic"


def test_the_default_is_the_published_model():
    assert next(iter(TABLE)) == DEFAULT
    assert (TABLE[DEFAULT].name, TABLE[DEFAULT].tag, TABLE[DEFAULT].side) == ("ViT-B-16-quickgelu", "openai", 512)


@pytest.mark.parametrize(("key", "near"), [("remoteclip-l-14", "remoteclip-l14"), ("OPENAI-B16", "openai-b16")])
def test_an_unknown_key_lists_those_there_are(key, near):
    with pytest.raises(ModelError, match=key) as caught:
        entry_of(key)
    assert caught.value.hint.startswith(f"did you mean {near}?")
    assert all(known in caught.value.hint for known in TABLE)


@pytest.mark.parametrize(("name", "flag"), [("ViT-B-16", False), ("ViT-B-16-quickgelu", False), ("ViT-B-16", True)])
def test_another_activation_than_the_tags_is_refused(name, flag):
    entry = dataclasses.replace(TABLE[DEFAULT], name=name, quick_gelu=flag)
    with pytest.raises(ModelError, match="QuickGELU mismatch"):
        load(entry, Path("nowhere"), CPU)


@pytest.mark.parametrize("key", ["remoteclip-l14", "georsclip-h14"])
def test_another_activation_than_the_entrys_is_refused_where_there_is_no_tag(key):
    entry = TABLE[key]
    other = entry.name.removesuffix("-quickgelu") if entry.quick_gelu else f"{entry.name}-quickgelu"
    with torch.device("meta"), pytest.raises(ModelError, match="QuickGELU mismatch"):
        build(dataclasses.replace(entry, name=other))


def test_an_activation_is_looked_for_in_every_layer_of_both_towers():
    for layers in (lambda model: model.visual.transformer.resblocks, lambda model: model.transformer.resblocks):
        model = tiny_clip.random_model(tiny_clip.SMALL)
        layers(model)[-1].mlp.gelu = torch.nn.GELU()
        with pytest.raises(ModelError, match="has GELU"):
            check_activation(model, SMALL)


@pytest.mark.parametrize("name", ["ViT-Q-17", "coca_ViT-B-32", "xlm-roberta-base-ViT-B-32", "nllb-clip-base"])
def test_what_is_no_plain_clip_of_open_clip_is_refused(name):
    with pytest.raises(ModelError, match=name):
        build(dataclasses.replace(SMALL, name=name))


@pytest.mark.parametrize(("name", "said"), [("RN50", "ResNet"), ("convnext_base", "timm tower")])
def test_an_architecture_that_the_surgery_does_not_know_is_refused(name, said):
    with torch.device("meta"), pytest.raises(ModelError, match=said):
        build(dataclasses.replace(SMALL, name=name, quick_gelu=False))


def test_a_tag_that_open_clip_does_not_know_is_refused():
    with pytest.raises(ModelError, match="laion3b") as caught:
        check_entry(dataclasses.replace(TABLE[DEFAULT], tag="laion3b"))
    assert "openai" in caught.value.hint


def wrapped(kind, state):
    """The same weights as they come from different hands."""
    plain = dict(state)
    return {
        "plain": plain,
        "half": {name: tensor.half() for name, tensor in plain.items()},
        "parallel training": {
            "epoch": 20,
            "name": "run",
            "state_dict": {f"module.{name}": tensor for name, tensor in plain.items()},
            "optimizer": {"state": {}, "param_groups": []},
        },
        "openai": {
            **plain,
            "input_resolution": torch.tensor(64),
            "context_length": torch.tensor(77),
            "vocab_size": torch.tensor(49408),
        },
        "older open_clip": {**plain, "attn_mask": torch.zeros(77, 77)},
        "temperature of one element": {**plain, "logit_scale": plain["logit_scale"].reshape(1)},
    }[kind]


@pytest.mark.parametrize(
    "kind", ["plain", "half", "parallel training", "openai", "older open_clip", "temperature of one element"]
)
def test_weights_from_a_file_give_the_model_they_are_of(tmp_path, state, expected, kind):
    path = tmp_path / "weights.pt"
    torch.save(wrapped(kind, state), path)

    matcher = loaded(path)

    np.testing.assert_allclose(matcher.similarity(CROP, "roof"), expected, rtol=0, atol=5e-3 if kind == "half" else 0)
    assert matcher.weights == {"clip": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert matcher.name == "small"
    assert matcher.templates == SHORT


def test_safetensors_are_read_too(tmp_path, state, expected):
    path = tmp_path / "weights.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)

    assert np.array_equal(loaded(path).similarity(CROP, "roof"), expected)


@pytest.mark.skipif(not tiny_clip.GOLDEN.is_dir(), reason="the golden vectors are not here")
def test_the_golden_model_survives_the_way_through_a_half_file(tmp_path):
    path = tmp_path / "golden.pt"
    torch.save({name: tensor.half() for name, tensor in tiny_clip.golden_state().items()}, path)
    with np.load(tiny_clip.GOLDEN / "forward.npz") as arrays:
        picture, similarity = arrays["image_u8"], arrays["96x96/sim_single"]

    matcher = load(dataclasses.replace(SMALL, name="geoseg-golden", side=96), path, CPU)

    for number, text in enumerate(tiny_clip.golden_meta()["texts"]):
        found = matcher.similarity(tiny_clip.crop_of(picture), text)
        np.testing.assert_allclose(found, similarity[0, 1:, number].reshape(6, 6), rtol=0, atol=5e-6)


def test_no_file_is_refused(tmp_path):
    assert "no weights at" in str(refused(tmp_path / "nothing.pt"))


@pytest.mark.parametrize("data", [b"", b"weights", b"PK\x03\x04" + bytes(200)], ids=["empty", "text", "broken zip"])
def test_a_file_of_something_else_is_refused(tmp_path, data):
    for suffix in (".pt", ".safetensors"):
        path = tmp_path / f"weights{suffix}"
        path.write_bytes(data)
        assert "cannot be read" in str(refused(path))


@pytest.mark.parametrize("share", [0.1, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_refused(tmp_path, state, share):
    path = tmp_path / "weights.pt"
    torch.save(state, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert "cannot be read" in str(refused(path))


def test_a_file_that_would_run_something_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": Path("harmless")}, path)
    assert "cannot be read" in str(refused(path))


def test_weights_of_another_model_are_refused(tmp_path, state):
    path = tmp_path / "weights.pt"
    torch.save({name: tensor for name, tensor in state.items() if "resblocks.5" not in name}, path)
    assert "missing" in str(refused(path))
    torch.save({**state, "logit_bias": torch.zeros(())}, path)
    assert "unexpected (logit_bias)" in str(refused(path))
    torch.save({**state, "visual.proj": torch.zeros(32, 17)}, path)
    assert "of another shape (visual.proj)" in str(refused(path))
    torch.save({**state, "visual.positional_embedding": torch.zeros(65, 31)}, path)
    assert "of another shape (visual.positional_embedding)" in str(refused(path))


@pytest.mark.parametrize(("rows", "said"), [(145, "145 rows, an input of 96 px"), (60, "60 rows;")])
def test_weights_of_another_input_size_are_refused_as_such(tmp_path, state, rows, said):
    path = tmp_path / "weights.pt"
    torch.save({**state, "visual.positional_embedding": torch.zeros(rows, 32)}, path)

    error = refused(path)

    assert said in str(error)
    assert "geoseg-small has 65, an input of 64 px" in str(error)


def test_a_torchscript_archive_is_not_run(tmp_path):
    path = tmp_path / "ViT-B-16.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"model/{name}", b"")

    error = refused(path)

    assert "TorchScript" in str(error)
    assert "state_dict()" in error.hint


def test_only_what_is_not_learned_is_left_out(state):
    model = open_clip.CLIP(**CONFIG)
    odd = {"context_length": torch.tensor(77), "extra": torch.zeros(1)}

    assert adapt({**state, **odd}, model).keys() == state.keys() | {"extra"}
    assert adapt({}, model) == {}
    partly = {"module.a": torch.zeros(1), "b": torch.zeros(1)}
    assert adapt(partly, model).keys() == partly.keys()


def test_an_entry_that_needs_a_file_says_where_to_get_it():
    def never(name, tag):
        raise AssertionError

    for key in [key for key, entry in TABLE.items() if entry.needs_file]:
        with pytest.raises(WeightsError, match=key) as caught:
            load(key, None, CPU, fetch=never)
        assert TABLE[key].where in caught.value.hint
        assert "GEOSEG_CLIP_CHECKPOINT=FILE" in caught.value.hint


def test_the_file_of_a_tag_goes_the_way_of_every_file(tmp_path):
    asked = []

    def fetch(name, tag):
        asked.append((name, tag))
        (tmp_path / "open_clip_model.safetensors").write_bytes(b"not yet")
        return tmp_path / "open_clip_model.safetensors"

    with pytest.raises(WeightsError, match="cannot be read"):
        load(DEFAULT, None, CPU, fetch=fetch)
    assert asked == [("ViT-B-16-quickgelu", "openai")]


class ClientError(Exception):
    """A hub's client has errors of its own."""


@pytest.mark.parametrize(
    "failure",
    [
        FileNotFoundError("Failed to download file (a.bin) for timm/x. Last error: outgoing traffic is disabled."),
        ConnectionResetError(104, "Connection reset by peer"),
        TimeoutError(),
        RuntimeError("the SHA256 checksum does not not match"),
        ClientError("401\n  Client Error"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_weights_that_cannot_be_fetched_say_what_to_do(failure):
    def fetch(name, tag):
        raise failure

    with pytest.raises(WeightsError, match="openai-b16 could not be fetched") as caught:
        load(DEFAULT, None, CPU, fetch=fetch)
    assert (" ".join(str(failure).split()) or "TimeoutError") in str(caught.value)
    assert "connect to the network" in caught.value.hint
    assert "GEOSEG_CLIP_CHECKPOINT=FILE" in caught.value.hint
    assert caught.value.__cause__ is failure


OFFLINE = """
import sys
sys.path.insert(0, sys.argv[1])
from torchvision_stub import ensure_torchvision
ensure_torchvision()
import logging, torch
from geoseg_tools import WeightsError
from geoseg_tools.clip_surgery import load
try:
    load("openai-b16", None, torch.device("cpu"))
except WeightsError as error:
    print(error, error.hint, logging.getLogger().handlers, sep="|")
"""


def test_a_hub_that_is_switched_off_is_one_that_cannot_be_reached(tmp_path):
    support = Path(tiny_clip.__file__).parent
    known = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(support)], capture_output=True, text=True, check=True, env=known
    )

    said, hint, handlers = done.stdout.strip().split("|")

    assert "openai-b16 could not be fetched" in said
    assert "GEOSEG_CLIP_CHECKPOINT=FILE" in hint
    assert handlers == "[]"  # open_clip was not given a chance to set up logging
