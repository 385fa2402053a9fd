"""Run-lengths of large masks are made in strips, and are those of the whole canvas, character for character."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from saved_answers import answer

from geoseg_agent.answer import as_dict
from geoseg_agent.imagery import Image
from geoseg_agent.trace import rle
from geoseg_agent.trace.rle import decode_mask, encode_mask, encode_part, encode_union
from geoseg_tools import Box, Part


@st.composite
def unions(draw):
    """A frame, masks in boxes of it, and the canvas with all of them."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 12))
    parts = []
    canvas = np.zeros((height, width), bool)
    for _ in range(draw(st.integers(0, 4))):
        x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        box = Box(x1, y1, draw(st.integers(x1 + 1, width)), draw(st.integers(y1 + 1, height)))
        values = draw(st.lists(st.booleans(), min_size=box.area, max_size=box.area))
        parts.append(Part(box, np.array(values).reshape(box.size)))
        canvas[box.slices] |= parts[-1].pixels
    return parts, canvas


@settings(deadline=None)
@given(unions(), st.integers(1, 40))
def test_a_union_has_the_run_lengths_of_the_canvas(drawn, strip_pixels):
    parts, canvas = drawn
    assert encode_union(parts, canvas.shape, strip_pixels) == encode_mask(canvas)


@pytest.mark.parametrize("fill", [np.zeros, np.ones])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (1, 30), (30, 1)])
def test_empty_and_full_masks(fill, size):
    mask = fill(size, bool)
    assert encode_union([Part(Box(0, 0, size[1], size[0]), mask)], size, 8) == encode_mask(mask)
    assert encode_union([], size, 8) == encode_mask(np.zeros(size, bool))


def test_a_large_mask_is_encoded_in_strips_and_decoded_as_it_was():
    mask = np.zeros((4100, 4100), bool)
    assert mask.size > rle.STRIP_PIXELS
    mask[100:4000, 7:4095] = True
    mask[200:300, 50:80] = False
    mask[:, -1] = True
    assert np.array_equal(decode_mask(encode_mask(mask)), mask)


def test_a_large_part_is_encoded_without_another_copy_of_it():
    part = Part(Box(10, 20, 6010, 6020), np.ones((6000, 6000), bool))
    part.pixels[100:200, 300:400] = False
    tracemalloc.start()
    try:
        encoded = encode_part(part, (6100, 6200))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * rle.STRIP_PIXELS
    canvas = np.zeros((6100, 6200), bool)
    canvas[part.box.slices] = part.pixels
    assert encoded == encode_mask(canvas)


@pytest.mark.parametrize("boxes", [[], [Box(2, 2, 60, 58), Box(55, 2, 80, 58)]])
def test_json_has_the_run_lengths_of_the_answers_mask(boxes):
    given_ = answer(boxes=boxes)
    told = as_dict(given_, {}, 0.0)
    assert "mask" not in vars(given_)
    assert told["mask"] == encode_mask(given_.mask).model_dump()


def test_json_of_an_image_too_large_for_run_lengths_has_the_instances_only():
    small = answer(boxes=[Box(2, 2, 60, 58)])
    told = as_dict(replace(small, image=Image.replayed((50_000, 50_000), "0" * 64)), {}, 0.0, ["said"])
    assert told["mask"] is None
    assert told["targets"][0]["instances"][0]["mask"]["counts"]
    assert told["notes"] == ["said"]
