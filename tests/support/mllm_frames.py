"""How the test server says where something is: in any frame, faithfully or with a fault that can be found."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Speaks:
    """The coordinates a model speaks.

    `frame`: norm1000, unit or pixels (of the picture it got), with -yxyx where y comes first. `scale` and `shift`
    (x, y; pixels of that picture) and `noise` (standard deviation in those pixels) move every box first. With
    `mixture`, replies take these frames in turn instead.
    """

    frame: str = "norm1000"
    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)
    noise: float = 0.0
    seed: int = 0
    mixture: tuple[str, ...] = ()

    def say(self, box, size, turn=0):
        """The four numbers for a box (x1, y1, x2, y2) in a picture of `size` (h, w), in reply number `turn`."""
        (x1, y1, x2, y2), (h, w) = box, size
        xs = np.array([x1, x2]) * self.scale[0] + self.shift[0]
        ys = np.array([y1, y2]) * self.scale[1] + self.shift[1]
        if self.noise:
            draw = np.random.default_rng([self.seed, turn, *(int(v) for v in box)])
            xs, ys = xs + draw.normal(0, self.noise, 2), ys + draw.normal(0, self.noise, 2)
        frame = self.mixture[turn % len(self.mixture)] if self.mixture else self.frame
        space, _, order = frame.partition("-")
        if space == "norm1000":
            xs, ys = np.rint(xs * 1000 / w), np.rint(ys * 1000 / h)
        elif space == "unit":
            xs, ys = np.round(xs / w, 4), np.round(ys / h, 4)
        else:
            xs, ys = np.rint(xs), np.rint(ys)
        pairs = ((y, x) if order == "yxyx" else (x, y) for x, y in zip(xs, ys, strict=True))
        numbers = [float(value) for pair in pairs for value in pair]
        return numbers if space == "unit" else [int(value) for value in numbers]
