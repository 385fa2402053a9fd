"""A grounder and a toolbox small enough to be obvious; the words of a query choose what happens."""

import asyncio
import hashlib
from contextlib import asynccontextmanager

import numpy as np

from geoseg_agent.agent import Agent
from geoseg_agent.errors import GeoSegError
from geoseg_agent.imagery import Image
from geoseg_agent.settings import Settings
from geoseg_agent.types import GroundingReply, Target
from geoseg_tools.geometry import Box
from geoseg_tools.masks import Masks

RULES = ("both", "points", "text", "none")
WORDS = (*RULES, "apart", "broken", "silent", "stuck")


def scene(seed=0, size=(60, 80)):
    """A small picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.from_array(pixels, name=f"noise-{seed}")


async def pause(*key):
    """Let others run for a number of turns that depends on the key only."""
    for _ in range(hashlib.sha256(repr(key).encode()).digest()[0] % 4):
        await asyncio.sleep(0)


class WordGrounder:
    """One target per word of `WORDS`, none where there is none.

    "sure" gives confidences, "within" limits, "maybe" makes it ambiguous, "refuse" crashes.
    """

    engine = "words"

    async def ground(self, image, query):
        await pause(query.text)
        words = query.text.split()
        if "refuse" in words:
            raise RuntimeError("the grounder was told to refuse")
        h, w = image.size
        targets = tuple(
            Target(
                Box(2 + 5 * i, 3 + 4 * i, w // 2 + 5 * i, h // 2 + 4 * i),
                f"{word} of {query.text}"[:100],
                0.5 + i / 100 if "sure" in words else None,
                _half((h // 2 - 3, w // 2 - 2)) if "within" in words else None,
            )
            for i, word in enumerate(word for word in words if word in WORDS)
        )
        status = "ambiguous" if "maybe" in words else "found" if targets else "not_found"
        return GroundingReply(status, targets, f"{len(targets)} words", ("a note on the words",))

    async def aclose(self):
        pass


class WordToolbox:
    """Tools whose fusion ends in the rule that is the first word of the phrase.

    "apart": both routes valid, no overlap; "broken": route B crashes; "silent": no scores and no keypoints;
    "stuck": route B never ends. Grids and masks depend on crop and phrase, so that foreign ones are noticed.
    """

    engine = "word-tools"

    def __init__(self, defaults=None):
        self.defaults = defaults or {"k": 3}
        self.weights = {"words.bin": "0" * 64}
        self.alive = 0

    @asynccontextmanager
    async def encode(self, crop):
        await pause("encode", tuple(crop.roi))
        self.alive += 1
        try:
            yield crop
        finally:
            self.alive -= 1

    async def similarity(self, crop, phrase):
        await pause("similarity", tuple(crop.roi), phrase)
        if phrase.startswith("silent"):
            return np.full((6, 7), 0.25, dtype=np.float32)
        heat = _noise(crop, phrase).random((6, 7), dtype=np.float32)
        if phrase.startswith(("text", "none", "stuck")):
            heat[0, 0] += 9  # one keypoint only, in the corner, from which nothing comes
        return heat

    async def from_points(self, handle, points, positive, earlier=None):
        await pause("points", tuple(handle.roi), points.tolist())
        masks = np.zeros((1, *handle.size), dtype=np.bool_)
        if earlier is not None:
            masks[0] = earlier
        for (x, y), sign in zip(points, positive, strict=True):
            masks[0, max(0, y - 3) : y + 4, max(0, x - 3) : x + 4] = sign and len(points) > 1
        return Masks.of(masks, np.array([0.75]), ("from points",))

    async def from_text(self, handle, phrase):
        await pause("text", tuple(handle.roi), phrase)
        h, w = handle.size
        masks = np.zeros((2, h, w), dtype=np.bool_)
        word = phrase.split()[0]
        if word == "broken":
            raise ValueError("route B was told to break")
        if word == "stuck":
            await asyncio.Event().wait()
        if word in {"both", "text", "silent"}:
            masks[0, : h // 2], masks[1, h // 2 :, : w // 2] = True, True
        if word == "apart":
            masks[1, :, -1] = True
        return Masks.of(masks, None if word == "silent" else np.array([0.5, 0.9]), ())

    async def aclose(self):
        pass


def _half(size):
    mask = np.zeros(size, dtype=np.bool_)
    mask[: size[0] // 2] = True
    return mask


def _noise(crop, phrase):
    key = repr((crop.digest, tuple(crop.roi), phrase)).encode()
    return np.random.default_rng(int.from_bytes(hashlib.sha256(key).digest()[:8], "big"))


async def ask(folder, query, *, hints=None, image=None, toolbox=None, grounder=None, **values):
    """One query to a new Agent of the word tools; the answer, or the error it raised."""
    grounder, toolbox = grounder or WordGrounder(), toolbox or WordToolbox()
    async with Agent(Settings(traces=folder, **values), grounder=grounder, toolbox=toolbox) as agent:
        try:
            return await agent.segment(image or scene(), query, hints=hints)
        except GeoSegError as error:
            return error
