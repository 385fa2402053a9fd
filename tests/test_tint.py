"""Targets are filled with their colours in pictures, however large, without numbers as large as floats."""

import tracemalloc

import numpy as np
from saved_answers import answer

from geoseg_agent.drawing import View, colour_of, tint
from geoseg_agent.imagery import Image

SIZE = (1500, 1600)


def test_a_large_fill_is_the_mix_of_both_colours_and_takes_little_memory():
    (target,) = answer(Image.replayed(SIZE, "0" * 64), np.ones(SIZE, bool)).targets
    canvas = np.random.default_rng(5).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    before = canvas.copy()
    tracemalloc.start()
    try:
        tint(canvas, target, View(1.0, SIZE, 1.0), colour_of(1))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    mixed = (before * 0.64 + np.array(colour_of(1)) * 0.36).astype(np.uint8)
    assert np.array_equal(canvas[20:-20, 20:-20], mixed[20:-20, 20:-20])
    assert peak < 5 * canvas.nbytes
