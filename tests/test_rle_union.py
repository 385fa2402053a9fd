"""Run-lengths of large masks are made in strips, and are those of the whole canvas, character for character."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg_agent.trace import rle
from geoseg_agent.trace.rle import decode_mask, encode_mask, encode_union
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
