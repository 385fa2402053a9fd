"""A small data set of pairs in the project's own layout: pictures of a red and a blue box, and questions to them."""

import json

import numpy as np
import PIL.Image
from asking import BLUE, PICTURE, RED

from geoseg_tools.geometry import Box


def places(number):
    """Where the boxes of a picture are, by colour; elsewhere in each picture."""
    across, down = 9 * number, 7 * number
    return {
        name: Box(box.x1 + across, box.y1 + down, box.x2 + across, box.y2 + down)
        for name, box in (("red", RED), ("blue", BLUE))
    }


def two_boxes(folder, pictures=3):
    """Two pairs on each picture, and boxes.jsonl with the same boxes."""
    folder.mkdir()
    pairs, boxes = [], []
    for number in range(pictures):
        pixels = np.full((*PICTURE, 3), 128, dtype=np.uint8)
        for name, box in places(number).items():
            pixels[box.slices] = (255, 0, 0) if name == "red" else (0, 0, 255)
            mask = np.zeros(PICTURE, dtype=np.uint8)
            mask[box.slices] = 255
            PIL.Image.fromarray(mask).save(folder / f"{number}-{name}-mask.png")
            pairs.append(
                {
                    "id": f"{number}-{name}",
                    "image": f"{number}.png",
                    "mask": f"{number}-{name}-mask.png",
                    "query": f"the {name} rectangle of picture {number}",
                    "level": 1,
                    "boxes": [list(box)],
                    "phrase": name,
                }
            )
            height, width = PICTURE
            boxes.append(
                {
                    "image": f"{number}.png",
                    "class": f"{name} rectangle",
                    "boxes": [list(box)],
                    "width": width,
                    "height": height,
                }
            )
        PIL.Image.fromarray(pixels).save(folder / f"{number}.png")
    for file, lines in (("manifest.jsonl", pairs), ("boxes.jsonl", boxes)):
        (folder / file).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
