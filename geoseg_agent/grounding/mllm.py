"""Stage 1 by a multimodal model: picture and query out, strictly validated targets in.

    terms     what this endpoint speaks and how its boxes are read
    cache     a reply to the same question, where there is one and a cache is wanted
    view      the picture as it is sent
    look      `samples` times side by side, each until it is valid or given up; see `looking`
    merge     several samples become one reply

Everything outside comes through the protocols of `geoseg_agent.grounding.chat`, so a trace can stand in for it.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from geoseg_agent.errors import EndpointError, GeoSegError, InvalidReply, first_error
from geoseg_agent.grounding.agreement import merge
from geoseg_agent.grounding.ask import Line, ask
from geoseg_agent.grounding.budget import Budget, current_budget
from geoseg_agent.grounding.cache import key_of
from geoseg_agent.grounding.closer import coarse
from geoseg_agent.grounding.endpoint.verdicts import is_off
from geoseg_agent.grounding.looking import Looking, look
from geoseg_agent.grounding.messages import prompt_of, request_review
from geoseg_agent.grounding.picture.sent_size import sent_size
from geoseg_agent.grounding.review import Review, parse_review, review_tool
from geoseg_agent.logs import log
from geoseg_prompts import Prompt, load
from geoseg_tools.geometry import whole

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from geoseg_agent.grounding.chat import Cache, Endpoint, Pictures, Terms
    from geoseg_agent.imagery import Image
    from geoseg_agent.settings import Settings
    from geoseg_agent.types import GroundingReply, Query, TargetMask
    from geoseg_tools.geometry import Box

CACHED = "the reply comes from the cache of earlier queries"


@dataclass(frozen=True, slots=True)
class Asking:
    """How a model is asked.

    Attributes:
        model: as configured, or None.
        prompt: of grounding.
        attempts: most requests for one reply.
        samples: replies per query.
        rounds: of review after segmentation.
        zooms: how often a model may look closer before it answers.
        max_tokens_total: most tokens per query, or None.
    """

    model: str | None
    prompt: Prompt
    attempts: int
    samples: int
    rounds: int
    zooms: int
    max_tokens_total: int | None

    @classmethod
    def of(cls, settings: Settings, prompt: tuple[str, str] | None = None) -> Asking:
        """From the settings; `prompt` (name, version) asks with an older one, as a replay must."""
        chosen = prompt_of(settings.profile) if prompt is None else load(*prompt)
        return cls(
            model=settings.model,
            prompt=chosen,
            attempts=settings.attempts,
            samples=settings.samples,
            rounds=settings.verify_rounds,
            # The paper's question is one question (Eq. 1). A replay knows the profile by its prompt.
            zooms=settings.zoom_rounds if chosen.name == "grounding" else 0,
            max_tokens_total=settings.max_tokens_total,
        )


class MllmGrounder:
    """A Grounder that asks a multimodal model, and lets it look at the result where rounds of review are wanted.

    Args:
        endpoint: where the model is.
        pictures: makes what is sent.
        cache: replies of earlier queries, or None.
        asking: how it is asked.
        sleep: waits before a request is repeated; a replay passes one that does not.
    """

    # Its parts record themselves, so that a replay runs everything between them for real.
    traced_inside = True

    def __init__(
        self,
        endpoint: Endpoint,
        pictures: Pictures,
        cache: Cache | None,
        asking: Asking,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.asking = asking
        self.prompt = asking.prompt
        self.rounds = asking.rounds
        self.engine = _engine(asking.model)
        # A replay sets it where the trace was of a single picture.
        self.whole_only = False
        self._endpoint = endpoint
        self._pictures = pictures
        self._cache = cache
        self._sleep = sleep

    async def ground(self, image: Image, query: Query) -> GroundingReply:
        """As `Grounder.ground`.

        Raises:
            InvalidReply: no reply kept to the rules, after re-asking.
            EndpointError: the endpoint failed for good.
            BudgetExceeded: the next request may cost more than is left; it was not made.
            ConfigError: the settings leave open how to read the model's boxes.
        """
        current_budget.set(Budget(self.asking.max_tokens_total))
        line = await self._line()
        reply = await self._known_or_asked(line, image, query, whole(image.size))
        return replace(reply, notes=(*reply.notes, *_doubts(line.terms)))

    async def ground_each(
        self, image: Image, query: Query, windows: Sequence[Box]
    ) -> list[GroundingReply | InvalidReply | EndpointError]:
        """What the model says of each window by itself, without closer looks; or why it said nothing.

        The first window is asked about alone, and its failure is that of all: nothing more is paid for then. The
        tokens of all are one budget.

        Args:
            image: as in `ground`.
            query: as in `ground`.
            windows: absolute pixels, inside the image; at least one.

        Raises:
            InvalidReply, EndpointError: the first window failed for good.
            BudgetExceeded, ConfigError: as `ground`.
        """
        current_budget.set(Budget(self.asking.max_tokens_total))
        line = await self._line()
        doubts = _doubts(line.terms)

        async def one(window: Box) -> GroundingReply | InvalidReply | EndpointError:
            try:
                return await self._known_or_asked(line, image, query, window)
            except (InvalidReply, EndpointError) as error:
                log.info("window lost", window=tuple(window), reason=error.message)
                return error

        first = await self._known_or_asked(line, image, query, windows[0])
        with first_error():
            async with asyncio.TaskGroup() as together:
                tasks = [together.create_task(one(window)) for window in windows[1:]]
        return [replace(first, notes=(*first.notes, *doubts)), *(task.result() for task in tasks)]

    async def review(self, image: Image, query: Query, targets: Sequence[TargetMask]) -> Review:
        """What the model says of the result, drawn over the picture: how good it is, and what to change.

        One request and at most one repetition, so that a review never takes long.

        Raises:
            InvalidReply, EndpointError, BudgetExceeded: as `ground`.
        """
        line = (await self._line())._replace(attempts=min(2, self.asking.attempts))
        terms, window = line.terms, whole(image.size)
        sent = await self._pictures.view(image, window, terms.fit, overlay=targets)
        tool = review_tool(len(targets))
        request = request_review(query, sent, targets, terms, tool, load("verify"))
        return await ask(line, request, lambda reply: parse_review(reply, terms, sent, len(targets)))

    async def aclose(self) -> None:
        """As `Grounder.aclose`."""
        for part in (self._endpoint, self._pictures, self._cache):
            if part is not None:
                await part.aclose()

    async def _line(self) -> Line:
        return Line(self._endpoint, await self._endpoint.terms(), self.asking.attempts, self._sleep, set())

    async def _known_or_asked(self, line: Line, image: Image, query: Query, window: Box) -> GroundingReply:
        if self._cache is None:
            return (await self._asked(line, image, query, window))[0]
        key = self._key(line.terms, image, query, window)
        known = await self._cache.get(key)
        # A file may have been changed by hand: what is not on the picture is not believed.
        if known is not None and all(window.contains(target.box) for target in known.targets):
            return replace(known, notes=(*known.notes, CACHED))
        reply, complete = await self._asked(line, image, query, window)
        if complete:
            await self._cache.put(key, reply)
        return reply

    async def _asked(self, line: Line, image: Image, query: Query, window: Box) -> tuple[GroundingReply, bool]:
        """The reply, and whether no sample was lost: a fault of the moment must not last in the cache."""
        sent = await self._pictures.view(image, window, line.terms.fit)
        looking = Looking(line, self._pictures, image, query, sent, self.prompt, self._zooms(image, window))
        if self.asking.samples == 1:
            return await look(looking, 0), True
        with first_error():
            async with asyncio.TaskGroup() as together:
                tasks = [
                    together.create_task(self._outcome(looking, number)) for number in range(self.asking.samples)
                ]
        outcomes = [task.result() for task in tasks]
        replies = [outcome for outcome in outcomes if not isinstance(outcome, GeoSegError)]
        if not replies:
            raise next(outcome for outcome in outcomes if isinstance(outcome, GeoSegError))
        merged = merge(replies, asked=self.asking.samples, max_targets=line.terms.max_targets)
        return merged, len(replies) == self.asking.samples

    async def _outcome(self, looking: Looking, number: int) -> GroundingReply | GeoSegError:
        """A sample that fails counts as disagreement; that another would cost too much ends the query."""
        try:
            return await look(looking, number)
        except (InvalidReply, EndpointError) as error:
            log.info("sample lost", sample=number, reason=str(error))
            return error

    def _zooms(self, image: Image, window: Box) -> int:
        """How often a sample may look closer: in a window of a search it is close already."""
        return self.asking.zooms if window == whole(image.size) else 0

    def _key(self, terms: Terms, image: Image, query: Query, window: Box) -> str:
        """Of everything that decides the reply; the wire's dialect and the server's name do not."""
        decides = {name: value for name, value in asdict(terms).items() if name not in {"server", "rungs", "proved"}}
        parts: dict[str, object] = {
            "image": image.sha256,
            "query": query.text,
            "address": self._endpoint.address,
            "prompt": self.prompt.sha256,
            "samples": self.asking.samples,
            "terms": decides,
        }
        if window != whole(image.size):
            parts["window"] = tuple(window)
        elif self.asking.zooms and coarse(image.size, sent_size(image.size, terms.fit)):
            parts["zoom"] = [self.asking.zooms, load("zoom").sha256, load("zoomed").sha256]
        return key_of(parts)


def _doubts(terms: Terms) -> tuple[str, ...]:
    """What speaks against reading the boxes as they are read, by the doctor's verdict: a remark at most."""
    verdict = terms.verdict
    if verdict is None or not is_off(verdict, terms.read):
        return ()
    if verdict.frame == terms.read:
        (sx, sy), (tx, ty) = verdict.scale, verdict.shift
        seen = f"boxes scaled by {sx:.3f}, {sy:.3f} and shifted by {tx:+.1f}, {ty:+.1f} px of the picture sent"
    else:
        known = " and ".join(verdict.mixed) or verdict.frame
        seen = f"boxes in {known or 'no known frame'}, while they are read in {terms.read}"
    return (f"`geoseg doctor grounding` found {seen} ({verdict.found}): they may be misplaced",)


def _engine(model: str | None) -> str:
    """The label of results: a model's name without who published it, or where it lies on a disk."""
    name = (model or "").rstrip("/").rpartition("/")[2]
    # A "+" separates the names of grounder and tools.
    return f"mllm:{name}".replace("+", "_") if name else "mllm"
