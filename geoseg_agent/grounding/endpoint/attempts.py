"""Requests to an OpenAI-compatible endpoint, one attempt each: a slot -> request -> stream -> reply or error.

A refusal that names an extra drops the extra for good and asks again at once, which is one more request; every other
failure is the caller's to repeat. Errors are made, not raised, next to the wire: raised there they would carry the
request, with picture and key, as their context.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from geoseg_agent.errors import EndpointError, EndpointTimeout
from geoseg_agent.grounding.chat import Call
from geoseg_agent.grounding.endpoint.client import Answered, Client
from geoseg_agent.grounding.endpoint.fingerprint import Fingerprint, hosted, recognise
from geoseg_agent.grounding.endpoint.refusals import Answer, Place, objection_of, of_answer, of_failure
from geoseg_agent.grounding.endpoint.stream import Listening, read_reply, read_whole
from geoseg_agent.grounding.endpoint.wire import KINDS, DataUris, body_of, encoded
from geoseg_agent.logs import log

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import httpx2

    from geoseg_agent.grounding.chat import ChatReply, ChatRequest
    from geoseg_agent.grounding.endpoint.wire import TokensField
    from geoseg_agent.settings import Settings

_LISTING = 5.0

_SHORTEST_SECRET = 8
"""Characters of a key worth hiding; a shorter one stands for none ("EMPTY", "x") and may be part of any reply."""


class Attempts:
    """What is sent to one endpoint, at most `endpoint_calls` requests at once.

    Attributes:
        address: of the endpoint.
        known: its fingerprint, as far as it is known; requests are written for that kind of server.

    Args:
        settings: address, key, model, limits.
        transport: what carries the requests, for tests; by default TCP.

    Raises:
        ConfigError: there is no address, or the key cannot be sent.
    """

    def __init__(self, settings: Settings, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self._client = Client(settings, transport)
        self.address = self._client.address
        self.known = hosted(self.address) or Fingerprint("unknown")
        key = self._client.secret
        self._secret = key if key is not None and len(key) >= _SHORTEST_SECRET else None
        self._settings = settings
        self._calls = asyncio.Semaphore(settings.endpoint_calls)
        self._uris = DataUris()
        self._without: set[str] = set()
        self._tokens: TokensField = "max_tokens"

    async def complete(self, request: ChatRequest) -> ChatReply:
        """As `Endpoint.complete`; waits for a free slot first, which does not count as time of the attempt."""
        async with self._calls:
            while True:
                body = body_of(request, self.known.kind, self._uris, without=self._without, tokens=self._tokens)
                outcome = await self._attempt(request, body)
                if isinstance(outcome, EndpointError):
                    raise outcome
                if not isinstance(outcome, Answer):
                    return outcome
                refusal = self._weigh(request, body, outcome)
                if refusal is not None:
                    raise refusal

    async def list_models(self) -> Fingerprint | EndpointError:
        """The fingerprint that the list of models gives, or why there is none; outside of the slots."""
        place = self._place(None)
        try:
            async with asyncio.timeout(min(_LISTING, self._settings.call_timeout)):
                response = await self._client.get("models")
                try:
                    return recognise(self.address, await read_whole(response.aiter_bytes(), place))
                finally:
                    await response.aclose()
        except Answered as answered:
            if answered.answer.status in {404, 405, 501} and self._settings.model is not None:
                return Fingerprint("unknown")
            return of_answer(place, answered.answer, objection_of(answered.answer, None, None))
        except EndpointError as error:
            return error
        except TimeoutError:
            return EndpointTimeout(f"{self.address} did not list its models within {_LISTING:g} s")
        except Exception as error:  # noqa: BLE001 - as in _attempt
            return of_failure(place, error)

    async def aclose(self) -> None:
        """Close every connection; safe to call twice."""
        await self._client.aclose()

    async def _attempt(self, request: ChatRequest, body: Mapping[str, Any]) -> ChatReply | Answer | EndpointError:
        """One request; see above for why errors are returned."""
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
                return _without(self._secret, replace(reply, request_id=place.clean(name) if name else None))
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

    def _stops_early(self) -> bool:
        wanted = self._settings.early_stop
        return wanted == "on" or (wanted == "auto" and KINDS[self.known.kind].self_hosted)

    def _place(self, model: str | None) -> Place:
        return Place(self.address, model, self.known.models, self._secret)


def _names_of(request: ChatRequest) -> frozenset[str]:
    """Keys by which an answer is told from other JSON; "reasoning" alone tells nothing."""
    return frozenset(request.tool.schema.get("properties", ())) - {"reasoning"}


def _without(secret: str | None, reply: ChatReply) -> ChatReply:
    """The reply with the key blotted out, should a server repeat it: replies are kept verbatim in traces."""
    if secret is None:
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
