"""Boxes said from the traces of a run, with the true boxes of the data set.

Every reply to a grounding question counts, refused ones too: a unit error makes replies that are refused, and without
them the evidence of it would be gone. What a model said of its own drawn result (review) does not.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from geoseg_agent.calibrate.pairs import LARGEST, Numbers, Said
from geoseg_agent.errors import DatasetError, TraceError
from geoseg_agent.grounding.frames import OutOfFrame, locate
from geoseg_agent.grounding.reply.contract import check
from geoseg_agent.grounding.reply.extract import extract
from geoseg_agent.grounding.reply.parse import parse
from geoseg_agent.grounding.reply.rejected import RejectedReply
from geoseg_agent.grounding.reply.shapes import shape
from geoseg_agent.grounding.reply.zooming import without_wish
from geoseg_agent.trace.codec_chat import decode_chat, decode_sent, decode_terms
from geoseg_agent.trace.model import ChatStep, EndpointStep, GroundStep, SentStep
from geoseg_agent.trace.store import load
from geoseg_agent.types import Query
from geoseg_tools.errors import ToolError
from geoseg_tools.geometry import Box, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from geoseg_agent.bench.pairs import Pair
    from geoseg_agent.grounding.chat import ChatReply, SentImage, Terms
    from geoseg_agent.trace.model import Trace

Key = tuple[str, str]
"""File name of the image, and the query."""


class FromTraces(NamedTuple):
    """What a folder of traces says.

    Attributes:
        said: one entry per reply with boxes in it.
        skipped: reason to number of traces that gave none.
    """

    said: tuple[Said, ...]
    skipped: dict[str, int]


def truths_of(pairs: Iterable[Pair]) -> dict[Key, tuple[Box, ...]]:
    """The true boxes of a data set, by image and query, as `read_traces` looks them up.

    Raises:
        DatasetError: two pairs of one image name and query have different boxes.
    """
    found: dict[Key, tuple[Box, ...]] = {}
    for pair in pairs:
        key = pair.image.name, Query(pair.query).text
        if pair.boxes and found.setdefault(key, pair.boxes) != pair.boxes:
            raise DatasetError(
                f"two pairs ask {key[1]!r} of an image called {key[0]} and have different boxes; one is {pair.id}",
                hint="calibrate with a data set in which image names are unique, or leave one of them out",
            )
    return found


def read_traces(folder: Path, truths: Mapping[Key, Sequence[Box]], *, model: str | None = None) -> FromTraces:
    """The replies in the traces of a run.

    Args:
        folder: of traces; files that are none are counted.
        truths: true boxes by file name of the image and text of the query, as `truths_of` makes them.
        model: only its replies, where the folder holds those of several.

    Raises:
        DatasetError: there is no such folder, or no reply in it that can be compared.
    """
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}", hint="give the traces folder of a run")
    said, skipped = gather(sorted(folder.glob("*.json")), lambda trace: truths.get(_key(trace), ()))
    names = Counter(one.model for one in said)
    if model is not None:
        said = tuple(one for one in said if one.model == model)
    if not said:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in skipped.items()) or "it holds no traces"
        of = "" if model is None else f" of {model}; there are {', '.join(names) or 'none'}"
        raise DatasetError(f"{folder} holds no boxes{of} that can be compared: {reasons}")
    return FromTraces(said, skipped)


def gather(paths: Iterable[Path], true_of: Callable[[Trace], Sequence[Box]]) -> FromTraces:
    """The replies in some traces; `true_of` says the true boxes of a query, none where they are not known.

    A query that was interrupted is left out: whoever went on with it has recorded its replies once more.
    """
    said: list[Said] = []
    skipped: Counter[str] = Counter()
    for path in paths:
        try:
            trace = load(path)
            true = tuple(true_of(trace))
            found = list(_replies(trace, true))
        except (TraceError, ToolError, ValueError):
            skipped["no trace, or a damaged one"] += 1
            continue
        if not true:
            skipped["no true boxes for this image and query"] += 1
        elif trace.status == "interrupted":
            skipped["interrupted"] += 1
        elif not found:
            skipped["no reply with boxes"] += 1
        else:
            said += found
    return FromTraces(tuple(said), dict(skipped))


def _key(trace: Trace) -> Key:
    return Path(trace.image.path or trace.image.name).name, trace.query


def _replies(trace: Trace, true: tuple[Box, ...]) -> Iterator[Said]:
    size = trace.image.height, trace.image.width
    terms: Terms | None = None
    sent: dict[str, SentImage] = {}
    for step in trace.steps:
        if isinstance(step, GroundStep) and step.output is not None and step.output.targets:
            boxes = tuple(Box(*target.box) for target in step.output.targets)
            yield Said(tuple(map(_floats, boxes)), boxes, true, size, None, None, trace.image.sha256, trace.engine)
        elif isinstance(step, EndpointStep) and step.output is not None:
            terms = decode_terms(step.output)
        elif isinstance(step, SentStep) and step.output is not None and step.input.overlay is None:
            window = Box(*step.input.window)
            if window == whole(size):
                sent[step.output.sha256] = decode_sent(step.output, window)
        elif isinstance(step, ChatStep) and step.output is not None and terms is not None:
            shown = next((m.image for m in step.input.messages if m.image is not None), None)
            if shown in sent:
                numbers, predicted = boxes_said(decode_chat(step.output), terms, sent[shown])
                if numbers:
                    seen = sent[shown].size
                    yield Said(numbers, predicted, true, size, seen, terms.read, trace.image.sha256, terms.model)


def boxes_said(reply: ChatReply, terms: Terms, sent: SentImage) -> tuple[tuple[Numbers, ...], tuple[Box | None, ...]]:
    """The numbers of every box in a reply, and the box that the agent made of each.

    A box named twice stands once, as for the agent. Where the agent refused the reply, all its boxes are None; where
    it holds no numbers in the form of an answer, there are none. Numbers beyond `LARGEST` are not numbers of a box.
    """
    try:
        answers = [check(shape(without_wish(data), terms.read.order).data, "") for data in extract(reply).answers]
    except RejectedReply:
        return (), ()
    given = (_floats(target.bbox_2d) for answer in answers for target in answer.targets)
    numbers = [four for four in given if max(map(abs, four)) <= LARGEST]
    try:
        kept = [target.box for target in parse(reply, terms, sent, zoomable=True).reply.targets]
    except RejectedReply:
        return tuple(numbers), (None,) * len(numbers)
    pairs: list[tuple[Numbers, Box]] = []
    for four in numbers:
        try:
            box = locate(four, terms, sent).box
        except OutOfFrame:  # one that was left out
            continue
        if box in kept:
            kept.remove(box)
            pairs.append((four, box))
    return tuple(four for four, _ in pairs), tuple(box for _, box in pairs)


def _floats(box: Iterable[float]) -> Numbers:
    a, b, c, d = box
    return float(a), float(b), float(c), float(d)
