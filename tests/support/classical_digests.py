"""Prints, as JSON, a digest of the masks of every way to ask the offline tools; the argument is how many threads."""

import hashlib
import json
import sys
from collections.abc import Iterator

import cv2
import numpy as np

from geoseg_agent.samples import scene as drawn
from geoseg_tools.classical import ClassicalTools, ground
from geoseg_tools.crop import Crop, Scene
from geoseg_tools.geometry import Box, refine, whole

SIZE = (360, 480)
BOXES = (Box(30, 40, 200, 170), Box(210, 90, 330, 300), Box(5, 5, 60, 50), Box(100, 200, 460, 350))


def masks() -> Iterator[tuple[str, np.ndarray]]:
    """Masks of every way to ask the tools, by name."""
    tools = ClassicalTools()
    for seed in (3,):
        scene = Scene(SIZE, f"threads {seed}", np.ascontiguousarray(drawn(seed, SIZE).pixels))
        for query in ("the buildings",):
            for found in ground(scene, query).found:
                yield f"{seed} {query} {tuple(found.box)}", found.within
        for box in BOXES:
            encoded = tools.encode(Crop(scene, refine(box, scene.size), box))
            for phrase in ("zorble", "building"):
                yield f"{seed} {phrase} {tuple(box)}", tools.from_text(encoded, phrase).union()
        everywhere = tools.encode(Crop(scene, whole(scene.size), whole(scene.size)))
        draw = np.random.default_rng(seed)
        points = np.stack([draw.integers(0, 480, 6), draw.integers(0, 360, 6)], axis=1)
        positive = np.arange(6) % 3 != 1
        for n in (1, 2, 6):
            clicked = tools.from_points(everywhere, points[:n], positive[:n]).union()
            yield f"{seed} {n} clicks", clicked
        yield f"{seed} earlier", tools.from_points(everywhere, points[::-1], ~positive, clicked).union()


if __name__ == "__main__":
    cv2.setNumThreads(int(sys.argv[1]))
    sys.stdout.write(
        json.dumps({name: hashlib.sha256(np.packbits(mask).tobytes()).hexdigest() for name, mask in masks()})
    )
