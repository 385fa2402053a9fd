"""What the wheel lacks is supplied, and what it would do to the process is undone."""

import subprocess
import sys
import warnings

import pytest
import tiny_sam3

if tiny_sam3.MISSING:
    pytest.skip(f"needs {', '.join(tiny_sam3.MISSING)}", allow_module_level=True)

import torch

from geoseg_tools import ModelError
from geoseg_tools.sam3 import upstream

CPU = torch.device("cpu")


def state():
    return (
        torch.is_autocast_enabled("cuda"),
        torch.get_autocast_dtype("cuda"),
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
    )


def test_building_is_quiet_and_leaves_the_process_as_it_was():
    before = state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny_sam3.build()
        many = len(warnings.filters)
        tiny_sam3.build()
        assert len(warnings.filters) == many
    assert state() == before


def test_only_the_warnings_that_are_known_are_hushed():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        upstream.prepare()
        with pytest.raises(UserWarning):
            warnings.warn("CUDA is not available or torch_xla is imported", stacklevel=1)
        with pytest.raises(DeprecationWarning):
            warnings.warn("`torch.jit.script` is deprecated", DeprecationWarning, stacklevel=1)


def test_cuda_means_the_device_inside_the_block():
    with upstream.redirected(CPU):
        assert torch.zeros(2, device="cuda").device == CPU
        assert torch.arange(2, device=torch.device("cuda", 1)).device == CPU
        assert torch.zeros(2, device="meta").device.type == "meta"
        assert torch.zeros(2).to(device="cuda").device == CPU
        tensor = torch.ones(2)
        assert tensor.pin_memory() is tensor
    # Where CUDA is meant, nothing is changed; without it that fails.
    if not torch.cuda.is_available():
        with upstream.redirected(torch.device("cuda")), pytest.raises((RuntimeError, AssertionError)):
            torch.zeros(2, device="cuda")


def test_the_vocabulary_is_clips():
    from open_clip.tokenizer import SimpleTokenizer  # noqa: PLC0415 - takes a second
    from sam3.model.tokenizer_ve import SimpleTokenizer as Upstreams  # noqa: PLC0415

    text = "the large Church, left of 3 red cars: café"
    assert Upstreams(str(upstream.vocabulary())).encode(text) == SimpleTokenizer().encode(text)


@pytest.mark.parametrize("name", ["sam3", "psutil", "open_clip"])
def test_a_missing_package_is_named(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModelError, match=f"needs the package {name}, ") as caught:
        upstream.prepare()
    assert "geoseg-agent[models]" in caught.value.hint


def test_nothing_is_imported_before_it_is_used_and_a_broken_torchvision_is_named():
    code = """
import sys
import geoseg_tools
assert not {"torch", "sam3"} & sys.modules.keys()
import geoseg_tools.sam3
assert not {"sam3", "open_clip", "torchvision", "huggingface_hub"} & sys.modules.keys()
sys.modules["torchvision"] = None
try:
    geoseg_tools.sam3.upstream.prepare()
except geoseg_tools.ModelError as error:
    assert "sam3 cannot be imported" in str(error) and "torchvision" in str(error), error
    assert "same index" in error.hint
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)
