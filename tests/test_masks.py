"""Masks of a route, kept tight: the same as the dense ones, and small where they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoseg_agent.instances import instances_of
from geoseg_agent.trace.codec import decode_masks, encode_masks
from geoseg_agent.trace.rle import encode_mask, encode_part
from geoseg_tools import Box, Masks, Part, ToolError, tight, whole

STACKS = st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 9)).flatmap(lambda s: arrays(np.bool_, s))


@given(STACKS)
def test_tight_masks_are_the_dense_ones(stack):
    masks = Masks.of(stack)

    assert np.array_equal(masks.masks, stack)
    assert np.array_equal(masks.union(), stack.any(axis=0))
    assert all(pixels[0].any() or not pixels.any() for _, pixels in masks.parts)


@given(STACKS)
def test_run_lengths_of_a_tight_mask_are_those_of_the_dense_one(stack):
    for mask in stack:
        assert encode_part(tight(mask), mask.shape) == encode_mask(mask)


@given(STACKS)
def test_masks_come_back_from_a_trace(stack):
    back = decode_masks(encode_masks(Masks.of(stack, None, ("a note",))))
    assert np.array_equal(back.masks, stack)
    assert back.notes == ("a note",)


def test_a_thousand_small_masks_on_a_large_crop_stay_small():
    parts = tuple(Part(Box(7 * i, 8 * i, 7 * i + 5, 8 * i + 5), np.ones((5, 5), dtype=bool)) for i in range(1000))
    masks = Masks((8000, 8000), parts, np.linspace(0, 1, 1000))

    assert sum(pixels.nbytes for _, pixels in masks.parts) == 25_000
    assert masks.union().sum() == 25_000
    record = encode_masks(masks)
    assert record.areas == [25] * 1000
    found = instances_of(masks.union(), masks, whole(masks.size), None)
    assert [tuple(one.box) for one in found] == [tuple(box) for box, _ in parts]


@pytest.mark.parametrize(
    ("parts", "scores"),
    [
        ((Part(Box(0, 0, 3, 2), np.ones((3, 2), dtype=bool)),), None),
        ((Part(Box(0, 0, 2, 2), np.ones((2, 2), dtype=np.uint8)),), None),
        ((Part(Box(8, 0, 11, 2), np.ones((2, 3), dtype=bool)),), None),
        ((), np.array([0.5])),
        ((Part(Box(0, 0, 2, 2), np.ones((2, 2), dtype=bool)),), np.array([np.nan])),
    ],
)
def test_malformed_masks_are_refused(parts, scores):
    with pytest.raises(ToolError):
        Masks((10, 10), parts, scores)


def test_a_stack_of_another_kind_is_refused():
    for stack in (np.zeros((2, 2), dtype=bool), np.zeros((1, 2, 2), dtype=np.uint8)):
        with pytest.raises(ToolError, match="bool"):
            Masks.of(stack)


@given(STACKS)
def test_instances_of_tight_masks_are_those_of_the_result(stack):
    if len(stack) < 2:
        return
    result = stack[0] | stack[1]
    found = instances_of(result, Masks.of(stack), whole(result.shape), 0.5)

    expected = [mask & result for mask in stack if (mask & result).any()]
    assert len(found) == len(expected)
    assert all(np.array_equal(one.mask, mask) for one, mask in zip(found, expected, strict=True))
