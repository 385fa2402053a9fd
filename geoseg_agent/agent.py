"""The controller: one question to one image, as a straight line.

    Gate.enter        wait for a place; the deadline starts
    warm_up           the first query loads the models, the clock stopped
    recording         the journal is open before anything is paid
    ground            what and where                       skipped when the caller or the variant says so
    segment_target    for each target, together
    correct           the model looks at the result       when rounds of review are wanted
    agreement         the same on changed copies           when stability is wanted
    Segmentation      finished trace

It holds no retries, threads, clocks or environment access: those have one place each, behind the seams.
"""

from __future__ import annotations

from asyncio import TaskGroup
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from structlog.contextvars import bound_contextvars

from geoseg_agent import clicks
from geoseg_agent.admission import Gate, closed
from geoseg_agent.backends import engine_name, grounder_of, searching, toolbox_of
from geoseg_agent.correct import Corrected, correct
from geoseg_agent.errors import (
    ConfigError,
    DeadlineExceeded,
    InvalidReply,
    QueryError,
    ToolFailed,
    first_error,
)
from geoseg_agent.guard import GuardedGrounder, GuardedToolbox
from geoseg_agent.imagery import Image, as_image
from geoseg_agent.lanes import Lane
from geoseg_agent.logs import log
from geoseg_agent.routes import segment_clicked, segment_target
from geoseg_agent.segmentation import Segmentation
from geoseg_agent.settings import Settings
from geoseg_agent.steadiness import Reruns
from geoseg_agent.tiling import tiled
from geoseg_agent.trace.model import PromptRecord
from geoseg_agent.trace.record import Header, RecordingGrounder, RecordingSteadiness, RecordingToolbox, recording
from geoseg_agent.trace.store import Store
from geoseg_agent.types import MAX_PHRASE, GroundingReply, Target, clean_phrase
from geoseg_agent.versions import versions
from geoseg_tools.geometry import whole

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray

    from geoseg_agent.clicks import Asked
    from geoseg_agent.method import Method
    from geoseg_agent.seams import Grounder, Steadiness, Toolbox
    from geoseg_agent.trace.recorder import Recorder
    from geoseg_agent.types import Hints, TargetMask

    Picture = str | os.PathLike[str] | NDArray[np.uint8] | PIL.Image.Image | Image


class Agent:
    """Answers many queries with one set of backends; safe for thousands of concurrent calls.

    Args:
        settings: defaults to `Settings()`, that is, the environment.
        grounder: replaces the one that the settings name.
        toolbox: replaces the one that the settings name; it is closed with the Agent.
        steadiness: replaces how `settings.stability` is measured; replay knows it from the trace.

    Use it on one event loop.

    Raises:
        ConfigError: a backend is unknown or cannot be built as configured, or was built for other constants.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        grounder: Grounder | None = None,
        toolbox: Toolbox | None = None,
        steadiness: Steadiness | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self._guarded = GuardedToolbox(toolbox or toolbox_of(self.settings))
        found = searching(grounder or grounder_of(self.settings), self.settings)
        self._reviewer = GuardedGrounder(found)
        inside = getattr(found, "traced_inside", False)
        self._grounder: Grounder = self._reviewer if inside else RecordingGrounder(self._reviewer)
        self._prompt = _prompt(found)
        self.method = self.settings.method(dict(self._guarded.defaults))
        most = self.settings.max_encoded * len(self.settings.devices or ("auto",))
        tools = tiled(self._guarded, self.method.tile_side, most)
        self._tools: Toolbox = RecordingToolbox(tools)
        _check_built_for(self.method, self._guarded.fixed)
        self._gate = Gate(self.settings.max_running, self.settings.max_queued)
        self._reading = Lane("read")
        self._writing = Lane("write")
        self._fusing = Lane("fuse")
        folder = self.settings.traces
        self._store = None if folder == "none" else Store(Path(folder), self._writing)
        runs = steadiness or Reruns(found, tools, self.method, self._reading)
        self._steadiness = RecordingSteadiness(runs)
        self._closed = False
        log.info("ready", grounder=self._grounder.engine, tools=self._tools.engine, profile=self.settings.profile)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Release models, connections and threads; safe to call twice.

        Queries that run end with ConfigError, and their traces are written, before anything is released.
        """
        if self._closed:
            return
        self._closed = True
        await self._gate.close()
        await self._grounder.aclose()
        await self._tools.aclose()
        await self._writing.run(lambda: None)
        for lane in (self._reading, self._writing, self._fusing):
            lane.close()

    async def warm_up(self) -> None:
        """Load the models now; otherwise the first query waits for it, and its deadline does not.

        Raises:
            ConfigError: a device, a model or its weights are not there.
            ToolFailed: a model cannot be loaded.
        """
        if self._closed:
            raise closed()
        await self._guarded.warm_up()

    async def segment(
        self,
        image: Picture,
        query: str | None = None,
        *,
        hints: Hints | None = None,
        previous: Segmentation | None = None,
        deadline: float | None = None,
    ) -> Segmentation:
        """Ask `image` for what `query` refers to, or for what the points in `hints` are on.

        Args:
            image: a path, an (H, W, 3) uint8 RGB array, a Pillow image, or an `Image`.
            query: an open question or description, 1 to 2000 characters; None where points say it all.
            hints: what the caller already knows: a box, points, a phrase.
            previous: an answer on the same image that the points of `hints` correct: on a thing that is missing, or
                (x, y, False) on one that should not be there. Nothing is grounded again.
            deadline: seconds from admission; default `settings.deadline`.

        Returns:
            The answer. That nothing was found is an answer too: status "not_found".

        Raises:
            GeoSegError: one of the tree in `geoseg_agent.errors`; never an ExceptionGroup.
        """
        asked = clicks.asked(query, hints, previous)
        tape: Recorder | None = None
        with first_error(), _told_of(lambda: tape):
            async with self._gate.enter(self.settings.deadline if deadline is None else deadline) as clock_stopped:
                picture = await self._read(image)
                asked.check(picture, previous, self.method)
                if asked.hints.points and picture.scene.has_pixels:
                    await self._reading.run(asked.check_points, picture)
                with clock_stopped():
                    await self.warm_up()
                async with recording(self._store, self._header(picture, asked)) as tape:
                    with bound_contextvars(trace_id=tape.id):
                        answer = await self._answer(picture, asked, tape.id)
                        log.info("answered", status=answer.status, targets=len(answer.targets))
                        return await tape.finish(answer)

    async def _read(self, image: Picture) -> Image:
        if isinstance(image, Image):
            return image
        limits: dict[str, Any] = {"bands": self.settings.bands, "max_pixels": self.settings.max_pixels}
        return await self._reading.run(as_image, image, **limits)

    async def _answer(self, image: Image, asked: Asked, trace_id: str) -> Segmentation:
        query, hints = asked.query, asked.hints
        reply = await self._ground(image, asked)
        segment_one = segment_clicked if asked.clicked else segment_target

        async def segmented(target: Target, number: int) -> TargetMask:
            asked_for = self._tools, self.method, image, hints.named(target), hints, number
            return await segment_one(*asked_for, self._fusing, self.settings.max_pixels)

        async with TaskGroup() as together:
            tasks = [
                together.create_task(segmented(target, number))
                for number, target in enumerate(reply.targets, start=1)
            ]
        result = Corrected(tuple(task.result() for task in tasks), None, ())
        if self._grounds(asked) and self._reviewer.rounds:
            result = await correct(self._reviewer, segmented, image, query, result.targets)
        answer = Segmentation(
            image=image,
            query=query.text,
            status=reply.status,
            targets=result.targets,
            confidence=_confidence(result),
            engine=self._engine(asked),
            reasoning=reply.reasoning,
            notes=_notes((*reply.notes, *result.notes), result.targets, hints, self.method),
            trace_id=trace_id,
            hints=hints,
        )
        if not (self.settings.stability and answer.targets):
            return answer
        try:
            agreed = await self._steadiness.agreements(answer, self.settings.stability)
        except (ToolFailed, InvalidReply) as error:  # the answer stands, and may have been paid for
            note = f"how steady the answer is could not be measured: {error.message}"
            return replace(answer, notes=(*answer.notes, note))
        return replace(answer, confidence=sum(agreed) / len(agreed))

    async def _ground(self, image: Image, asked: Asked) -> GroundingReply:
        query, hints = asked.query, asked.hints
        if self._grounds(asked):
            return await self._grounder.ground(image, query)
        box = hints.box or whole(image.size)
        if asked.clicked:
            called = clicks.label(query, hints)
            return GroundingReply("found", (Target(box, called),), "The points come from the caller.")
        phrase = hints.phrase or clean_phrase(query.text[:MAX_PHRASE], error=QueryError)
        cut = len(query.text) > MAX_PHRASE and hints.phrase is None
        return GroundingReply(
            "found",
            (Target(box, phrase),),
            "The box comes from the caller." if hints.box else "The whole image is the target: nothing was grounded.",
            (f"Only the first {MAX_PHRASE} characters of the query were used as a phrase.",) if cut else (),
        )

    def _grounds(self, asked: Asked) -> bool:
        return not asked.clicked and asked.hints.box is None and self.method.plan.grounds

    def _engine(self, asked: Asked) -> str:
        tools = self._tools.engine
        return engine_name(self._grounder.engine, tools) if self._grounds(asked) else tools

    def _header(self, image: Image, asked: Asked) -> Header:
        return Header(
            engine=self._engine(asked),
            versions=versions(),
            weights=dict(self._tools.weights),
            settings=self.settings.recorded(),
            method=self.method.as_dict(),
            image=image,
            query=asked.query,
            hints=asked.hints,
            prompt=self._prompt if self._grounds(asked) else None,
        )


@contextmanager
def _told_of(tape: Callable[[], Recorder | None]) -> Iterator[None]:
    """Tell a deadline, which ends a query from outside of its recording, which trace it left."""
    try:
        yield
    except DeadlineExceeded as error:
        recorder = tape()
        if recorder is not None and recorder.saved:
            error.trace_id = recorder.id
        raise


def _prompt(grounder: Grounder) -> PromptRecord | None:
    """What a model is asked with, by a grounder whose conversation the trace holds."""
    prompt = getattr(grounder, "prompt", None) if getattr(grounder, "traced_inside", False) else None
    return prompt and PromptRecord(name=prompt.name, version=prompt.version, sha256=prompt.sha256)


def _confidence(result: Corrected) -> float | None:
    """The mean of the targets' confidences, or the review's verdict, or None: nothing is invented."""
    given = [found.target.confidence for found in result.targets if found.target.confidence is not None]
    if given and len(given) == len(result.targets):
        return sum(given) / len(given)
    return None if result.score is None else result.score / 10


def _check_built_for(method: Method, fixed: Mapping[str, Any]) -> None:
    """Refuse tools that were built with other constants than the trace would say."""
    for name, value in fixed.items():
        if getattr(method, name) != value:
            raise ConfigError(
                f"the toolbox was built with {name} {value!r}, the settings say {getattr(method, name)!r}",
                hint="build it from the same settings",
            )


def _notes(said: tuple[str, ...], targets: tuple[TargetMask, ...], hints: Hints, method: Method) -> tuple[str, ...]:
    unused = []
    if hints.points and not method.plan.points:
        unused.append(f"points were not used: the variant {method.variant} has no route A")
    elif (
        method.point_prompt == "each" and hints.earlier is None and any(not point.positive for point in hints.points)
    ):
        unused.append("points that are not on the thing were not used: each point prompts an object of its own")
    lost = [
        f"the point ({p.x}, {p.y}) lies in no target's region and was not used; give a box with it"
        for p in hints.points
        if not any(t.roi.x1 <= p.x < t.roi.x2 and t.roi.y1 <= p.y < t.roi.y2 for t in targets)
    ]
    return tuple(dict.fromkeys([*said, *(note for target in targets for note in target.notes), *unused, *lost]))
