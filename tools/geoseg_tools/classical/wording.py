"""The sentences of the offline default: what was understood, what decided, how far to trust it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from geoseg_tools.classical.reading import noun_phrase

if TYPE_CHECKING:
    from geoseg_tools.classical.confidence import Confidence
    from geoseg_tools.classical.reading import Reading
    from geoseg_tools.classical.select import Choice

SWITCH = "This is the offline baseline, which knows few words; GEOSEG_BASE_URL=http://... asks a model instead."

_MEANING = {
    "stability": "how well the region holds when the image is made smaller and darker",
    "contrast": "how much the evidence differs between the region and the rest",
    "reading": "how well the question was understood",
    "evidence": "the evidence",
}


def not_understood(reading: Reading) -> str:
    """Why a query without a known concept has no answer."""
    if reading.unknown:
        words = ", ".join(repr(word) for word in reading.unknown)
        return f"There is no evidence map for {words}. {SWITCH}"
    return f"No word of the query names anything this baseline has an evidence map for. {SWITCH}"


def no_evidence(reading: Reading) -> str:
    """Why nothing was found of a known concept."""
    return f"The query was read as {describe(reading)}, but nothing in the image looks like it. {SWITCH}"


def too_weak(reading: Reading, judged: Confidence) -> str:
    """Why a region was found and not given."""
    return (
        f"The query was read as {describe(reading)}; the only candidate is too uncertain "
        f"(confidence {judged.value:.2f}), mostly by {_MEANING[judged.weakest]}. {SWITCH}"
    )


def found(reading: Reading, choice: Choice, judged: Confidence) -> str:
    """What decided, and what the confidence rests on."""
    candidates = len(choice.found.area) - 1
    return (
        f"The query was read as {describe(reading)}; {len(choice.chosen)} of {candidates} candidate regions fit. "
        f"Lowest factor of the confidence ({judged.factors[judged.weakest]:.2f}): {_MEANING[judged.weakest]}."
    )


def notes(reading: Reading) -> tuple[str, ...]:
    """Remarks on what was passed over."""
    out = []
    if reading.unknown:
        out.append(f"No evidence map for: {', '.join(reading.unknown)}.")
    if reading.ignored:
        out.append(f"Words not understood and ignored: {', '.join(reading.ignored)}.")
    if reading.relation is not None and not reading.relation.references:
        out.append(f"The relation '{reading.relation.words}' could not be checked.")
    return tuple(out)


def describe(reading: Reading) -> str:
    """A reading in words."""
    named = noun_phrase(reading.concepts, reading.colours)
    parts = [*reading.sizes, *reading.shapes, named]
    if reading.superlative:
        parts.insert(0, reading.superlative)
    if reading.places:
        parts.append("at " + ", ".join(place.replace("-", " ") for place in reading.places))
    if reading.relation is not None:
        parts.append(reading.relation.words)
    if reading.implicit:
        parts.append("(from its purpose)")
    return "'" + " ".join(parts) + "'"


def instead(reading: Reading) -> Reading:
    """The same purpose served by the second best concept."""
    if reading.otherwise is None:
        return reading
    return replace(
        reading,
        concepts=(reading.otherwise,),
        otherwise=None,
        phrase=noun_phrase([reading.otherwise], []),
    )
