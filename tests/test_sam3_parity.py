"""What comes out is what the official package would say, whatever was asked before."""

import asyncio
import gc
import random
import weakref
from functools import cache

import numpy as np
import pytest
import tiny_sam3

if tiny_sam3.MISSING:
    pytest.skip(f"needs {', '.join(tiny_sam3.MISSING)}", allow_module_level=True)

import torch
from PIL import Image
from sam3.model.sam3_image_processor import Sam3Processor

from geoseg_agent.models import toolbox_over
from geoseg_agent.settings import Settings
from geoseg_agent.toolbox import Makers
from geoseg_tools import Box, Crop, MemoryExhausted, Scene, tight, whole
from geoseg_tools.sam3 import Sam3, upstream
from geoseg_tools.sam3.holes import filled

CPU = torch.device("cpu")
SIZES = [(60, 90), (112, 112), (1, 1), (16, 16), (1, 300), (200, 37), (333, 290)]
PHRASES = ["water", "red roofs", "the largest building left of the road"]


@cache
def model():
    return tiny_sam3.build(0)


@cache
def segmenter():
    return Sam3(model(), device=CPU, resolution=tiny_sam3.RESOLUTION)


def crop(size, seed=0):
    """Coloured blocks, cut out of a scene that is larger, so that the pixels are a view."""
    draw = np.random.default_rng([seed, *size])
    blocks = draw.integers(0, 256, (size[0] // 8 + 2, size[1] // 8 + 2, 3), dtype=np.uint8)
    pixels = np.kron(blocks, np.ones((8, 8, 1), dtype=np.uint8))
    scene = Scene(pixels.shape[:2], f"scene {seed}", pixels)
    roi = Box(3, 2, 3 + size[1], 2 + size[0])
    return Crop(scene, roi, roi)


def points(size, seed=0, n=3):
    draw = np.random.default_rng([seed, *size])
    where = np.stack([draw.integers(0, size[1], n), draw.integers(0, size[0], n)], axis=1).astype(np.int64)
    where.flags.writeable = False  # as those of `Keypoints`
    return where, np.arange(n) % 2 == 0


def official_state(of):
    return _official_state(of.pixels.tobytes(), of.size)


@cache
def _official_state(pixels, size):
    # Changed by every phrase, which the next one replaces; that is the processor's own way of working.
    return processor().set_image(Image.frombytes("RGB", size[::-1], pixels))


@cache
def processor():
    return Sam3Processor(model(), resolution=tiny_sam3.RESOLUTION, device="cpu", confidence_threshold=0.5)


def official_text(of, phrase):
    with upstream.redirected(CPU):
        state = processor().set_text_prompt(phrase, official_state(of))
    order = state["scores"].argsort(descending=True, stable=True)
    return state["masks"][order, 0].numpy(), state["scores"][order].numpy()


def official_points(of, where, positive):
    with torch.inference_mode():
        masks, iou, _ = model().predict_inst(
            official_state(of), point_coords=where.copy(), point_labels=positive.astype(int), multimask_output=True
        )
    return masks[iou.argmax()].astype(bool), iou.max()


def same(one, other):
    return (
        one.size == other.size
        and one.notes == other.notes
        and np.array_equal(one.scores, other.scores)
        and [part.box for part in one.parts] == [part.box for part in other.parts]
        and all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one.parts, other.parts, strict=True))
    )


@pytest.mark.parametrize("size", SIZES)
def test_a_phrase_is_answered_as_the_official_processor_answers_it(size):
    encoded = segmenter().encode(crop(size))
    for phrase in PHRASES:
        ours = segmenter().from_text(encoded, phrase)
        masks, scores = official_text(crop(size), phrase)
        assert len(scores) > 0
        assert np.array_equal(ours.masks, masks)
        assert np.abs(ours.scores - scores).max() < 1e-6
        assert ours.scores.dtype == np.float64
        assert ours.notes == ()
        assert all(
            np.array_equal(part.pixels, tight(mask).pixels) for part, mask in zip(ours.parts, masks, strict=True)
        )


def test_the_official_answers_are_worth_comparing():
    share = np.array([mask.mean() for phrase in PHRASES for mask in official_text(crop((112, 112)), phrase)[0]])
    assert ((share > 0.02) & (share < 0.98)).sum() > 10
    assert not np.array_equal(official_text(crop((112, 112)), "water")[0], official_text(crop((112, 112)), "a")[0])
    assert len(official_text(crop((112, 112)), "water")[0]) < tiny_sam3.QUERIES


@pytest.mark.parametrize("size", SIZES)
def test_points_are_answered_as_the_official_predictor_answers_them(size):
    pytest.importorskip("skimage", reason="without scikit-image the official predictor leaves the holes on the CPU")
    encoded = segmenter().encode(crop(size))
    for seed, n in ((0, 1), (1, 3), (2, 5)):
        where, positive = points(size, seed, n)
        ours = segmenter().from_points(encoded, where, positive)
        mask, iou = official_points(crop(size), where, positive)
        assert len(ours) == 1
        assert np.array_equal(ours.masks[0], mask)
        assert abs(ours.scores[0] - iou) < 1e-6


def test_points_are_answered_from_the_official_coarse_mask(monkeypatch):
    # The same without scikit-image: upstream without filling, and the filling of `holes`, which has its own tests.
    monkeypatch.setattr(model().inst_interactive_predictor._transforms, "max_hole_area", 0.0)
    for size in SIZES:
        where, positive = points(size, 4)
        ours = segmenter().from_points(segmenter().encode(crop(size)), where, positive)
        with torch.inference_mode():
            _, iou, coarse = model().predict_inst(
                official_state(crop(size)),
                point_coords=where.copy(),
                point_labels=positive.astype(int),
                multimask_output=True,
            )
        low = torch.from_numpy(filled(coarse[iou.argmax()]))[None, None]
        high = torch.nn.functional.interpolate(low, size, mode="bilinear", align_corners=False)
        assert np.array_equal(ours.masks[0], high[0, 0].numpy() > 0)
        assert abs(ours.scores[0] - iou.max()) < 1e-6


def test_the_order_of_prompts_does_not_matter():
    crops = [crop(size, seed) for seed, size in enumerate([(60, 90), (112, 112), (33, 140)])]
    encoded = [segmenter().encode(one) for one in crops]
    before = [[t.clone() for t in tensors(one)] for one in encoded]
    asked = [(i, phrase) for i in range(3) for phrase in PHRASES[:2]]
    pointed = [(i, seed) for i in range(3) for seed in range(4)]
    # Each expected answer is from an instance and an encoding that nobody else has used.
    expected = {}
    for i, what in asked + pointed:
        fresh = Sam3(model(), device=CPU, resolution=tiny_sam3.RESOLUTION)
        expected[i, what] = answer(fresh, fresh.encode(crops[i]), crops[i].size, what)
    assert len({one.masks.tobytes() for one in expected.values()}) > 15
    draw = random.Random(5)
    for i, what in draw.choices(asked + pointed, k=100):
        assert same(answer(segmenter(), encoded[i], crops[i].size, what), expected[i, what])
        if draw.random() < 0.1:
            segmenter().encode(crops[draw.randrange(3)])
    for one, tensors_before in zip(encoded, before, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(tensors(one), tensors_before, strict=True))
    # Nothing was left on the predictor, which is shared.
    assert model().inst_interactive_predictor._features is None
    assert not model().inst_interactive_predictor._is_image_set


def answer(by, encoded, size, what):
    return by.from_text(encoded, what) if isinstance(what, str) else by.from_points(encoded, *points(size, what))


def tensors(encoded):
    return [*encoded.pyramid, *encoded.positions, encoded.embedding, *encoded.details]


def test_a_crop_is_seen_once():
    passes = []
    hook = model().backbone.vision_backbone.trunk.register_forward_hook(lambda *_: passes.append(1))
    try:
        encoded = segmenter().encode(crop((60, 90)))
        assert len(passes) == 1
        for seed, phrase in enumerate(PHRASES):
            segmenter().from_text(encoded, phrase)
            segmenter().from_points(encoded, *points((60, 90), seed))
        assert len(passes) == 1
    finally:
        hook.remove()


def test_a_phrase_is_read_once():
    fresh = Sam3(model(), device=CPU, resolution=tiny_sam3.RESOLUTION)
    read = []
    hook = model().backbone.language_backbone.register_forward_hook(lambda *_: read.append(1))
    try:
        encoded = [fresh.encode(crop((20, 30), seed)) for seed in range(2)]
        for one in encoded * 2:
            fresh.from_text(one, "water")
        assert len(read) == 1
    finally:
        hook.remove()


def test_an_encoding_keeps_what_is_read_and_lets_the_scene_go():
    one = crop((60, 90))
    pixels = weakref.ref(one.scene.pixels)
    encoded = segmenter().encode(one)
    del one
    gc.collect()
    assert pixels() is None
    assert encoded.size == (60, 90)
    assert [tuple(t.shape) for t in tensors(encoded)] == [
        (1, 256, 32, 32),
        (1, 256, 16, 16),
        (1, 256, 8, 8),
        (1, 256, 8, 8),
        (1, 256, 8, 8),
        (1, 32, 32, 32),
        (1, 64, 16, 16),
    ]
    with pytest.raises(AttributeError):
        encoded.size = (1, 1)


def test_without_a_positive_point_there_is_no_mask():
    encoded = segmenter().encode(crop((60, 90)))
    for where, positive in ((np.zeros((0, 2), np.int64), np.zeros(0, bool)), (np.array([[5, 5]]), np.array([False]))):
        masks = segmenter().from_points(encoded, where, positive)
        assert (len(masks), masks.size, masks.scores.shape) == (0, (60, 90), (0,))


def test_a_crop_of_eight_thousand_pixels():
    size = (8000, 24)
    encoded = segmenter().encode(crop(size))
    masks, scores = official_text(crop(size), "water")
    ours = segmenter().from_text(encoded, "water")
    assert np.array_equal(ours.masks, masks)
    assert len(scores) > 0
    assert segmenter().from_points(encoded, *points(size)).masks.shape == (1, *size)


def test_a_phrase_that_is_cut_off_says_so():
    encoded = segmenter().encode(crop((20, 30)))
    fits, long = " ".join(["roof"] * 30), " ".join(["roof"] * 41)
    assert segmenter().from_text(encoded, fits).notes == ()
    assert segmenter().from_text(encoded, long).notes == (
        "the phrase is 41 tokens long and SAM3 reads the first 30: the rest did not count",
    )
    # Remembered with the phrase, and true: one more word changes nothing.
    assert segmenter().from_text(encoded, long).notes != ()
    assert np.array_equal(
        segmenter().from_text(encoded, long).masks, segmenter().from_text(encoded, fits + " roof").masks
    )


def test_bfloat16_is_close_and_finite():
    half = Sam3(model(), device=CPU, resolution=tiny_sam3.RESOLUTION, precision="bfloat16")
    encoded = half.encode(crop((60, 90)))
    assert encoded.pyramid[0].dtype == torch.bfloat16
    full = segmenter().encode(crop((60, 90)))
    assert full.pyramid[0].dtype == torch.float32
    one, other = (by.from_points(e, *points((60, 90))) for by, e in ((half, encoded), (segmenter(), full)))
    assert abs(one.scores[0] - other.scores[0]) < 0.02
    assert (one.masks != other.masks).mean() < 0.1
    assert len(half.from_text(encoded, "water")) > 0


def test_float32_stays_float32_where_the_thread_computes_in_bfloat16():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded = segmenter().encode(crop((60, 90)))
        ours = segmenter().from_text(encoded, "water")
    assert same(ours, segmenter().from_text(segmenter().encode(crop((60, 90))), "water"))


def test_out_of_memory_leaves_nothing_behind():
    encoded = segmenter().encode(crop((60, 90)))
    expected = segmenter().from_text(encoded, "water"), segmenter().from_points(encoded, *points((60, 90)))

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    sam = model().inst_interactive_predictor.model
    for module, call, doing in (
        (
            model().backbone.vision_backbone.trunk,
            lambda: segmenter().encode(crop((60, 90))),
            "encoding a crop of 90 x 60",
        ),
        (model().transformer.decoder, lambda: segmenter().from_text(encoded, "water"), "answering a phrase"),
        (sam.sam_mask_decoder, lambda: segmenter().from_points(encoded, *points((60, 90))), "answering points"),
    ):
        hook = module.register_forward_pre_hook(full)
        try:
            with pytest.raises(MemoryExhausted, match=f"ran out of memory while {doing}"):
                call()
        finally:
            hook.remove()
        call()
    again = segmenter().encode(crop((60, 90)))
    assert same(segmenter().from_text(again, "water"), expected[0])
    assert same(segmenter().from_points(encoded, *points((60, 90))), expected[1])


def test_the_whole_scene_as_a_crop():
    pixels = np.random.default_rng(3).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    scene = Scene((50, 70), "scene", pixels)
    one = Crop(scene, whole(scene.size), whole(scene.size))
    ours = segmenter().from_text(segmenter().encode(one), "water")
    assert np.array_equal(ours.masks, official_text(one, "water")[0])


async def test_sixteen_queries_at_once_get_the_official_answers_and_every_crop_is_seen_once():
    pytest.importorskip("skimage", reason="without scikit-image the official predictor leaves the holes on the CPU")
    crops = [crop(size, seed) for seed, size in enumerate([(60, 90), (112, 112), (33, 140), (90, 61)])]
    asked = [(one, PHRASES[i % 3], i) for i, one in enumerate(crops * 4)]
    tools = toolbox_over(Settings(max_encoded=4), [Makers(segmenter, segmenter)])
    passes = []

    async def ask(one, phrase, seed):
        draw = random.Random(seed)
        where, positive = points(one.size, seed)
        async with tools.encode(one) as handle, asyncio.TaskGroup() as both:
            await asyncio.sleep(draw.random() / 50)
            text = both.create_task(tools.from_text(handle, phrase))
            await asyncio.sleep(draw.random() / 50)
            pointed = both.create_task(tools.from_points(handle, where, positive))
        return text.result(), pointed.result()

    hook = model().backbone.vision_backbone.trunk.register_forward_hook(lambda *_: passes.append(1))
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(*one)) for one in asked]
    finally:
        hook.remove()
        await tools.aclose()

    assert len(passes) == len(crops)
    for (one, phrase, seed), task in zip(asked, tasks, strict=True):
        text, pointed = task.result()
        masks, scores = official_text(one, phrase)
        assert np.array_equal(text.masks, masks)
        assert np.abs(text.scores - scores).max() < 1e-6
        mask, iou = official_points(one, *points(one.size, seed))
        assert np.array_equal(pointed.masks[0], mask)
        assert abs(pointed.scores[0] - iou) < 1e-6
