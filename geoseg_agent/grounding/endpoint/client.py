"""The SDK's client, with nothing taken from the environment and nothing followed, repeated or logged by it."""

from __future__ import annotations

import logging
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import httpx2
from openai import AsyncOpenAI, AsyncStream

from geoseg_agent.errors import ConfigError, EndpointRefused
from geoseg_agent.grounding.endpoint.refusals import Answer
from geoseg_agent.versions import versions

if TYPE_CHECKING:
    from geoseg_agent.settings import Settings

KEEP_ALIVE: Final = 4.0
"""Seconds that an idle connection is kept; vLLM, SGLang and uvicorn close theirs after 5."""

_CONNECT = 10.0
_ERROR_BODY = 64 << 10
_TOLD = ("retry-after", "retry-after-ms", "location")


class Answered(Exception):
    """The endpoint answered with a status that is no success; internal to the wire."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Client:
    """One `openai.AsyncOpenAI` for an endpoint.

    Attributes:
        address: of the endpoint.
        secret: the key, or None.

    Args:
        settings: where, with which key, and how many requests at once.
        transport: what carries the requests, for tests; by default TCP.

    Raises:
        ConfigError: there is no address, or the key cannot be sent.
    """

    def __init__(self, settings: Settings, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        if settings.base_url is None:
            raise ConfigError("no endpoint is set", hint="set GEOSEG_BASE_URL, for example http://localhost:8000/v1")
        self.address = settings.base_url
        self.secret = settings.api_key.get_secret_value() if settings.api_key else None
        if self.secret is not None and not all("!" <= character <= "~" for character in self.secret):
            raise ConfigError(
                "the API key holds a space, a line break or another character that no header can carry",
                hint="set GEOSEG_API_KEY again",
            )
        # Both would log addresses, and on DEBUG (which OPENAI_LOG turns on) whole requests.
        for name in ("httpx2", "httpcore2", "openai"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._http = httpx2.AsyncClient(
            transport=transport,
            # Loading the system's certificates takes 50 ms; a connection without TLS needs none.
            verify=self.address.startswith("https:") or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            follow_redirects=False,
            trust_env=False,
            timeout=httpx2.Timeout(None, connect=min(_CONNECT, settings.call_timeout)),
            # One more than the calls, for the list of models.
            limits=httpx2.Limits(
                max_connections=settings.endpoint_calls + 1,
                max_keepalive_connections=settings.endpoint_calls + 1,
                keepalive_expiry=KEEP_ALIVE,
            ),
            event_hooks={"request": [self._own_headers], "response": [self._turn_away]},
        )
        self._sdk = AsyncOpenAI(
            api_key=self.secret or "none",
            organization="",
            project="",
            webhook_secret="",
            base_url=settings.base_url,
            max_retries=0,
            http_client=self._http,
        )

    async def post(self, path: str, content: bytes) -> httpx2.Response:
        """The open response to a JSON body; the caller closes it.

        Raises:
            Answered: the status is no success.
            openai.OpenAIError, httpx2.HTTPError: the request failed; both refer to it, so they must not get out.
        """
        response = await self._sdk.post(
            path, cast_to=httpx2.Response, content=content, stream=True, stream_cls=AsyncStream[Any]
        )
        return cast("httpx2.Response", response)

    async def get(self, path: str) -> httpx2.Response:
        """As `post`, without a body."""
        response = await self._sdk.get(path, cast_to=httpx2.Response, stream=True, stream_cls=AsyncStream[Any])
        return cast("httpx2.Response", response)

    async def aclose(self) -> None:
        """Close every connection; safe to call twice."""
        await self._http.aclose()

    async def _own_headers(self, request: httpx2.Request) -> None:
        """Replace the SDK's headers: those that OPENAI_* variables add, and what it tells of this machine.

        Compressed responses are not asked for: a small one may hold gigabytes.
        """
        own = {
            "host": urlsplit(str(request.url)).netloc,
            "accept": "application/json, text/event-stream",
            "accept-encoding": "identity",
            "user-agent": f"geoseg-agent/{versions()['geoseg-agent']}",
        }
        if self.secret is not None:
            own["authorization"] = f"Bearer {self.secret}"
        if request.method == "POST":
            own["content-type"] = "application/json"
        kept = ("content-length", "transfer-encoding")
        own |= {name: request.headers[name] for name in kept if name in request.headers}
        request.headers = httpx2.Headers(own)

    async def _turn_away(self, response: httpx2.Response) -> None:
        """Read the beginning of what is no success, before the SDK reads all of it."""
        packed = response.headers.get("content-encoding", "identity").lower()
        if packed != "identity":
            raise EndpointRefused(
                f"{self.address} compresses its answers, which was not asked for", hint="turn that off there"
            )
        if response.is_success:
            return
        text = b""
        # The status counts, even where the connection breaks behind it.
        with suppress(httpx2.RequestError):
            async for chunk in response.aiter_bytes():
                text += chunk
                if len(text) > _ERROR_BODY:
                    break
        headers = {name: response.headers[name] for name in _TOLD if name in response.headers}
        raise Answered(Answer(response.status_code, headers, text[:_ERROR_BODY].decode("utf-8", "replace")))
