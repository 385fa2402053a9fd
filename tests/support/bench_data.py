"""A small data set of pairs in the project's own layout: pictures of a red and a blue box, and questions to them."""

import json

import numpy as np
import PIL.Image
from asking import BLUE, RED, picture


def two_boxes(folder, pictures=3):
    """Two pairs on each picture; the pictures differ by one pixel, so that none passes for another."""
    folder.mkdir()
    lines = []
    for number in range(pictures):
        pixels = np.array(picture().pixels)
        pixels[0, 0] = number
        PIL.Image.fromarray(pixels).save(folder / f"{number}.png")
        for name, box in (("red", RED), ("blue", BLUE)):
            mask = np.zeros(pixels.shape[:2], dtype=np.uint8)
            mask[box.slices] = 255
            PIL.Image.fromarray(mask).save(folder / f"{number}-{name}-mask.png")
            line = {
                "id": f"{number}-{name}",
                "image": f"{number}.png",
                "mask": f"{number}-{name}-mask.png",
                "query": f"the {name} rectangle",
                "level": 1,
                "boxes": [list(box)],
                "phrase": name,
            }
            lines.append(json.dumps(line) + "\n")
    (folder / "manifest.jsonl").write_text("".join(lines))
    return folder
