"""An OpenAI-compatible endpoint on the wire; no retries, no redirects, nothing from OPENAI_* variables.

terms      fingerprint (GET models) -> model -> how its boxes are read -> canary per dialect; then remembered
complete   one attempt, see `geoseg_agent.grounding.endpoint.attempts`
"""

from __future__ import annotations

import asyncio
import copy
from time import monotonic
from typing import TYPE_CHECKING

from geoseg_agent.errors import EndpointError, GeoSegError
from geoseg_agent.grounding.chat import FRAMES, Terms
from geoseg_agent.grounding.endpoint.attempts import Attempts
from geoseg_agent.grounding.endpoint.fingerprint import Fingerprint, hosted, only_model
from geoseg_agent.grounding.endpoint.ladder import REMEMBERED, Ladder
from geoseg_agent.grounding.endpoint.verdicts import find, is_off
from geoseg_agent.grounding.endpoint.wire import server_of
from geoseg_agent.grounding.messages import prompt_of
from geoseg_agent.grounding.model_profiles import agree
from geoseg_agent.grounding.together import Together
from geoseg_agent.lanes import Lane
from geoseg_agent.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2

    from geoseg_agent.grounding.chat import ChatReply, ChatRequest, Dialect, Verdict
    from geoseg_agent.grounding.model_profiles import Agreed
    from geoseg_agent.settings import Settings


class OpenAIEndpoint:
    """An `Endpoint` over HTTP.

    Args:
        settings: address, key, model, limits.
        transport: what carries the requests, for tests; by default TCP.
        clock: seconds that only grow, for what is remembered for a time.

    Raises:
        ConfigError: there is no address, or the key cannot be sent.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._attempts = Attempts(settings, transport)
        self.address = self._attempts.address
        self.model = settings.model
        self._settings = settings
        self._clock = clock
        self._ladder = Ladder(settings.dialect, self._attempts.complete, clock)
        self._print: Fingerprint | None = None
        self._print_until = 0.0
        self._terms: Terms | None = None
        self._terms_until = 0.0
        self._learning = Together(self._learn)
        self._warned: set[str] = set()

    async def terms(self) -> Terms:
        """As `Endpoint.terms`; asked for by many at once, it is found out once.

        Raises:
            ConfigError: no model is set and the endpoint has not exactly one, or the frame is left open.
            EndpointError: no model is set and the endpoint does not list its models.
        """
        if self._terms is not None and self._clock() < self._terms_until:
            return self._terms
        try:
            learned = await self._learning.result()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            learned = EndpointError(f"the connection to {self.address} was closed meanwhile")
        if isinstance(learned, GeoSegError):
            # Each query has an error of its own: it is told which trace it left.
            raise copy.copy(learned)
        return learned

    async def complete(self, request: ChatRequest) -> ChatReply:
        """As `Endpoint.complete`; waits for a free slot first, which does not count as time of the attempt."""
        return await self._attempts.complete(request)

    def step_down(self, refused: Dialect) -> None:
        """As `Endpoint.step_down`; the next query starts at, and first proves, what is left."""
        self._ladder.refuse(refused)
        self._terms = None

    async def aclose(self) -> None:
        """As `Endpoint.aclose`."""
        await self._learning.aclose()
        await self._attempts.aclose()

    async def _learn(self) -> Terms | GeoSegError:
        try:
            return await self._found_out()
        except GeoSegError as error:
            failure = error
        # Many will raise it; without the frames that it came through.
        return failure.with_traceback(None)

    async def _found_out(self) -> Terms:
        if self.model is not None:
            # What the settings leave open is said before anything is sent.
            await self._agreed(self.model)
        known = await self._fingerprint()
        self._attempts.known = known
        model = self.model or only_model(self.address, known.models)
        agreed, verdict = await self._agreed(model)
        self._warn(model, agreed, verdict)
        ladder = await self._ladder.rungs(known.kind, model)
        terms = Terms(
            server=server_of(known.kind),
            model=model,
            rungs=ladder.rungs,
            proved=ladder.proved,
            family=agreed.family,
            asked=agreed.asked,
            read=agreed.read,
            outside=agreed.outside,
            max_targets=agreed.max_targets,
            fit=agreed.fit,
            verdict=verdict,
        )
        if known.certain and ladder.certain and self._ladder.holds(terms.rungs):
            self._terms, self._terms_until = terms, self._clock() + REMEMBERED
        return terms

    async def _fingerprint(self) -> Fingerprint:
        """The list of models, read; what cannot be read is not remembered, and no failure where a model is set."""
        if self._print is not None and self._clock() < self._print_until:
            return self._print
        by_host = hosted(self.address)
        if by_host is not None and self.model is not None:
            return by_host
        outcome = await self._attempts.list_models()
        if isinstance(outcome, Fingerprint):
            self._print, self._print_until = outcome, self._clock() + REMEMBERED
            return outcome
        if self.model is None:
            raise outcome
        log.info("the endpoint does not list its models", address=self.address, reason=outcome.message)
        return Fingerprint("unknown", certain=False)

    async def _agreed(self, model: str) -> tuple[Agreed, Verdict | None]:
        settings = self._settings
        prompt = prompt_of(settings.profile).sha256
        # A home folder may lie on a network; a thread of its own for one small file an hour.
        io = Lane("verdict")
        try:
            verdict = await io.run(find, settings.verdicts, self.address, model, prompt)
        finally:
            io.close()
        frame = None if settings.frame is None else FRAMES[settings.frame]
        agreed = agree(
            model, frame=frame, profile=settings.profile, verdict=verdict, max_targets=settings.max_targets
        )
        return agreed, verdict

    def _warn(self, model: str, agreed: Agreed, verdict: Verdict | None) -> None:
        """Say once that the doctor found something else than replies are read by; nothing is corrected silently."""
        if verdict is None or verdict.found in self._warned:
            return
        if is_off(verdict, agreed.read):
            self._warned.add(verdict.found)
            log.warning(
                "`geoseg doctor grounding` found boxes of this model off",
                model=model,
                address=self.address,
                read=str(agreed.read),
                found=" and ".join(verdict.mixed) or str(verdict.frame),
                scale=[round(factor, 3) for factor in verdict.scale],
                shift=[round(pixels, 1) for pixels in verdict.shift],
                iou=round(verdict.iou, 2),
            )
