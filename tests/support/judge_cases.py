"""Pairs with masks for the judge, and a judge behind the loopback server that says what a test wants."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from asking import settings as asking_settings
from PIL import Image as Pillow

from geoseg_agent.bench.judge.cases import Case
from geoseg_agent.bench.pairs import Pair

SIZE = (96, 128)


@dataclass(frozen=True)
class Given:
    """A mask that is there already."""

    mask: np.ndarray

    def read(self):
        return self.mask


def block(top, left, bottom, right, size=SIZE):
    """A mask with one rectangle in it."""
    mask = np.zeros(size, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


TRUTH = block(20, 20, 70, 80)
HALF = block(20, 20, 70, 50)


def written(path, seed=0, size=SIZE):
    """A picture of noise as a file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(pixels).save(path)
    return Path(path)


def case(number=0, *, predicted=HALF, truth=TRUTH, name=None, folder=".", **fields):
    """A case on a picture of its own."""
    path = written(Path(folder) / (name or f"picture-{number}.png"), seed=number)
    known = {"id": f"p{number}", "image": path, "query": f"the large hall, number {number}", "truth": Given(truth)}
    return Case(Pair(**{**known, **fields}), None if predicted is None else Given(predicted))


def settings(server, **values):
    return asking_settings(server, **{"traces": "none", **values})


def scores(*values, evidence="yellow covers the hall"):
    """A valid answer with these scores in the order of the rubric."""
    names = ("faithfulness", "localization", "robustness", "overlap")
    return json.dumps({"evidence": evidence, **dict(zip(names, values, strict=False))})


def steady(value):
    """A judge that gives this score for everything that it is asked."""

    def script(asked):
        names = [name for name in asked.tool[1]["properties"] if name != "evidence"]
        return json.dumps(dict.fromkeys(names, value))

    return script


def pictures_asked(server):
    """A short name of each picture that was asked about, in order."""
    parts = [record.body["messages"][1]["content"][0]["image_url"]["url"] for record in server.asked]
    return [hashlib.sha256(part.encode()).hexdigest()[:12] for part in parts]


def texts_asked(server):
    """All text of each request, without the picture."""
    return [
        json.dumps([part for m in record.body["messages"] for part in _text(m["content"])], ensure_ascii=False)
        for record in server.asked
    ]


def _text(content):
    return [content] if isinstance(content, str) else [part["text"] for part in content if part["type"] == "text"]
