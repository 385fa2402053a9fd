"""Where judgements are asked for: what is known comes from the ledger, the rest from the endpoint, each once.

Everything on the wire is the grounder's: `ask` repeats and re-asks, `OpenAIEndpoint` finds the dialect and bounds
the requests at once, `SentImages` encodes. What is malformed to the end is kept as such, for it was paid for; a
failure of the endpoint is not kept, so that a later run asks again. Where no reply comes at all, the run fails.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pydantic import ValidationError

from geoseg_agent.bench.judge.ledger import Kept, Ledger
from geoseg_agent.bench.judge.released import threes
from geoseg_agent.errors import EndpointError, EndpointRefused, InvalidReply
from geoseg_agent.grounding.ask import Line, ask
from geoseg_agent.grounding.budget import Budget, current_budget
from geoseg_agent.grounding.cache import key_of
from geoseg_agent.grounding.endpoint.openai_chat import OpenAIEndpoint
from geoseg_agent.grounding.picture.sent_image import SentImages
from geoseg_agent.imagery import read_whole
from geoseg_agent.lanes import Lane
from geoseg_agent.logs import log
from geoseg_tools.geometry import whole

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from geoseg_agent.bench.judge.rubric import Rubric, Said
    from geoseg_agent.bench.pairs import Pair
    from geoseg_agent.grounding.chat import ChatReply, ChatRequest, Fit
    from geoseg_agent.imagery import Image
    from geoseg_agent.settings import Settings

T = TypeVar("T")
R = TypeVar("R")

GIVE_UP = 16
"""Failures of the endpoint in a row that end a run: what does not answer will not answer the next pair either."""


class Question(NamedTuple):
    """One reply that is wanted.

    Attributes:
        pair: what it is about.
        part: which of the pair's questions this is.
        rubric: how it is asked.
        subject: what the judge is told was asked for.
        digests: of the image's file, the truth and the masks shown; they, not scores, tell judgements apart.
        sample: as in `Rubric.request`.
    """

    pair: Pair
    part: str
    rubric: Rubric
    subject: str
    digests: tuple[str, ...]
    sample: int = 0

    def key(self, model: str, bands: Sequence[int] | None) -> str:
        """Of everything that decides the reply of `model`, shown these bands of the image."""
        parts = {
            "pair": self.pair.id,
            "part": self.part,
            "mode": self.rubric.name,
            "prompt": self.rubric.prompt.sha256,
            "subject": self.subject,
            "shown": self.digests,
            "bands": bands,
            "model": model,
        }
        return key_of(parts)


class Outcome(NamedTuple):
    """What came of a question: a kept judgement, or the endpoint's failure."""

    kept: Kept | None
    failure: str | None = None

    @property
    def answer(self) -> dict[str, int | str] | None:
        """The valid answer, or None."""
        return None if self.kept is None else self.kept.answer


class Desk:
    """Asks one judge; an asynchronous context.

    Args:
        settings: where the judge is. Profile and frame mean nothing here, for no box is asked for.
        kept: file of judgements, or None.

    Attributes:
        model: the judge's name, one for the whole run; where the settings give none, inside the context the only one
            that the endpoint has.

    Raises:
        ConfigError: no endpoint is set; inside `async with` also, no model is and the endpoint has not exactly one.
        DatasetError: inside `async with`, the file of judgements cannot be read.
        EndpointError: likewise, no model is set and the endpoint does not list its models.
    """

    def __init__(self, settings: Settings, kept: Path | None) -> None:
        # The paper profile would want to know a frame before it asks.
        self.settings = settings.model_copy(update={"profile": "default", "frame": None})
        self._endpoint = OpenAIEndpoint(self.settings)
        self._pictures = SentImages(keep=0)
        self._ledger = Ledger(kept)
        self._lane = Lane("judge")
        self.model = self.settings.model or ""
        self._failures = 0
        self._reached = False
        self._last: EndpointError | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._ledger.open()
            # Told to the endpoint too: it may list another model an hour later.
            self.model = self._endpoint.model = self.model or (await self._endpoint.terms()).model
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Release threads and connections; safe to call twice."""
        self._lane.close()
        await self._ledger.aclose()
        await self._pictures.aclose()
        await self._endpoint.aclose()

    async def run(self, job: Callable[[], T]) -> T:
        """Run what reads, decodes or draws on the desk's thread: the pixels of one pair at a time are in memory."""
        return await self._lane.run(job)

    async def each(
        self, items: Sequence[T], job: Callable[[T], Awaitable[R]], told: Callable[[int, int], None]
    ) -> list[R]:
        """The job's results in the order of the items; `told` hears how many are done.

        As many jobs run side by side as there may be requests.

        Raises:
            EndpointError: the endpoint failed for all that was asked, and never answered before.
        """
        results: dict[int, R] = {}
        waiting = iter(enumerate(items))

        async def work() -> None:
            for number, item in waiting:
                results[number] = await job(item)
                told(len(results), len(items))

        async with asyncio.TaskGroup() as together:
            for _ in range(min(self.settings.endpoint_calls, len(items))):
                together.create_task(work())
        if self._last is not None and self._is_new():
            raise self._last
        return [results[number] for number in range(len(items))]

    async def ask(self, questions: Sequence[Question], draw: Callable[[Image, Fit], Image]) -> list[Outcome]:
        """The outcome of each question, all about one picture; it is drawn only where something is still to be asked.

        Args:
            questions: about one pair, with the same masks.
            draw: the composite, from the pair's image; runs on the desk's thread.

        Raises:
            EndpointError: it never answered and refuses this, or failed `GIVE_UP` times in a row.
            BudgetExceeded: a request may cost more tokens than the settings allow for one answer.
            ImageError, DatasetError: the picture cannot be made.
        """
        known = {question.part: self._known(question) for question in questions}
        wanted = [question for question in questions if known[question.part] is None]
        outcomes = {part: Outcome(kept) for part, kept in known.items() if kept is not None}
        if wanted:
            terms = await self._endpoint.terms()
            line = Line(self._endpoint, terms, self.settings.attempts, asyncio.sleep)
            path, (bands, most) = wanted[0].pair.image, (self.settings.bands, self.settings.max_pixels)
            picture = await self.run(lambda: draw(read_whole(path, bands=bands, max_pixels=most), terms.fit))
            sent = await self._pictures.view(picture, whole(picture.size), terms.fit)
            async with asyncio.TaskGroup() as together:
                asking = {
                    question.part: together.create_task(
                        self._one(
                            line,
                            question,
                            question.rubric.request(question.subject, sent, terms, sample=question.sample),
                        )
                    )
                    for question in wanted
                }
            outcomes |= {part: task.result() for part, task in asking.items()}
        return [outcomes[question.part] for question in questions]

    def _known(self, question: Question) -> Kept | None:
        kept = self._ledger.get(question.key(self.model, self.settings.bands))
        if kept is None or kept.answer is None:
            return kept
        try:
            question.rubric.checked(dict(kept.answer))
        except ValidationError:
            # A file may have been changed by hand.
            return None
        return kept

    async def _one(self, line: Line, question: Question, request: ChatRequest) -> Outcome:
        current_budget.set(Budget(self.settings.max_tokens_total))
        replies: list[ChatReply] = []

        def read(reply: ChatReply) -> Said:
            replies.append(reply)
            return question.rubric.read(reply)

        said, why = None, None
        try:
            said = await ask(line, request, read)
        except InvalidReply as error:
            why = error.message
        except EndpointError as error:
            return self._failed(question, error)
        self._failures, self._reached = 0, True
        kept = Kept(
            key=question.key(self.model, self.settings.bands),
            pair=question.pair.id,
            part=question.part,
            mode=question.rubric.name,
            model=self.model,
            prompt=question.rubric.prompt.sha256,
            predicted=list(question.digests[2:]),
            answer=None if said is None else said.answer,
            evidence="" if said is None else said.evidence,
            why=why,
            threes=threes(replies[0], question.rubric.keys) if "better" not in question.rubric.keys else 0,
            requests=len(replies),
        )
        await self._ledger.keep(kept)
        return Outcome(kept)

    def _failed(self, question: Question, error: EndpointError) -> Outcome:
        self._failures, self._last = self._failures + 1, error
        if self._failures >= GIVE_UP or (isinstance(error, EndpointRefused) and self._is_new()):
            raise error
        log.warning("judgement missing", pair=question.pair.id, part=question.part, reason=error.message)
        return Outcome(None, error.message)

    def _is_new(self) -> bool:
        """Whether this judge never answered, now or in an earlier run: then all failures may have one cause."""
        return not self._reached and not self._ledger.knows(self.model)
