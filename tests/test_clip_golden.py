"""CLIP Surgery against the golden vectors, stage by stage through the public functions."""

from importlib.util import find_spec

import pytest

if not all(map(find_spec, ("torch", "torchvision", "open_clip"))):
    pytest.skip("torch, torchvision and open_clip are not all installed", allow_module_level=True)

import hashlib
import random

import numpy as np
import tiny_clip
import torch

from geoseg_tools import topk_nms
from geoseg_tools.clip_surgery import (
    IMAGENET,
    Texts,
    compare_labels,
    compare_phrases,
    encode,
    fill,
    follow,
    map_similarity,
    normalise,
    positional_table,
    prepare,
    project,
)

pytestmark = pytest.mark.skipif(not tiny_clip.GOLDEN.is_dir(), reason="the golden vectors are not here")

CASES = {"48x48": (48, 48), "64x64": (64, 64), "96x96": (96, 96), "128x128": (128, 128), "96x128": (96, 128)}
SQUARE = [case for case in CASES if case != "96x128"]


@pytest.fixture(scope="module")
def golden():
    with np.load(tiny_clip.GOLDEN / "forward.npz") as arrays:
        return {name: arrays[name] for name in arrays}


@pytest.fixture(scope="module")
def meta():
    return tiny_clip.golden_meta()


@pytest.fixture(scope="module")
def model():
    return tiny_clip.golden_model()


@pytest.fixture(scope="module")
def texts(model):
    return Texts(model, tiny_clip.open_clip.SimpleTokenizer(), torch.device("cpu"))


def close(found, expected, atol):
    found = np.asarray(found)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def images(golden, case):
    return torch.from_numpy(golden[f"{case}/input"])


def test_the_templates_are_the_published_ones(meta):
    assert len(IMAGENET) == meta["templates_count"]
    assert hashlib.sha256("\n".join(IMAGENET).encode()).hexdigest() == meta["templates_sha256"]


@pytest.mark.parametrize("case", CASES)
def test_pictures_are_prepared_alike(golden, case):
    close(prepare(golden["image_u8"], CASES[case]), golden[f"{case}/input"], 1e-6)


def test_tokens_are_the_same(golden, meta, texts):
    for name, text in [*enumerate(meta["texts"]), ("empty", "")]:
        assert np.array_equal(texts.tokens(fill(IMAGENET, text)), golden[f"tokens/{name}"]), text
    assert np.array_equal(texts.tokens(meta["extra_texts"]), golden["tokens/extra"])


def test_texts_are_encoded_alike(golden, meta, texts):
    close(texts.encode(fill(IMAGENET, meta["texts"][1])), golden["text_per_template_raw"], 2e-5)
    close(texts.encode(meta["extra_texts"]), golden["text_extra_raw"], 2e-5)


def test_ensembles_are_the_same(golden, meta, texts):
    custom = tuple(meta["custom_templates"])
    close(torch.stack([texts.ensemble(t, IMAGENET) for t in meta["texts"]]), golden["text_ensemble"], 2e-6)
    close(torch.stack([texts.ensemble(t, custom) for t in meta["texts"]]), golden["text_custom_templates"], 2e-6)
    close(texts.redundant(IMAGENET)[None], golden["text_redundant"], 2e-6)


@pytest.mark.parametrize("case", CASES)
def test_the_positional_table_is_resized_alike_and_stays(golden, model, case):
    stored = model.visual.positional_embedding.detach().clone()
    grid = tuple(side // 16 for side in CASES[case])

    close(positional_table(model.visual, grid), golden[f"{case}/pos_table"], 2e-6)

    assert torch.equal(model.visual.positional_embedding, stored)


def test_both_paths_are_the_same_behind_each_layer(golden, model):
    passed = follow(model.visual, images(golden, "64x64"))

    close(torch.cat([paths.new for paths in passed]), golden["64x64/block_vv"], 5e-5)
    close(torch.cat([paths.original for paths in passed]), golden["64x64/block_ori"], 5e-5)


@pytest.mark.parametrize("order", range(6))
def test_features_are_the_same_in_any_order_of_sizes_on_one_model(golden, model, order):
    names = list(CASES) * 2
    random.Random(order).shuffle(names)
    stored = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for case in names:
        found = encode(model.visual, images(golden, case))
        assert found.grid == tuple(side // 16 for side in CASES[case])
        close(found.tokens, golden[f"{case}/features_raw"], 5e-5)
    after = model.state_dict()
    assert after.keys() == stored.keys()
    assert all(torch.equal(after[name], stored[name]) for name in stored)


def test_a_batch_gives_what_its_pictures_give(golden, model):
    one = images(golden, "64x64")
    close(encode(model.visual, torch.cat([one, one.flip(3)])).tokens, golden["batch2_64x64/features_raw"], 5e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_original_path_is_the_plain_encoder(golden, model, case):
    close(
        project(model.visual, follow(model.visual, images(golden, case))[-1].original),
        golden[f"{case}/plain_raw"],
        5e-5,
    )


def test_the_class_token_is_the_plain_image_feature(golden, model):
    with torch.inference_mode():
        plain = model.encode_image(images(golden, "64x64"))
    close(plain, golden["64x64/features_raw"][:, 0], 5e-5)
    close(encode(model.visual, images(golden, "64x64")).tokens[:, 0], plain.numpy(), 5e-5)


@pytest.mark.parametrize("case", CASES)
def test_similarities_are_the_same(golden, model, case):
    features = normalise(encode(model.visual, images(golden, case)).tokens)
    names = torch.from_numpy(golden["text_ensemble"])

    close(compare_labels(features, names), golden[f"{case}/sim_multi"], 5e-6)
    close(
        compare_phrases(features, names, torch.from_numpy(golden["text_redundant"])),
        golden[f"{case}/sim_single"],
        5e-6,
    )


@pytest.mark.parametrize("case", SQUARE)
@pytest.mark.parametrize("kind", ["multi", "single"])
def test_maps_are_the_same(golden, case, kind):
    similarity = torch.from_numpy(golden[f"{case}/sim_{kind}"])
    grid = tuple(side // 16 for side in CASES[case])

    close(map_similarity(similarity, grid, (45, 60)), golden[f"{case}/map_{kind}_45x60"], 5e-5)


@pytest.mark.parametrize(("case", "size"), [("64x64", (90, 120)), ("128x128", (5, 3))])
def test_maps_of_other_sizes_are_the_same(golden, case, size):
    similarity = torch.from_numpy(golden[f"{case}/sim_single"])
    grid = tuple(side // 16 for side in CASES[case])

    close(map_similarity(similarity, grid, size), golden[f"{case}/map_single_{size[0]}x{size[1]}"], 5e-5)


@pytest.mark.parametrize("case", SQUARE)
def test_the_matcher_gives_the_similarities_of_single_texts(golden, meta, case):
    side = CASES[case][0]
    matcher = tiny_clip.golden_clip(side=side)
    crop = tiny_clip.crop_of(golden["image_u8"])
    for number, text in enumerate(meta["texts"]):
        expected = golden[f"{case}/sim_single"][0, 1:, number].reshape(side // 16, side // 16)
        close(matcher.similarity(crop, text), expected, 5e-6)


def test_a_phrase_becomes_keypoints(golden):
    crop = tiny_clip.crop_of(golden["image_u8"])

    found = topk_nms(tiny_clip.golden_clip(side=128).similarity(crop, "storage tank"), crop.size)

    assert 1 <= len(found) <= 5
    assert np.isfinite(found.raw).all()
    assert ((found.points >= 0) & (found.points < (120, 90))).all()
