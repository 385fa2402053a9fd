"""The questions of the offline benchmark: one pair asked in every way that a part of it wants, as rows."""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from offline_sets import Pair, Row, filled, fitted, iou, largest, load, next_click, resized, shaken, singles

from geoseg_agent import Agent, GeoSegError, Image, Settings
from geoseg_agent.types import GroundingReply, Target
from geoseg_tools import Box, Crop, tight, whole
from geoseg_tools.classical import ClassicalTools
from geoseg_tools.classical.cache import evidence_of
from geoseg_tools.classical.confidence import confidence
from geoseg_tools.classical.parser import read
from geoseg_tools.classical.select import choose
from geoseg_tools.classical.upscale import above

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from geoseg_agent.types import Query

    Mask = NDArray[np.bool_]

Part = Literal["boxes", "shaken", "clicks", "confidence", "cost"]
PARTS: tuple[Part, ...] = ("boxes", "shaken", "clicks", "confidence", "cost")

UNKNOWN = "zorblat"
"""A phrase that no lexicon holds: the tools are left with the box alone."""

SHARES = (0.05, 0.1, 0.2, 0.3)
SHAPED = 0.2
CLICKS = 20
AFTER = (1, 3, 5, 10, 20)
PIXELS = 0.8e6
STABILITY = (2, 4)
LASTING = "end to end, in one process"


class Job(NamedTuple):
    """One part of the benchmark on one record; of the cost, one way of asking."""

    part: Part
    folder: Path
    record: Mapping[str, Any]
    side: int | None
    draws: int
    way: str = ""


class Given:
    """A Grounder that answers with targets given in advance."""

    engine = "given-boxes"

    def __init__(self, targets: Iterable[Target]) -> None:
        self.targets = tuple(targets)

    async def ground(self, image: Image, query: Query) -> GroundingReply:
        return GroundingReply("found", self.targets)

    async def aclose(self) -> None:
        pass


def settings(**values: Any) -> Settings:
    """The offline default; a busy machine must not turn into failures, so the deadline is far away."""
    return Settings(**{"grounder": "classical", "tools": "classical", "traces": "none", "deadline": 3600.0, **values})


class Answer(NamedTuple):
    mask: Mask
    confidence: float = 0.0
    score: float = 0.0
    answered: bool = False


async def ask(pair: Pair, targets: Iterable[Target] | None = None, **values: Any) -> Answer:
    """The answer to the pair's query; with targets in place of the grounder. A failure is an empty mask."""
    grounder = None if targets is None else Given(targets)
    try:
        async with Agent(settings(**values), grounder=grounder) as agent:
            found = await agent.segment(pair.image, pair.query)
    except GeoSegError:
        return Answer(np.zeros(pair.image.size, dtype=bool))
    score = fmean([target.score or 0.0 for target in found.targets] or [0.0])
    return Answer(found.mask, found.confidence or 0.0, score, found.status == "found")


def named(boxes: Iterable[Box], phrase: str) -> list[Target]:
    return [Target(box, phrase) for box in boxes]


async def boxes(pair: Pair, job: Job) -> list[Row]:
    ways = {
        "no phrase": (UNKNOWN, "full"),
        "phrase": (pair.phrase, "full"),
        "phrase, A alone": (pair.phrase, "points"),
        "phrase, B alone": (pair.phrase, "text"),
    }
    rows = [_row("filled", pair, filled(pair.boxes, pair.image.size))]
    for way, (phrase, variant) in ways.items():
        rows.append(_row(way, pair, (await ask(pair, named(pair.boxes, phrase), variant=variant)).mask))
    for box, truth in singles(pair):
        alone = pair._replace(truth=truth)
        rows.append(_row("single, filled", alone, filled([box], pair.image.size)))
        for way, phrase in (("single, no phrase", UNKNOWN), ("single, phrase", pair.phrase)):
            rows.append(_row(way, alone, (await ask(alone, named([box], phrase))).mask))
    return rows


async def shaking(pair: Pair, job: Job) -> list[Row]:
    levels = [("jitter", share) for share in SHARES] + [(shape, SHAPED) for shape in ("shift", "loose", "tight")]
    rows = []
    for shape, share in levels:
        for draw in range(job.draws):
            moved = shaken(pair, shape, share, draw)
            found = await ask(pair, named(moved, UNKNOWN))
            rows.append(_row(f"{shape} {share:.0%}", pair, found.mask))
            rows.append(_row(f"{shape} {share:.0%}, filled", pair, filled(moved, pair.image.size)))
    return rows


async def clicks(pair: Pair, job: Job) -> list[Row]:
    """Straight to the tools, so that the time is theirs; seconds of one core, for other processes are busy."""
    return [*_clicked("whole query", pair), *_clicked("largest", pair._replace(truth=largest(pair.truth)))]


def _clicked(way: str, pair: Pair) -> list[Row]:
    everything, tools = whole(pair.image.size), ClassicalTools()
    points, positive = np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=bool)
    began = time.process_time()
    encoded = tools.encode(Crop(pair.image.scene, everything, everything))
    setup = time.process_time() - began
    found, curve, seconds = np.zeros(pair.image.size, dtype=bool), [], []
    for _ in range(CLICKS):
        click = next_click(pair.truth, found)
        if click is not None:
            points, positive = np.concatenate([points, [click[:2]]]), np.append(positive, click[2])
            began = time.process_time()
            found = tools.from_points(encoded, points, positive).union()
            seconds.append(time.process_time() - began)
        curve.append(iou(found, pair.truth))
    # What the first click prepares belongs to the set-up, wherever the tools put it.
    setup += max(0.0, seconds[0] - fmean(seconds[1:])) if len(seconds) > 1 else seconds[0]
    times = {"setup": setup, "click": fmean(seconds[1:] or seconds), "worst": max(seconds[1:] or seconds)}
    rows = [Row(f"{way}, {count} clicks", pair.id, pair.source, curve[count - 1]) for count in AFTER]
    curve_of = {f"{count}": value for count, value in enumerate(curve, 1)}
    return [*rows, Row(way, pair.id, pair.source, curve[-1], {**times, **curve_of})]


def judged() -> dict[str, dict[str, Any]]:
    """End to end by default, and by how often results are looked at again, where that can be set."""
    known = "stability" in Settings.model_fields
    return {"end to end": {}} | {f"stability {times}": {"stability": times} for times in STABILITY if known}


async def trust(pair: Pair, job: Job) -> list[Row]:
    """End to end, once for each way of judging it; and what was held back, as if it had not been."""
    rows = []
    for way, values in judged().items():
        found = await ask(pair, **values)
        rows.append(_row(way, pair, found.mask, confidence=found.confidence, answered=found.answered))
    if not rows[0].more["answered"]:
        rows += await _held_back(pair)
    return [*rows, *await _boxed(pair)]


async def _boxed(pair: Pair) -> list[Row]:
    """Single boxes: what their tools say of themselves, and how steady the mask is when the box is given."""
    rows = []
    for box, truth in singles(pair):
        alone = pair._replace(truth=truth)
        for said, phrase in (("no phrase", UNKNOWN), ("phrase", pair.phrase)):
            for way, values in judged().items():
                found = await ask(alone, named([box], phrase), **values)
                sure, by = (found.confidence, way) if values else (found.score, "the tools' score")
                rows.append(_row(f"box, {said}: {by}", alone, found.mask, confidence=sure))
    return rows


async def _held_back(pair: Pair) -> list[Row]:
    """What the grounder would have answered had it not abstained; nothing where it found nothing."""
    scene, reading = pair.image.scene, read(pair.query)
    if not reading.concepts:
        return []
    evidence = evidence_of(scene)
    choice = choose(evidence, reading)
    if not len(choice.chosen):
        return []
    everything = whole(scene.size)
    mask = above(np.where(choice.region, choice.evidence, np.float32(0)), scene.size, everything)
    if scene.valid is not None:
        mask &= scene.valid
    if not mask.any():
        return []
    box, within = tight(mask)
    sure = confidence(evidence, reading, choice).value
    found = await ask(pair, [Target(box, reading.phrase, sure, within)])
    return [_row("held back", pair, found.mask, confidence=sure, answered=False)]


def costly() -> tuple[str, ...]:
    """What is timed."""
    return ("single box, no phrase", "single box, phrase", *judged(), LASTING)


async def cost(pair: Pair, job: Job) -> list[Row]:
    """Seconds of one query at 0.8 MP."""
    height, width = pair.image.size
    scale = (PIXELS / (height * width)) ** 0.5
    small = pair._replace(image=resized(pair.image, scale))
    targets, values = None, judged().get(job.way, {})
    if job.way.startswith("single"):
        box = fitted([scale * value for value in pair.boxes[0]], small.image.size)
        targets = named([box], UNKNOWN if "no phrase" in job.way else pair.phrase)
    began, busy = time.perf_counter(), time.process_time()
    await ask(small, targets, **values)
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    return [Row(job.way, pair.id, pair.source, 0.0, {"seconds": seconds, "busy": busy, "peak": peak()})]


def peak() -> float:
    """Most memory that this process has held so far, MB."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (1 << 20 if sys.platform == "darwin" else 1 << 10)


ASKED = {"boxes": boxes, "shaken": shaking, "clicks": clicks, "confidence": trust, "cost": cost}


def run(job: Job) -> tuple[Job, list[Row], float]:
    """The rows of one job, and the most memory held by the process that ran it, MB."""
    pair = load(job.folder, job.record, job.side)
    rows = asyncio.run(ASKED[job.part](pair, job))
    return job, rows, peak()


def _row(way: str, pair: Pair, found: Mask, **more: float) -> Row:
    return Row(
        way, pair.id, pair.source, iou(found, pair.truth), {name: float(value) for name, value in more.items()}
    )
