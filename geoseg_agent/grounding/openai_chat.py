"""An OpenAI-compatible endpoint on the wire; no retries, no redirects, nothing from OPENAI_* variables.

    terms      fingerprint (GET models) -> model -> how its boxes are read -> canary per dialect; then remembered
    complete   a slot -> request -> stream -> ChatReply, or an error of this package

A refusal that names an extra drops the extra for good and asks again at once, which is one more request; every other
failure is the caller's to repeat.
"""

from __future__ import annotations

import asyncio
import copy
import secrets
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple

from geoseg_agent.errors import (
    DialectRefused,
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    GeoSegError,
)
from geoseg_agent.grounding.chat import FRAMES, Call, Terms
from geoseg_agent.grounding.client import Answered, Client
from geoseg_agent.grounding.fingerprint import Fingerprint, canary, hosted, only_model, proof_in, recognise
from geoseg_agent.grounding.messages import prompt_of
from geoseg_agent.grounding.model_profiles import agree
from geoseg_agent.grounding.refusals import Answer, Place, objection_of, of_answer, of_failure
from geoseg_agent.grounding.stream import Listening, read_reply, read_whole
from geoseg_agent.grounding.together import Together
from geoseg_agent.grounding.verdicts import find
from geoseg_agent.grounding.wire import KINDS, DataUris, body_of, encoded, server_of
from geoseg_agent.lanes import Lane
from geoseg_agent.logs import log
from geoseg_agent.probe.fit import GOOD_SCALE, GOOD_SHIFT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    import httpx2

    from geoseg_agent.grounding.chat import ChatReply, ChatRequest, Dialect, Verdict
    from geoseg_agent.grounding.model_profiles import Agreed
    from geoseg_agent.grounding.wire import TokensField
    from geoseg_agent.settings import Settings

REMEMBERED: Final = 3600.0
"""Seconds for which fingerprint and canaries hold; a server may be restarted with other options."""

_LISTING = 5.0


class _Rungs(NamedTuple):
    """Where the ladder starts.

    Attributes:
        rungs: the dialects left.
        proved: whether the first is enforced.
        certain: whether that was found out.
    """

    rungs: tuple[Dialect, ...]
    proved: bool
    certain: bool


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
        self._client = Client(settings, transport)
        self.address = self._client.address
        self.model = settings.model
        self._settings = settings
        self._clock = clock
        self._calls = asyncio.Semaphore(settings.endpoint_calls)
        self._uris = DataUris()
        self._print: Fingerprint | None = None
        self._print_until = 0.0
        self._kind = (hosted(self.address) or Fingerprint("unknown")).kind
        self._models: tuple[str, ...] = ()
        self._without: set[str] = set()
        self._tokens: TokensField = "max_tokens"
        self._refused: set[Dialect] = set()
        self._proofs: dict[Dialect, tuple[str, float]] = {}
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
        async with self._calls:
            while True:
                body = body_of(request, self._kind, self._uris, without=self._without, tokens=self._tokens)
                outcome = await self._attempt(request, body)
                if isinstance(outcome, EndpointError):
                    raise outcome
                if not isinstance(outcome, Answer):
                    return outcome
                refusal = self._weigh(request, body, outcome)
                if refusal is not None:
                    raise refusal

    def step_down(self, refused: Dialect) -> None:
        """As `Endpoint.step_down`; the next query starts at, and first proves, what is left."""
        self._refused.add(refused)
        self._terms = None

    async def aclose(self) -> None:
        """As `Endpoint.aclose`."""
        await self._learning.aclose()
        await self._client.aclose()

    async def _attempt(self, request: ChatRequest, body: Mapping[str, Any]) -> ChatReply | Answer | EndpointError:
        """One request. Errors are returned: raised here, they would carry the request as their context."""
        place = self._place(request.model)
        how = Listening(place, _names_of(request), self._stops_early(), "think" in request.model.lower())
        try:
            async with asyncio.timeout(self._settings.call_timeout):
                response = await self._client.post("chat/completions", encoded(body))
                try:
                    reply = await read_reply(response.aiter_bytes(), how)
                finally:
                    await response.aclose()
                name = response.headers.get("x-request-id") or reply.request_id
                return _without(self._client.secret, replace(reply, request_id=place.clean(name) if name else None))
        except Answered as answered:
            return answered.answer
        except EndpointError as error:
            return error
        except TimeoutError:
            return EndpointTimeout(
                f"{self.address} did not answer within {self._settings.call_timeout:g} s",
                hint="raise GEOSEG_CALL_TIMEOUT, or check that the server is not overloaded",
            )
        except Exception as error:  # noqa: BLE001 - the SDK's, the client's, the TLS layer's: all mapped in one place
            return of_failure(place, error)

    def _weigh(self, request: ChatRequest, body: Mapping[str, Any], answer: Answer) -> EndpointError | None:
        """What a refusal comes to; None where the same request may do in another form, which is now remembered."""
        objection = objection_of(answer, body, request.dialect)
        if objection.extras:
            self._without |= objection.extras
            log.info("left out from now on", fields=sorted(objection.extras), address=self.address)
            return None
        if objection.tokens:
            self._tokens = "max_completion_tokens"
            return None
        return of_answer(self._place(request.model), answer, objection)

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
        self._kind, self._models = known.kind, known.models
        model = self.model or only_model(self.address, known.models)
        agreed, verdict = await self._agreed(model)
        self._warn(model, agreed, verdict)
        ladder = await self._ladder(model)
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
        if known.certain and ladder.certain and self._refused.isdisjoint(terms.rungs):
            self._terms, self._terms_until = terms, self._clock() + REMEMBERED
        return terms

    async def _fingerprint(self) -> Fingerprint:
        """The list of models, read; what cannot be read is not remembered, and no failure where a model is set."""
        if self._print is not None and self._clock() < self._print_until:
            return self._print
        by_host = hosted(self.address)
        if by_host is not None and self.model is not None:
            return by_host
        outcome = await self._list_models()
        if isinstance(outcome, Fingerprint):
            self._print, self._print_until = outcome, self._clock() + REMEMBERED
            return outcome
        if self.model is None:
            raise outcome
        log.info("the endpoint does not list its models", address=self.address, reason=outcome.message)
        return Fingerprint("unknown", certain=False)

    async def _list_models(self) -> Fingerprint | EndpointError:
        place = self._place(None)
        try:
            async with asyncio.timeout(min(_LISTING, self._settings.call_timeout)):
                response = await self._client.get("models")
                try:
                    return recognise(self.address, await read_whole(response.aiter_bytes(), place))
                finally:
                    await response.aclose()
        except Answered as answered:
            if answered.answer.status in {404, 405, 501} and self.model is not None:
                return Fingerprint("unknown")
            return of_answer(place, answered.answer, objection_of(answered.answer, None, None))
        except EndpointError as error:
            return error
        except TimeoutError:
            return EndpointTimeout(f"{self.address} did not list its models within {_LISTING:g} s")
        except Exception as error:  # noqa: BLE001 - as in _attempt
            return of_failure(place, error)

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
        off = max(abs(factor - 1) for factor in verdict.scale) > GOOD_SCALE
        off = off or max(abs(pixels) for pixels in verdict.shift) > GOOD_SHIFT
        if off or verdict.frame != agreed.read:
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

    async def _ladder(self, model: str) -> _Rungs:
        """The dialects from the first that a canary proves, or cannot disprove."""
        if self._settings.dialect is not None:
            return _Rungs((self._settings.dialect,), proved=False, certain=True)
        order = KINDS[self._kind].rungs
        for place, rung in enumerate(order):
            if rung == "plain":
                break
            if rung in self._refused:
                continue
            proof = await self._prove(model, rung)
            if proof == "ignored" or rung in self._refused:
                continue
            rungs = tuple(one for one in order[place:] if one == "plain" or one not in self._refused)
            return _Rungs(rungs, proved=proof == "enforced", certain=proof != "failed")
        return _Rungs(("plain",), proved=False, certain=True)

    async def _prove(self, model: str, rung: Dialect) -> str:
        """What a canary shows: a `Proof`, or "failed" where it came to nothing, which is not remembered."""
        known, until = self._proofs.get(rung, ("", 0.0))
        if known and self._clock() < until:
            return known
        nonce = secrets.token_hex(4)
        try:
            proof: str = proof_in(await self.complete(canary(model, rung, nonce)), rung, nonce)
        except DialectRefused:
            self._refused.add(rung)
            return "ignored"
        except EndpointRefused as error:
            # The question itself will tell, and be refused for good where this was.
            log.info("canary refused", dialect=rung, reason=error.message)
            proof = "unclear"
        except EndpointError as error:
            log.info("canary failed", dialect=rung, reason=error.message)
            return "failed"
        self._proofs[rung] = (proof, self._clock() + REMEMBERED)
        return proof

    def _stops_early(self) -> bool:
        wanted = self._settings.early_stop
        return wanted == "on" or (wanted == "auto" and KINDS[self._kind].self_hosted)

    def _place(self, model: str | None) -> Place:
        return Place(self.address, model, self._models, self._client.secret)


def _names_of(request: ChatRequest) -> frozenset[str]:
    """Keys by which an answer is told from other JSON; "reasoning" alone tells nothing."""
    return frozenset(request.tool.schema.get("properties", ())) - {"reasoning"}


def _without(secret: str | None, reply: ChatReply) -> ChatReply:
    """The reply with the key blotted out, should a server repeat it: replies are kept verbatim in traces."""
    if not secret or secret not in repr(reply):
        return reply

    def blotted(text: str | None) -> str | None:
        return None if text is None else text.replace(secret, "***")

    return replace(
        reply,
        content=blotted(reply.content),
        reasoning=blotted(reply.reasoning),
        refusal=blotted(reply.refusal),
        finish=blotted(reply.finish),
        calls=tuple(Call(*(part.replace(secret, "***") for part in call)) for call in reply.calls),
    )
