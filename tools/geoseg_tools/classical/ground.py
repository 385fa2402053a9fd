"""Where is what a query asks for? The grounding of the offline default, from evidence alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from geoseg_tools.classical import ops, wording
from geoseg_tools.classical.both import both
from geoseg_tools.classical.cache import evidence_of
from geoseg_tools.classical.confidence import confidence, look_again
from geoseg_tools.classical.parser import read
from geoseg_tools.classical.select import choose
from geoseg_tools.classical.upscale import above, scene_box, tight
from geoseg_tools.geometry import whole

if TYPE_CHECKING:
    from geoseg_tools.arrays import Mask
    from geoseg_tools.classical.evidence import Evidence
    from geoseg_tools.classical.reading import Reading
    from geoseg_tools.classical.select import Choice
    from geoseg_tools.crop import Scene
    from geoseg_tools.geometry import Box

ABSTAIN = 0.12
"""Below this confidence there is no answer."""

_MOST_BOXES = 6


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """One thing that was found.

    Attributes:
        box: absolute pixels of the scene, tight around `within`.
        phrase: a short noun phrase that `ClassicalTools` reads back to the same concepts and colours.
        confidence: 0..1, the same for all things of one query.
        within: (h, w) bool in the frame of the box: the pixels the result is limited to.
    """

    box: Box
    phrase: str
    confidence: float
    within: Mask


@dataclass(frozen=True, slots=True)
class Grounding:
    """The answer to a query: what was found, and in one or two sentences why."""

    status: Literal["found", "not_found", "ambiguous"]
    found: tuple[Found, ...]
    reasoning: str
    notes: tuple[str, ...] = ()


def ground(scene: Scene, query: str) -> Grounding:
    """Find what a query asks for, or say honestly why not.

    Args:
        scene: the image; features are cached by its digest.
        query: a question or an order in English.

    Returns:
        One `Found` per chosen component, or one for all where there are more than six or they cover more than
        half of the image. "not_found" where no word is known, no evidence is left or it does not hold.
    """
    reading = read(query)
    if not reading.concepts:
        return Grounding("not_found", (), wording.not_understood(reading))
    evidence = evidence_of(scene)
    choice, again = _chosen(evidence, reading)
    if not len(choice.chosen) and reading.otherwise is not None:
        reading = wording.instead(reading)
        choice, again = _chosen(evidence, reading)
    if not len(choice.chosen):
        return Grounding("not_found", (), wording.no_evidence(reading), wording.notes(reading))
    judged = confidence(evidence, reading, choice, again)
    if judged.value < ABSTAIN:
        return Grounding("not_found", (), wording.too_weak(reading, judged), wording.notes(reading))
    found = tuple(
        Found(box, reading.phrase, round(judged.value, 3), within)
        for box, within in _regions(scene, evidence, choice)
    )
    if not found:
        return Grounding("not_found", (), wording.no_evidence(reading), wording.notes(reading))
    return Grounding("found", found, wording.found(reading, choice, judged), wording.notes(reading))


def _chosen(evidence: Evidence, reading: Reading) -> tuple[Choice, Mask]:
    """What a query means, and what it means in the copy that the confidence rests on; the two side by side."""
    return both(partial(choose, evidence, reading), partial(look_again, evidence, reading))


def _regions(scene: Scene, evidence: Evidence, choice: Choice) -> list[tuple[Box, Mask]]:
    """Boxes and masks in pixels of the scene, never on invalid pixels."""
    labels = choice.chosen
    covered = sum(scene_box(choice.found.box[i], evidence.size, scene.size, 0).area for i in labels)
    apart = len(labels) <= _MOST_BOXES and covered <= 0.5 * whole(scene.size).area
    groups = [labels[i : i + 1] for i in range(len(labels))] if apart else [labels]
    out = []
    for group in groups:
        keep = np.zeros(len(choice.found.area), np.bool_)
        keep[group] = True
        mask = choice.found.only(keep)
        boxes = choice.found.box[group]
        extent = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
        values = np.where(ops.dilate(mask, 3), choice.evidence, np.float32(0))
        box = scene_box(extent, evidence.size, scene.size)
        within = above(values, scene.size, box)
        seen = scene.seen(box)
        if seen is not None:
            within &= seen
        cut = tight(within, box)
        if cut is not None:
            out.append(cut)
    return out
