"""The matcher as the agent uses it: crops of every size, what is kept, and what goes wrong."""

from importlib.util import find_spec

import pytest

if not all(map(find_spec, ("torch", "torchvision", "open_clip"))):
    pytest.skip("torch, torchvision and open_clip are not all installed", allow_module_level=True)

import inspect

import numpy as np
import PIL.Image
import tiny_clip
import torch
from tiny_clip import SMALL, Words, clip, crop_of, noise, open_clip, random_model

from geoseg_tools import Box, Crop, Matcher, MemoryExhausted, ModelError, NoPixelsError, Scene, ToolError, topk_nms
from geoseg_tools.clip_surgery import (
    AERIAL,
    IMAGENET,
    ClipSurgery,
    LongPhraseWarning,
    Texts,
    compare_phrases,
    encode,
    normalise,
    prepare,
)

CPU = torch.device("cpu")


def broken(where):
    """A matcher with a NaN in its weights."""
    model = random_model(SMALL)
    with torch.no_grad():
        where(model).reshape(-1)[0] = torch.nan
    return ClipSurgery(model, Words(512), side=64, device=CPU, name="frail")


def test_it_is_a_matcher():
    assert inspect.signature(ClipSurgery.similarity).parameters.keys() == (
        inspect.signature(Matcher.similarity).parameters.keys()
    )
    assert clip(4).weights == {"clip": f"{4:064x}"}


def test_the_map_is_what_the_stages_give():
    matcher, pixels = clip(2), noise((90, 120))
    model = random_model(SMALL, seed=2)
    texts = Texts(model, Words(512), CPU)
    features = normalise(encode(model.visual, prepare(pixels, (64, 64))).tokens)
    text, redundant = texts.ensemble("blue roof", IMAGENET), texts.redundant(IMAGENET)
    expected = compare_phrases(features, text[None], redundant)[0, 1:, 0].reshape(8, 8)

    found = matcher.similarity(crop_of(pixels), "blue roof")

    assert found.dtype == np.float32
    assert matcher.grid == found.shape == (8, 8)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (16, 16), (300, 3), (64, 64)])
def test_a_crop_of_any_size_gives_a_map_of_the_same_grid(size):
    found = clip().similarity(crop_of(noise(size)), "roof")

    assert found.shape == (8, 8)
    assert np.isfinite(found).all()


def test_a_crop_of_8000_pixels_is_one_too():
    pixels = np.broadcast_to(np.zeros((1, 1, 3), dtype=np.uint8), (8000, 8000, 3))

    assert np.isfinite(clip().similarity(crop_of(pixels, digest="zero"), "roof")).all()


def test_a_roi_inside_a_scene_is_what_is_looked_at():
    pixels, roi = noise((200, 300)), Box(31, 17, 170, 111)

    inside = clip().similarity(crop_of(pixels, roi), "roof")

    assert np.array_equal(inside, clip().similarity(crop_of(pixels[17:111, 31:170].copy()), "roof"))


@pytest.mark.parametrize("colour", [0, 128, 255])
def test_a_picture_of_one_colour_gives_a_finite_map(colour):
    found = clip().similarity(crop_of(np.full((30, 40, 3), colour, dtype=np.uint8)), "roof")

    assert np.isfinite(found).all()


def test_maps_differ_by_phrase_by_picture_by_templates_and_by_model():
    first, second = crop_of(noise((60, 60), 1)), crop_of(noise((60, 60), 2))
    maps = [
        clip(0).similarity(first, "roof"),
        clip(0).similarity(first, "storage tank"),
        clip(0).similarity(second, "roof"),
        clip(0, templates="aerial").similarity(first, "roof"),
        clip(1).similarity(first, "roof"),
    ]
    for number, one in enumerate(maps):
        assert np.ptp(one) > 1e-3
        assert len(topk_nms(one, (60, 60))) >= 1
        assert not any(np.allclose(one, other, rtol=0, atol=1e-5) for other in maps[number + 1 :])


def test_the_same_question_gives_the_same_map_whatever_was_asked_before():
    fresh = clip().similarity(crop_of(noise((60, 60), 1)), "roof")
    used = clip()
    for seed in range(6):
        used.similarity(crop_of(noise((40 + seed, 60), seed)), f"thing {seed}")

    assert np.array_equal(used.similarity(crop_of(noise((60, 60), 1)), "roof"), fresh)


def test_a_phrase_that_names_nothing_is_like_nothing():
    assert not clip().similarity(crop_of(noise((60, 60))), "").any()


def test_the_features_of_the_last_few_crops_are_kept():
    matcher, pixels = clip(), noise((60, 60))
    seen = crop_of(pixels, Box(0, 0, 50, 50), digest="scene")
    first = matcher.similarity(seen, "roof")
    without = Crop(Scene((60, 60), "scene"), Box(0, 0, 50, 50), Box(10, 10, 20, 20))

    assert np.array_equal(matcher.similarity(without, "roof"), first)  # there are no pixels to encode
    assert matcher.similarity(without, "tank").shape == (8, 8)
    with pytest.raises(NoPixelsError):
        matcher.similarity(Crop(without.scene, Box(0, 0, 50, 51), Box(0, 0, 1, 1)), "roof")
    with pytest.raises(NoPixelsError):
        matcher.similarity(Crop(Scene((60, 60), "other"), without.roi, without.box), "roof")
    for seed in range(4):
        matcher.similarity(crop_of(noise((20, 20), seed)), "roof")
    with pytest.raises(NoPixelsError):
        matcher.similarity(without, "roof")


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (lambda model: model.visual.conv1.weight, "image encoder of frail gave NaN"),
        (lambda model: model.visual.proj, "image encoder of frail gave NaN"),
        (lambda model: model.text_projection, "text encoder gave NaN"),
    ],
    ids=["patches", "projection", "text"],
)
def test_weights_with_nan_are_named_every_time(where, said):
    matcher, crop = broken(where), crop_of(noise((30, 30)))
    for _ in range(2):
        with pytest.raises(ToolError, match=said):
            matcher.similarity(crop, "roof")


def test_a_long_phrase_warns_and_still_gives_a_map():
    with pytest.warns(LongPhraseWarning, match="reads 77"):
        found = clip().similarity(crop_of(noise((30, 30))), "roof " * 100)
    assert np.isfinite(found).all()


def test_running_out_of_memory_is_told_as_such():
    class Greedy(Words):
        def __call__(self, texts, context_length):
            raise MemoryError("no room for the prompts")

    matcher = ClipSurgery(random_model(SMALL), Greedy(512), side=64, device=CPU, name="greedy")
    with pytest.raises(MemoryExhausted, match="cpu ran out of memory while matching a phrase by greedy"):
        matcher.similarity(crop_of(noise((30, 30))), "roof")


def test_the_precision_that_another_model_left_switched_on_does_not_matter():
    crop = crop_of(noise((60, 60)))
    expected = clip().similarity(crop, "roof")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(clip().similarity(crop, "roof"), expected)


def test_half_weights_give_float32_maps_near_those_of_full_ones():
    crop = crop_of(noise((60, 60)))
    expected = clip(2).similarity(crop, "roof")
    for dtype, share in ((torch.float16, 0.03), (torch.bfloat16, 0.2)):
        half = random_model(SMALL, seed=2, cast_dtype=dtype)
        open_clip.convert_weights_to_lp(half, dtype=dtype)
        matcher = ClipSurgery(half, Words(512), side=64, device=CPU)

        found = matcher.similarity(crop, "roof")

        assert found.dtype == np.float32
        assert np.abs(found - expected).max() < share * np.ptp(expected)
        assert matcher.self_test(noise((60, 60))) < 0.5


def test_the_self_test_tells_a_model_that_the_surgery_knows_from_one_it_does_not():
    assert clip().self_test(noise((77, 33))) < 1e-4
    model = random_model(SMALL)
    model.visual.ln_pre = torch.nn.Sequential(model.visual.ln_pre, torch.nn.Tanh())  # still the same on both ways
    matcher = ClipSurgery(model, Words(512), side=64, device=CPU)
    assert matcher.self_test(noise((77, 33))) < 1e-4
    model.visual.patch_dropout = torch.nn.Tanh()  # the surgery leaves this out
    assert matcher.self_test(noise((77, 33))) > 1e-2


def test_the_self_test_works_at_the_native_size_whatever_the_input_side():
    assert clip(side=96).self_test(noise((20, 20))) < 1e-4
    awkward = ClipSurgery(random_model(tiny_clip.AWKWARD), Words(64), side=60, device=CPU)
    assert awkward.self_test(noise((20, 20))) < 1e-4
    with pytest.raises(ToolError, match="NaN"):
        broken(lambda model: model.visual.proj).self_test(noise((20, 20)))


@pytest.mark.parametrize("side", [0, 4, 63, 65])
def test_a_side_that_is_no_multiple_of_the_patch_is_refused(side):
    with pytest.raises(ModelError, match="patches"):
        clip(side=side)


def test_a_model_of_another_kind_is_refused():
    with pytest.raises(ModelError, match="Linear"):
        ClipSurgery(torch.nn.Linear(2, 2), Words(512), side=64, device=CPU)
    model = random_model({**SMALL, "vision_cfg": {**SMALL["vision_cfg"], "layers": 5}})
    with pytest.raises(ModelError, match="5 layers"):
        ClipSurgery(model, Words(512), side=64, device=CPU)


def test_a_model_in_training_is_put_into_evaluation():
    model = random_model({**SMALL, "vision_cfg": {**SMALL["vision_cfg"], "patch_dropout": 0.5}}).train()

    matcher = ClipSurgery(model, Words(512), side=64, device=CPU)

    assert not model.training
    assert matcher.self_test(noise((20, 20))) < 1e-4


def test_the_templates_are_those_asked_for():
    assert clip().templates == IMAGENET
    assert clip(templates="aerial").templates == AERIAL
    assert clip(templates=("a {}.",)).templates == ("a {}.",)


def test_pictures_are_resized_by_pillow_without_a_crop():
    pixels = noise((50, 90), 4)
    resized = np.asarray(PIL.Image.fromarray(pixels).resize((24, 16), PIL.Image.Resampling.BICUBIC))
    expected = (resized.astype(np.float64) / 255 - (0.1, 0.2, 0.3)) / (0.5, 0.6, 0.7)

    found = prepare(pixels, (16, 24), (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))

    assert found.shape == (1, 3, 16, 24)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found[0].permute(1, 2, 0), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
    ids=["grey", "alpha", "float", "empty"],
)
def test_pictures_of_another_kind_are_refused(pixels):
    with pytest.raises(ToolError, match="uint8"):
        prepare(pixels, (16, 16))
