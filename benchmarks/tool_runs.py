"""For `tools.py`: one set of models, asked in both orders of work in turns, then by many at once; the figures."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from reference_flow import (
    Answer,
    Passes,
    Reference,
    Watched,
    ceiling,
    cost,
    forget_peak,
    full,
    peak_mib,
    small,
)

from geoseg_agent import Agent, Hints, Image, Settings
from geoseg_agent.lanes import Lane
from geoseg_agent.models import toolbox_over
from geoseg_agent.samples import scene
from geoseg_agent.toolbox import Makers
from geoseg_tools import Box

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from reference_flow import Models, Span

THRESHOLD = 0.5
SLOW = 5  # seconds of a query after which whoever waits is told of it
ROWS = ("encode", "similarity", "points", "text", "query")


class Pair(NamedTuple):
    """One query, by this project and in the published order; each with its seconds by stage."""

    ours: Answer
    reference: Answer


class Ours:
    """An Agent over the models, whose tools are watched."""

    def __init__(self, models: Models) -> None:
        self.spans: list[Span] = []
        self.device = models.device
        settings = Settings(traces="none", deadline=86_400.0, text_threshold=THRESHOLD, tools="models")
        makers = Makers(
            lambda: Watched(models.matcher(), models.device, self.spans),
            lambda: Watched(models.segmenter(THRESHOLD), models.device, self.spans),
        )
        self.agent = Agent(settings, toolbox=toolbox_over(settings, [makers]))

    async def query(self, image: Image, box: Box, phrase: str) -> Answer:
        self.spans.clear()
        began = time.perf_counter()
        found = await self.agent.segment(image, phrase, hints=Hints(box=box, phrase=phrase))
        seconds = {"query": time.perf_counter() - began}
        seconds |= {span.stage: span.ended - span.began for span in self.spans}
        seconds["tools"] = max(span.ended for span in self.spans) - min(span.began for span in self.spans)
        masks = {span.stage: span.masks for span in self.spans if span.masks is not None}
        return Answer(
            masks["points"].union(), masks["text"].union(), found.targets[0].mask, len(masks["text"]), seconds
        )


def boxes(size: tuple[int, int], side: int) -> Iterator[Box]:
    """Boxes of one size, none like another, all over the image."""
    height, width = size
    rng = np.random.default_rng(7)
    known = set()
    while True:
        x, y = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
        if (x, y) not in known:
            known.add((x, y))
            yield Box(x, y, x + side, y + side)


async def paired(
    ours: Ours, reference: Reference, passes: Passes, image: Image, places: Iterator[Box], phrases: list[str]
) -> tuple[list[Pair], dict[str, Any]]:
    """A pair for each phrase, the two taking turns in going first; and how often SAM3 encoded, and the memory."""
    pairs, encoded, peaks = [], {"ours": 0, "reference": 0}, {"ours": 0.0, "reference": 0.0}
    lane = Lane("reference")
    for number, (box, phrase) in enumerate(zip(places, phrases, strict=False)):
        answers: dict[str, Answer] = {}
        for who in ("ours", "reference") if number % 2 == 0 else ("reference", "ours"):
            forget_peak(ours.device)
            passes.taken()
            if who == "ours":
                answers[who] = await ours.query(image, box, phrase)
            else:
                answers[who] = await lane.run(reference.query, image, box, phrase)
            if answers[who].seconds["query"] > SLOW:
                print(f"pair {number + 1}, {who}: {answers[who].seconds['query']:.0f} s", file=sys.stderr, flush=True)
            encoded[who] += passes.taken()
            peaks[who] = max(peaks[who], peak_mib(ours.device))
        pairs.append(Pair(**answers))
    lane.close()
    return pairs, {"passes": encoded, "peak MiB": peaks}


def compared(pairs: list[Pair], more: dict[str, Any]) -> dict[str, Any]:
    """The figures of one policy."""
    stages = {}
    for row in ROWS:
        mine = [pair.ours.seconds[row] for pair in pairs]
        theirs = [pair.reference.seconds[row] for pair in pairs]
        ratios = [one / other for one, other in zip(mine, theirs, strict=True)]
        stages[row] = {"ours": median(mine), "reference": median(theirs), "ratio": spread(ratios)}
    return {
        **more,
        "pairs": len(pairs),
        "stages": stages,
        "file": median(pair.reference.seconds["file"] for pair in pairs),
        "latency": spread([latency(pair.ours.seconds) for pair in pairs]),
        "outside the tools": median(pair.ours.seconds["query"] - pair.ours.seconds["tools"] for pair in pairs),
        "unlike pixels": sum(unlike(pair) for pair in pairs),
        "worst IoU": min(iou(pair.ours.mask, pair.reference.mask) for pair in pairs),
        "instances": median(pair.ours.found for pair in pairs),
        "share of the crop": [
            round(median(float(mask.mean()) for mask in masks), 3)
            for masks in zip(*((pair.ours.points, pair.ours.text, pair.ours.mask) for pair in pairs), strict=True)
        ],
    }


def latency(seconds: dict[str, float]) -> float:
    """The tools of a query over what their own stages allow."""
    allowed = max(seconds["encode"], seconds["similarity"]) + seconds["points"] + seconds["text"]
    return seconds["tools"] / allowed


def unlike(pair: Pair) -> int:
    """Pixels in which the two differ, over the masks of both routes and the result."""
    of = zip(pair.ours[:3], pair.reference[:3], strict=True)
    return sum(int(np.count_nonzero(one != other)) for one, other in of)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    either = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / either) if either else 1.0


def spread(values: list[float]) -> dict[str, float]:
    return {"median": median(values), "least": min(values), "most": max(values)}


async def crowd(ours: Ours, passes: Passes, image: Image, where: list[Box], phrase: str) -> dict[str, Any]:
    """Queries at once, one for each box, of a phrase that is known."""
    forget_peak(ours.device)
    passes.taken()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as together:
        for box in where:
            together.create_task(ours.agent.segment(image, phrase, hints=Hints(box=box, phrase=phrase)))
    seconds = time.perf_counter() - began
    return {
        "queries": len(where),
        "crops": len({tuple(box) for box in where}),
        "passes": passes.taken(),
        "queries a second": len(where) / seconds,
        "peak MiB": peak_mib(ours.device),
    }


async def measured(models: Models, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about one set of models."""
    is_small = models.name == "small"
    image = Image.from_array(scene(7, (512, 512) if is_small else (1024, 1024)).pixels, name="drawn")
    places = boxes(image.size, 160 if is_small else 400)
    side = 1024 if is_small else 4096 if models.device.type == "cuda" else 2048
    kinds = (torch.float32, torch.bfloat16) if models.device.type == "cuda" else (torch.float32,)
    figures: dict[str, Any] = {"models": models.name, "threads": torch.get_num_threads()}
    first = next(places)
    counted = cost(models, image.crop(first), THRESHOLD)
    figures["operations"], figures["encoding MB"] = counted.operations, counted.encoding / 1e6
    figures["ceiling"] = {str(kind).removeprefix("torch."): ceiling(models.device, kind, side) for kind in kinds}
    passes = Passes(models)
    ours = Ours(models)
    with tempfile.TemporaryDirectory() as folder:
        reference = Reference(models, ours.agent.method, Path(folder), THRESHOLD)
        await ours.agent.warm_up()
        phrases = {
            "new": [f"building number {number}" for number in range(options.pairs)],
            "known": ["building number 0"] * options.pairs,  # asked first of all, by both
        }
        for policy, asked in phrases.items():
            pairs, more = await paired(ours, reference, passes, image, places, asked)
            figures[policy] = compared(pairs, more)
    figures["crowds"] = []
    for count in options.at_once:
        for where in ([next(places) for _ in range(count)], [next(places)] * count):
            figures["crowds"].append(await crowd(ours, passes, image, where, phrases["known"][0]))
    await ours.agent.aclose()
    return figures


def all_models(options: argparse.Namespace) -> Iterator[Models]:
    if options.mode == "small":
        yield small()
    elif options.mode == "full":
        yield full(torch.device("cpu"), half=False, compiled=False)
    else:
        device = torch.device(options.device)
        yield full(device, half=True, compiled=False)
        yield full(device, half=False, compiled=False)
        if options.compile:
            yield full(device, half=True, compiled=True)
