"""Local tools that count, and pictures for them."""

import threading
import time
from functools import partial

import numpy as np

from geoseg_agent import Image
from geoseg_agent.toolbox import Makers
from geoseg_tools import Box, Masks

VALID = np.ones((20, 30), dtype=bool)
VALID[:, 15:] = False
IMAGE = Image.from_array(np.zeros((20, 30, 3), dtype=np.uint8), valid=VALID)
CROP = IMAGE.crop(Box(5, 5, 25, 15))


class Counting:
    """Tools that notice when two threads are inside at once."""

    def __init__(self):
        self.inside = 0
        self.threads = set()

    def _enter(self):
        self.inside += 1
        assert self.inside == 1
        self.threads.add(threading.get_ident())
        self.inside -= 1

    def encode(self, crop):
        self._enter()
        return crop

    def similarity(self, crop, phrase):
        self._enter()
        return np.zeros((2, 2), dtype=np.float32)

    def from_points(self, encoded, points, positive):
        self._enter()
        return Masks.of(np.ones((1, *encoded.size), dtype=bool))

    def from_text(self, encoded, phrase):
        self._enter()
        return Masks.of(np.ones((1, *encoded.size), dtype=bool))


class Slow(Counting):
    """A tool that takes its time and counts what it encoded."""

    def __init__(self):
        super().__init__()
        self.encoded = []
        self.weights = {"slow": "1" * 64}

    def encode(self, crop):
        time.sleep(0.01)
        self.encoded.append(crop.roi)
        return crop


def pairs(count):
    """Seats with a matcher and a segmenter of their own, and the instances once they are built."""
    built = []

    def make():
        built.append(Slow())
        return built[-1]

    return [Makers(partial(make), partial(make)) for _ in range(count)], built
