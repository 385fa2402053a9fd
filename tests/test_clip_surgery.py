"""Feature surgery and the similarity map, against the formulas written out."""

from importlib.util import find_spec

import pytest

if not all(map(find_spec, ("torch", "torchvision", "open_clip"))):
    pytest.skip("torch, torchvision and open_clip are not all installed", allow_module_level=True)

import numpy as np
import tiny_clip  # noqa: F401 - makes torchvision importable
import torch

from geoseg_tools.clip_surgery import compare_labels, compare_phrases, map_similarity, normalise


def unit(*shape, seed=0):
    return normalise(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


def test_normalised_features_are_float32_of_length_one():
    features = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)

    found = normalise(features)

    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.norm(dim=-1), np.ones((2, 5)), rtol=0, atol=1e-6)
    assert not normalise(torch.zeros(1, 3)).any()


def test_labels_are_measured_against_their_mean():
    features, texts = unit(2, 6, 8), unit(4, 8, seed=1)
    f, t = features.double().numpy(), texts.double().numpy()
    expected = np.zeros((2, 6, 4))
    for picture in range(2):
        cosines = [np.exp(2 * (f[picture, 0] @ text)) for text in t]
        weights = [4 * c / sum(cosines) for c in cosines]
        for token in range(6):
            # As published: products of features, less their mean over the texts, summed over the channels.
            products = np.array([f[picture, token] * text * w for text, w in zip(t, weights, strict=True)])
            expected[picture, token] = (products - products.mean(axis=0)).sum(axis=1)

    found = compare_labels(features, texts)

    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_one_label_alone_says_nothing():
    assert not compare_labels(unit(1, 5, 8), unit(1, 8, seed=1)).any()


def test_phrases_do_not_influence_each_other():
    features, texts, redundant = unit(2, 5, 8), unit(3, 8, seed=1), unit(1, 8, seed=2)

    found = compare_phrases(features, texts, redundant)

    assert found.shape == (2, 5, 3)
    for column in range(3):
        alone = compare_phrases(features, texts[column : column + 1], redundant[0])
        np.testing.assert_allclose(found[:, :, column], alone[:, :, 0], rtol=0, atol=1e-6)
        by_hand = features.double() @ (texts[column].double() - redundant[0].double())
        np.testing.assert_allclose(found[:, :, column], by_hand, rtol=0, atol=1e-6)


def test_similarities_of_half_features_are_float32():
    features = unit(1, 5, 8).half()

    assert compare_phrases(features, unit(2, 8).half(), unit(1, 8).half()).dtype == torch.float32
    assert compare_labels(features, unit(2, 8).half()).dtype == torch.float32


def test_maps_of_a_batch_are_scaled_one_by_one_and_the_class_token_does_not_count():
    similarity = torch.rand(2, 7, 3, generator=torch.Generator().manual_seed(3))
    similarity[:, 0] = 100
    similarity[1] *= 50

    found = map_similarity(similarity, (2, 3), (2, 3))

    for picture in range(2):
        for text in range(3):
            s = similarity[picture, 1:, text].numpy()
            expected = ((s - s.min()) / (s.max() - s.min())).reshape(2, 3)
            np.testing.assert_allclose(found[picture, :, :, text], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(4, 4), (17, 5), (1, 1)])
def test_a_constant_map_is_zero_beside_one_that_is_not(size):
    similarity = torch.full((1, 17, 2), 0.25)
    similarity[0, 3, 1] = 0.5

    found = map_similarity(similarity, (4, 4), size)

    assert found.shape == (1, *size, 2)
    assert not found[..., 0].any()
    assert torch.isfinite(found).all()
    assert size == (1, 1) or found[..., 1].any()
