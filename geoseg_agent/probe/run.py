"""Asks an endpoint for boxes that are known, with the prompt that queries are asked with, and judges the answers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from geoseg_agent.errors import first_error
from geoseg_agent.grounding.ask import Line, ask
from geoseg_agent.grounding.chat import Verdict
from geoseg_agent.grounding.endpoint.openai_chat import OpenAIEndpoint
from geoseg_agent.grounding.endpoint.verdicts import keep
from geoseg_agent.grounding.messages import prompt_of, request_targets
from geoseg_agent.grounding.picture.sent_image import SentImages
from geoseg_agent.grounding.reply.contract import check, segment_targets_tool
from geoseg_agent.grounding.reply.extract import extract
from geoseg_agent.grounding.reply.rejected import RejectedReply
from geoseg_agent.grounding.reply.shapes import shape
from geoseg_agent.lanes import Lane
from geoseg_agent.probe.fit import Answer, Finding, examine, iou_of
from geoseg_agent.probe.scenes import draw
from geoseg_agent.types import Query
from geoseg_tools.geometry import whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from geoseg_agent.grounding.chat import ChatReply, Dialect, Endpoint, Frame, Pictures, Terms
    from geoseg_agent.method import Profile
    from geoseg_agent.probe.scenes import Drawn
    from geoseg_agent.settings import Settings
    from geoseg_prompts import Prompt


class Row(NamedTuple):
    """One answer, for people.

    Attributes:
        picture: name of the picture drawn.
        size: width x height as sent.
        colour: of the rectangle asked for.
        numbers: what the model said, or None.
        frame: the frame it is in, or None where that cannot be told.
        iou: with the box drawn, read in the frame found for all; None without one.
    """

    picture: str
    size: str
    colour: str
    numbers: tuple[float, float, float, float] | None
    frame: str | None
    iou: float | None


class Probed(NamedTuple):
    """What came of one prompt.

    Attributes:
        address: of the endpoint.
        terms: as queries with this profile would be asked.
        dialect: in which the answers came.
        prompt: it was asked with.
        drawn: the pictures, in the order of `rows`, one for each row.
        answers: as `geoseg_agent.probe.fit` takes them.
        rows: the same for people.
        finding: what they amount to.
        faults: what a user should know, one sentence each.
        kept: where the verdict lies.
    """

    address: str
    terms: Terms
    dialect: Dialect
    prompt: Prompt
    drawn: tuple[Drawn, ...]
    answers: tuple[Answer, ...]
    rows: tuple[Row, ...]
    finding: Finding
    faults: tuple[str, ...]
    kept: Path


async def probe(
    settings: Settings, profile: Profile, *, seed: int = 0, told: Callable[[int, int], None] = lambda _d, _t: None
) -> Probed:
    """Ask the endpoint of the settings for every known box once, keep the verdict, and say what is wrong.

    Args:
        settings: where the endpoint is.
        profile: whose prompt and reading are looked at.
        seed: of the boxes.
        told: called with the number of answers so far, and of all.

    Raises:
        ConfigError: no endpoint is set.
        EndpointError: it failed for good.
    """
    # The paper profile wants to know the frame before it asks; here it is what is asked for.
    frame = settings.frame or (None if profile == "default" else "pixels")
    asked = settings.model_copy(update={"profile": profile, "frame": frame})
    endpoint, pictures, lane = OpenAIEndpoint(asked), SentImages(), Lane("probe")
    try:
        with first_error():
            return await _probed(asked, endpoint, pictures, lane, seed, told)
    finally:
        lane.close()
        await pictures.aclose()
        await endpoint.aclose()


async def _probed(
    settings: Settings,
    endpoint: Endpoint,
    pictures: Pictures,
    lane: Lane,
    seed: int,
    told: Callable[[int, int], None],
) -> Probed:
    terms, prompt = await endpoint.terms(), prompt_of(settings.profile)
    line = Line(endpoint, terms, settings.attempts, asyncio.sleep)
    tasks: list[tuple[Drawn, str]] = [
        (drawn, colour) for drawn in await lane.run(draw, seed) for colour in drawn.boxes
    ]
    done = 0

    async def one(drawn: Drawn, colour: str) -> Answer:
        nonlocal done
        sent = await pictures.view(drawn.image, whole(drawn.image.size), terms.fit)
        request = request_targets(
            Query(f"the {colour} rectangle"), sent, terms, segment_targets_tool(terms, sent), prompt
        )
        numbers = await ask(line, request, lambda reply: _numbers(reply, terms))
        done += 1
        told(done, len(tasks))
        return Answer(drawn.boxes[colour], sent, numbers)

    async with asyncio.TaskGroup() as together:
        running = [together.create_task(one(*task)) for task in tasks]
    answers = tuple(task.result() for task in running)
    finding = await lane.run(examine, answers)
    verdict = Verdict(
        frame=finding.frame,
        mixed=finding.mixed,
        iou=finding.iou,
        scale=finding.scale,
        shift=finding.shift,
        residual=finding.residual,
        prompt=prompt.sha256,
        found=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return Probed(
        address=endpoint.address,
        terms=terms,
        dialect=(await endpoint.terms()).rungs[0],
        prompt=prompt,
        drawn=tuple(drawn for drawn, _ in tasks),
        answers=answers,
        rows=tuple(
            _row(drawn, colour, answer, named, finding)
            for (drawn, colour), answer, named in zip(tasks, answers, finding.named, strict=True)
        ),
        finding=finding,
        faults=(*finding.faults, *_misread(settings, terms, finding)),
        kept=await lane.run(keep, settings.verdicts, endpoint.address, terms.model, verdict),
    )


def _numbers(reply: ChatReply, terms: Terms) -> tuple[float, float, float, float] | None:
    """The first box of a reply as the model said it, in whatever frame; None where there is none to be read."""
    try:
        said = [check(shape(data, terms.asked.order).data, "") for data in extract(reply).answers]
    except RejectedReply:
        return None
    for answer in said:
        for target in answer.targets:
            a, b, c, d = target.bbox_2d
            return a, b, c, d
    return None


def _row(drawn: Drawn, colour: str, answer: Answer, named: Frame | None, finding: Finding) -> Row:
    height, width = answer.sent.size
    told = answer.numbers is not None and finding.frame is not None
    return Row(
        picture=drawn.image.name,
        size=f"{width} x {height}",
        colour=colour,
        numbers=answer.numbers,
        frame=None if named is None else str(named),
        iou=iou_of(answer, finding.frame) if told and finding.frame is not None else None,
    )


def _misread(settings: Settings, terms: Terms, finding: Finding) -> tuple[str, ...]:
    """Whether queries of this profile would read the replies in another frame than they are in."""
    if settings.profile == "paper" or finding.frame in {None, terms.read}:
        return ()
    known = "the released code's way" if settings.profile == "released-code" else "what this model's family speaks"
    remedy = f"GEOSEG_FRAME={finding.frame} reads them right"
    return (f"the replies are in {finding.frame}, but are read in {terms.read}, {known}; {remedy}",)
