"""Weights are read from the released file's format, all of them and no others, or from the hub."""

import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import tiny_sam3

if tiny_sam3.MISSING:
    pytest.skip(f"needs {', '.join(tiny_sam3.MISSING)}", allow_module_level=True)

import httpx
import torch
from huggingface_hub import errors

from geoseg_tools import Crop, ModelError, Scene, WeightsError, whole
from geoseg_tools.sam3 import hub, load

CPU = torch.device("cpu")
URL = "https://huggingface.co/facebook/sam3/resolve/main/sam3.pt"


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A file in the format of the released one; not in `tmp_path`, which is searched after every test."""
    path = tiny_sam3.save_checkpoint(tmp_path_factory.mktemp("sam3") / "sam3.pt", seed=2)
    yield path
    path.unlink()


@pytest.fixture
def changed(released):
    """Write the released file with a change, for one test."""
    path = released.with_name("changed.pt")

    def write(change):
        state = torch.load(released, weights_only=True)["model"]
        torch.save({"model": change(state) or state}, path)
        return path

    yield write
    path.unlink(missing_ok=True)


def small(checkpoint, **options):
    with tiny_sam3.small():
        return load(checkpoint, CPU, **options)


@pytest.fixture(scope="module")
def loaded(released):
    return small(released, fetch=no_network)


def no_network(**_):
    raise AssertionError("a local file needs no network")


def answers(by):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    scene = Scene((60, 90), "scene", pixels)
    encoded = by.encode(Crop(scene, whole(scene.size), whole(scene.size)))
    text = by.from_text(encoded, "water")
    points = by.from_points(encoded, np.array([[3, 4], [50, 40]]), np.array([True, False]))
    return text.masks, text.scores, points.masks, points.scores


def test_a_file_gives_back_the_model_it_was_written_from(released, loaded):
    for one, other in zip(answers(loaded), answers(tiny_sam3.sam3(2)), strict=True):
        assert np.array_equal(one, other)
    assert loaded.weights == {"sam3": sha256(released.read_bytes()).hexdigest()}


def test_a_loaded_model_is_ready_to_be_asked(loaded):
    assert not any(module.training for module in loaded._model.modules())
    assert not any(parameter.requires_grad for parameter in loaded._model.parameters())


def test_what_upstream_loads_strictly_is_loaded_strictly(tmp_path_factory):
    # The released file is of the video model: its own builder refuses a file that differs by a tensor. So does ours,
    # which is right only while both have the same tensors.
    video, image = tiny_sam3.build_video(3), tiny_sam3.build(0)
    assert video.state_dict().keys() == tiny_sam3.official(image).keys()
    path = tmp_path_factory.mktemp("video") / "sam3.pt"
    torch.save({"model": video.state_dict()}, path)
    loaded = small(path)
    path.unlink()
    ours = tiny_sam3.official(loaded._model)
    # Neither builder fills two of the tensors, which may be anything.
    assert all(torch.equal(ours[name].nan_to_num(), value.nan_to_num()) for name, value in video.state_dict().items())


def test_every_tensor_that_does_not_belong_is_told(changed):
    def change(state):
        del state["detector.transformer.decoder.query_embed.weight"]
        state["tracker.new.weight"] = torch.zeros(2)
        state["detector.transformer.decoder.presence_token.weight"] = torch.zeros(2)
        # Upstream takes a name that has "tracker" anywhere for one of the tracker's, and strips both words wherever
        # they are.
        state["detector.tracker.detector.weight"] = torch.zeros(2)

    path = changed(change)
    with pytest.raises(WeightsError) as caught:
        small(path)
    assert str(caught.value).endswith(
        "does not belong to this model: 1 missing (transformer.decoder.query_embed.weight), "
        "2 unexpected (inst_interactive_predictor.model.new.weight, tracker.detector.weight), "
        "1 of another shape (transformer.decoder.presence_token.weight)"
    )
    assert "GEOSEG_SAM3_CHECKPOINT" in caught.value.hint


def test_one_tensor_is_enough_to_be_refused(changed):
    path = changed(lambda state: {name: tensor for name, tensor in state.items() if name != "tracker.no_mem_embed"})
    with pytest.raises(WeightsError, match="model: 1 missing"):
        small(path)


def test_names_without_a_prefix(changed):
    path = changed(lambda state: {name.removeprefix("detector."): tensor for name, tensor in state.items()})
    with pytest.raises(WeightsError, match="belong neither to detector nor to tracker"):
        small(path)
    path = changed(lambda _: {"detector." + tiny_sam3.TRACKER + "x": torch.zeros(1), "tracker.x": torch.zeros(1)})
    with pytest.raises(WeightsError, match="belong neither to detector nor to tracker \\(but some to both\\)"):
        small(path)


def test_a_file_of_another_model(tmp_path):
    path = tmp_path / "other.pt"
    torch.save(torch.nn.Linear(3, 4).state_dict(), path)
    with pytest.raises(WeightsError, match=r"of its 2 tensors 2 belong neither to .* \(bias, weight\)"):
        small(path)


def test_a_file_that_is_cut_off_or_broken(released, tmp_path):
    cut = tmp_path / "cut.pt"
    cut.write_bytes(released.read_bytes()[:1_000_000])
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"not a file of weights" * 100)
    for path in (cut, broken):
        with pytest.raises(WeightsError, match="cannot be read") as caught:
            small(path)
        assert "put sam3.pt of https://huggingface.co/facebook/sam3 anywhere" in caught.value.hint
    with pytest.raises(WeightsError, match="there are no weights at"):
        small(tmp_path / "nowhere.pt")


def test_without_a_file_the_hub_is_asked_and_a_bare_table_will_do(released, loaded):
    asked = []
    path = released.with_name("bare.pt")
    torch.save(torch.load(released, weights_only=True)["model"], path)

    def fetch(**what):
        asked.append(what)
        return str(path)

    fetched = small(None, fetch=fetch, text_mode="semantic", text_threshold=0.99, precision="bfloat16")
    path.unlink()
    assert asked == [{"repo_id": "facebook/sam3", "filename": "sam3.pt"}]
    assert fetched.weights != loaded.weights
    text, _, _, iou = answers(fetched)
    assert len(text) == 0
    assert 0 < abs(iou[0] - answers(loaded)[3][0]) < 0.02  # computed in bfloat16


def refused(status, kind=errors.GatedRepoError, text="Cannot access gated repo"):
    return kind(text, response=httpx.Response(status, request=httpx.Request("HEAD", URL)))


@pytest.mark.parametrize(
    ("error", "why", "remedy"),
    [
        (refused(401), "asks who you are", "accept the terms on https://huggingface.co/facebook/sam3, log in with"),
        (
            refused(401, errors.HfHubHTTPError, "Invalid credentials"),
            "asks who you are",
            "`hf auth login` or set HF_T",
        ),
        (refused(403), "not open to this account", "accept the terms on https://huggingface.co/facebook/sam3"),
        (refused(403, text="Your request is awaiting a review"), "is not granted yet", "wait until it is"),
        (refused(404, errors.RepositoryNotFoundError, "404"), "there is no sam3.pt in facebook/sam3", "log in with"),
        (refused(404, errors.RemoteEntryNotFoundError, "404"), "there is no sam3.pt in facebook/sam3", "log in with"),
        (errors.LocalEntryNotFoundError("not in the cache"), "cannot be reached", "go online"),
        (errors.OfflineModeIsEnabled("offline"), "cannot be reached", "HF_HUB_OFFLINE"),
        (ConnectionResetError("reset by peer"), "cannot be reached", "go online"),
        (
            refused(503, errors.HfHubHTTPError, "503 Service Unavailable\nlater"),
            "503 Service Unavailable",
            "try again",
        ),
        (httpx.ReadTimeout("the read operation timed out"), "ReadTimeout: the read operation timed out", "try again"),
        (OSError(28, "No space left on device"), "No space left on device", "try again"),
    ],
)
def test_a_refusal_says_what_to_do(error, why, remedy):
    def fetch(**_):
        raise error

    with pytest.raises(WeightsError, match="the weights of SAM3 could not be fetched: ") as caught:
        load(None, CPU, fetch=fetch)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    assert remedy in caught.value.hint
    assert "put sam3.pt of https://huggingface.co/facebook/sam3 anywhere and set GEOSEG_SAM3_CHECKPOINT=FILE" in (
        caught.value.hint
    )
    assert caught.value.__cause__ is error


def test_the_hubs_client_is_asked_by_default(monkeypatch, tmp_path):
    # The test's own cache is empty and the network is refused: the real client says so in its own words.
    from huggingface_hub import constants  # noqa: PLC0415 - to be changed

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="the hub cannot be reached and the file is not in its cache"):
        hub.download()


def test_without_the_hubs_client_the_file_can_be_had_by_hand(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match="come through huggingface_hub, which is not installed") as caught:
        hub.download()
    assert "set GEOSEG_SAM3_CHECKPOINT=FILE" in caught.value.hint


def test_a_compiler_is_asked_for_where_there_is_none():
    with pytest.raises(ModelError, match="cannot be compiled for mps"):
        load(Path("never read"), torch.device("mps"), compiled=True)


def test_compiling_is_left_to_the_first_use(released):
    # Upstream hands two parts to torch.compile when it builds; nothing is compiled until they are called.
    loaded = small(released, compiled=True)
    assert "forward" in vars(loaded._model.backbone.vision_backbone.trunk)
    assert "forward" in vars(loaded._model.segmentation_head.pixel_decoder)
