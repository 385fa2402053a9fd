"""Coarse logits become masks of the crop as upstream makes them, in bounded memory."""

import tracemalloc
from importlib.util import find_spec

import numpy as np
import pytest
import tiny_sam3

if tiny_sam3.MISSING:
    pytest.skip(f"needs {', '.join(tiny_sam3.MISSING)}", allow_module_level=True)

import torch
from torch.overrides import TorchFunctionMode

from geoseg_tools.sam3.holes import filled
from geoseg_tools.sam3.upscale import instances, outline, region


def blobs(n, side=32, seed=0):
    """Smooth logits, mostly negative."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.randn((n, 1, 5, 5), generator=draw) * 3 - 2
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")[:, 0]


def probabilities(logits, size):
    """As the official processor."""
    high = torch.nn.functional.interpolate(logits[:, None], size, mode="bilinear", align_corners=False)
    return high[:, 0].sigmoid().numpy()


def falling(n):
    return np.linspace(0.9, 0.5, n)


@pytest.mark.parametrize("at_once", [1, 3, 100])
@pytest.mark.parametrize("size", [(60, 91), (32, 32), (5, 7), (1, 1), (1, 500), (257, 3)])
def test_chunks_change_nothing(at_once, size):
    logits = blobs(7)
    masks = instances(logits.clone(), falling(7), size, chunk_bytes=at_once * 4 * size[0] * size[1])
    assert np.array_equal(masks.masks, probabilities(logits, size) > 0.5)
    assert np.array_equal(masks.scores, falling(7))
    assert masks.notes == ()


def test_single_pixels_anywhere_are_found_wherever_they_land():
    draw = np.random.default_rng(1)
    for _ in range(60):
        side = int(draw.integers(1, 40))
        size = tuple(int(v) for v in draw.integers(1, 90, 2))
        logits = torch.full((4, side, side), -1.0)
        for one in logits:
            for _ in range(int(draw.integers(0, 3))):
                one[tuple(draw.integers(0, side, 2))] = float(draw.choice([0.001, 3.0, 40.0]))
        expected = probabilities(logits, size) > 0.5
        assert np.array_equal(instances(logits.clone(), falling(4), size).masks, expected)
        high = torch.nn.functional.interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0]
        for one, whole in zip(logits, high, strict=True):
            box, pixels = outline(one.clone(), size)
            mask = np.zeros(size, dtype=bool)
            mask[box.slices] = pixels
            assert np.array_equal(mask, whole.numpy() > 0)


def test_no_instances():
    masks = instances(torch.zeros((0, 32, 32)), np.zeros(0), (40, 50))
    assert (len(masks), masks.size, masks.scores.shape, masks.notes) == (0, (40, 50), (0,), ())


def test_the_budget_unites_the_lowest_and_loses_no_pixel():
    logits, size = blobs(12), (90, 80)
    apart = instances(logits.clone(), falling(12), size)
    need = np.cumsum([part.pixels.nbytes for part in apart.parts])
    kept = instances(logits.clone(), falling(12), size, kept_bytes=int(need[4]))
    assert len(kept) == 6
    assert np.array_equal(kept.masks[:5], apart.masks[:5])
    assert np.array_equal(kept.masks[5], apart.masks[5:].any(axis=0))
    assert np.array_equal(kept.union(), apart.union())
    assert kept.scores == pytest.approx([*falling(12)[:5], falling(12)[5:].mean()])
    assert kept.notes == (
        "the 7 instances of the lowest scores were united into one: apart they took too much memory",
    )
    everything = instances(logits.clone(), falling(12), size, kept_bytes=0)
    assert len(everything) == 1
    assert np.array_equal(everything.union(), apart.union())


def test_one_mask_too_many_stays_as_it_is():
    logits = blobs(3)
    apart = instances(logits.clone(), falling(3), (90, 80))
    need = sum(part.pixels.nbytes for part in apart.parts)
    kept = instances(logits.clone(), falling(3), (90, 80), kept_bytes=need - 1)
    assert len(kept) == 3
    assert kept.notes == ()


class Largest(TorchFunctionMode):
    """Notes the largest tensor that anything returns, in bytes."""

    bytes = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.bytes = max(self.bytes, out.numel() * out.element_size())
        return out


def test_a_thousand_instances_on_a_large_crop_fit():
    size, n = (1000, 1000), 1000
    logits = torch.full((n, 32, 32), -5.0)
    for i, one in enumerate(logits):
        y, x = divmod(i, 32)
        one[y : y + 2, x % 31 : x % 31 + 2] = 5.0
    tracemalloc.start()
    try:
        with Largest() as largest:
            masks = instances(logits, falling(n), size, chunk_bytes=16 * 2**20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(masks) == n
    assert all(part.pixels.any() for part in masks.parts)
    # All at once they would take 4 GB as logits and 1 GB as masks.
    assert largest.bytes <= 16 * 2**20
    assert peak < 100 * 2**20


def test_a_region_has_the_mean_probability_inside():
    logits, size = blobs(1)[0], (70, 50)
    expected = probabilities(logits[None], size)[0]
    part, probability = region(logits.clone(), size)
    mask = np.zeros(size, dtype=bool)
    mask[part.box.slices] = part.pixels
    assert np.array_equal(mask, expected > 0.5)
    assert probability == pytest.approx(expected[expected > 0.5].mean(dtype=np.float64))
    left = region(logits.clone(), size, without=np.arange(50)[None, :].repeat(70, axis=0) < 25)
    assert left is None or left.part.box.x1 >= 25
    assert region(logits.clone(), size, without=np.ones(size, dtype=bool)) is None
    assert region(torch.full((8, 8), -1.0), size) is None


def flooded(background):
    """Slow and obvious: each pixel's patch of background, by edges and corners, as its number of pixels."""
    area = np.zeros(background.shape, dtype=int)
    for start in zip(*np.nonzero(background), strict=True):
        if area[start]:
            continue
        patch, edge = {start}, [start]
        while edge:
            y, x = edge.pop()
            for near in [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]:
                inside = 0 <= near[0] < background.shape[0] and 0 <= near[1] < background.shape[1]
                if inside and background[near] and near not in patch:
                    patch.add(near)
                    edge.append(near)
        for place in patch:
            area[place] = len(patch)
    return area


def patterns():
    draw = np.random.default_rng(2)
    for density in (0.0, 0.05, 0.3, 0.5, 0.7, 1.0):
        yield np.where(draw.random((31, 40)) < density, 1.5, -0.5).astype(np.float32)
    yield blobs(1)[0].numpy()
    corner = np.ones((20, 20), dtype=np.float32)
    corner[np.arange(17), np.arange(17)] = 0.0  # a diagonal: one patch by corners, seventeen by edges
    yield corner


@pytest.mark.parametrize("largest", [1, 16, 17, 256])
def test_holes_are_filled_by_size(largest):
    for logits in patterns():
        area = flooded(logits <= 0)
        expected = np.where((area > 0) & (area <= largest), np.float32(10), logits)
        assert np.array_equal(filled(logits, largest), expected)


@pytest.mark.skipif(find_spec("skimage") is None, reason="upstream needs scikit-image for holes on the CPU")
def test_holes_are_filled_as_upstream_fills_them():
    from sam3.model.utils.sam1_utils import SAM2Transforms  # noqa: PLC0415 - what this test is about

    from geoseg_tools.sam3 import upstream  # noqa: PLC0415

    upstream.prepare()
    upstreams = SAM2Transforms(resolution=112, mask_threshold=0.0, max_hole_area=256.0)
    for logits in patterns():
        expected = upstreams.postprocess_masks(torch.from_numpy(logits)[None, None], logits.shape)[0, 0].numpy()
        assert np.array_equal(filled(logits), expected)
