"""What the wire says when it does not answer, as errors of this package: the one place that maps them.

    no connection, a broken one                   EndpointUnavailable
    silence                                       EndpointTimeout
    408, 409, 425, 429, 5xx but 501               EndpointUnavailable, with Retry-After; over 60 s EndpointRefused
    400, 404, 422, 501, a validating 500          DialectRefused where it names the dialect
    3xx, other 4xx, 501                           EndpointRefused
    200 without a completion in it                EndpointUnavailable; EndpointRefused where it is no JSON

No error made here refers to a request or a response, and what a server says is cut and cleaned: keys, pictures and
control characters stay out of messages, logs and traces. Raise outside of `except`, so that no context is kept.
"""

from __future__ import annotations

import email.utils
import json
import math
import re
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx2

from geoseg_agent.errors import (
    DialectRefused,
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
)
from geoseg_agent.grounding.endpoint.wire import DIALECT_FIELDS, EXTRAS, extras_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geoseg_agent.grounding.chat import Dialect

LONGEST_WAIT: Final = 60.0
"""Seconds that a server may ask to wait before a request is repeated."""

_MESSAGE = 300
_PASSING = frozenset({408, 409, 425, 429})
_VALIDATING = frozenset({400, 404, 422, 501})
_PASSES_VALIDATION: Final = re.compile(r"['\"]loc['\"]|validation error|_error['\"]", re.IGNORECASE)
_DATA: Final = re.compile(r"data:[\w/+.-]*;base64,[\w+/=-]*|[A-Za-z0-9+/=_-]{80,}")
_UNSUPPORTED: Final = re.compile(
    r"support|unrecogni[sz]ed|unknown|unexpected|not permitted|max_completion_tokens", re.IGNORECASE
)


@dataclass(frozen=True)
class Place:
    """Where something went wrong.

    Attributes:
        address: of the endpoint.
        model: asked for, or None.
        models: that the endpoint lists, where known.
        secret: what must not be repeated.
    """

    address: str
    model: str | None = None
    models: tuple[str, ...] = ()
    secret: str | None = field(default=None, repr=False)

    def clean(self, text: str) -> str:
        """What a server said, as one short line without secrets, pictures and control characters."""
        if self.secret:
            text = text.replace(self.secret, "***")
        text = _DATA.sub("...", text)
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= _MESSAGE else text[: _MESSAGE - 3] + "..."


class Answer(NamedTuple):
    """A response that is no success.

    Attributes:
        status: of HTTP, or the code of an error object inside a 200.
        headers: names in lower case.
        text: the beginning of the body.
    """

    status: int
    headers: Mapping[str, str]
    text: str


class Objection(NamedTuple):
    """What a refusal is about.

    Attributes:
        message: the server's words, not cleaned.
        extras: those of the request that it names.
        dialect: whether it names the way the answer was asked for.
        tokens: whether it wants max_completion_tokens in place of max_tokens.
    """

    message: str
    extras: frozenset[str] = frozenset()
    dialect: bool = False
    tokens: bool = False


def objection_of(answer: Answer, body: Mapping[str, Any] | None, dialect: Dialect | None) -> Objection:
    """What a response that is no success says about the request it answers."""
    message, named = _said(answer.text)
    validating = answer.status in _VALIDATING or (answer.status == 500 and _PASSES_VALIDATION.search(answer.text))
    if body is None or dialect is None or not validating:
        return Objection(message)
    words = f"{named} {message}"
    extras = frozenset(name for name in EXTRAS if _names(words, name)) & extras_in(body)
    if "strict" in extras_in(body) and re.search("invalid schema", words, re.IGNORECASE):
        extras |= {"strict"}
    return Objection(
        message,
        extras,
        dialect=any(_names(words, name) for name in DIALECT_FIELDS[dialect]),
        tokens="max_tokens" in body and _names(words, "max_tokens") and bool(_UNSUPPORTED.search(words)),
    )


def of_answer(place: Place, answer: Answer, objection: Objection) -> EndpointError:
    """The error for a response that is no success."""
    status, said = answer.status, place.clean(objection.message)
    says = f"{place.address} answers {status}" + (f": {said}" if said else "")
    if 300 <= status < 400:
        host = _host(answer.headers.get("location", ""))
        return EndpointRefused(
            f"{place.address} redirects" + (f" to {place.clean(host)}" if host else f" ({status})"),
            hint="redirects are not followed, they would take picture and key along; set GEOSEG_BASE_URL to where "
            "the endpoint is",
        )
    if status in _PASSING or (status >= 500 and status != 501 and not objection.dialect):
        wait = retry_after(answer.headers)
        if wait is not None and wait > LONGEST_WAIT:
            asks = f"{wait:.0f} s" if math.isfinite(wait) else "longer than anyone can"
            return EndpointRefused(
                f"{says} and asks to wait {asks}", hint="try again then, or use another endpoint or key"
            )
        return EndpointUnavailable(says, hint="the endpoint is busy or broken at the moment", retry_after=wait)
    if objection.dialect:
        return DialectRefused(says, hint="GEOSEG_DIALECT chooses how the answer is asked for")
    return EndpointRefused(says, hint=_hint(place, status))


def _hint(place: Place, status: int) -> str:
    if status in {401, 403}:
        given = "" if place.secret else "; none is set"
        return f"set GEOSEG_API_KEY to a key that the endpoint accepts{given}"
    if status == 404:
        known = ", ".join(place.clean(name) for name in place.models[:10])
        if known and place.model not in place.models:
            return f"set GEOSEG_MODEL to one of {known}"
        model = "set GEOSEG_MODEL" if place.model is None else "check GEOSEG_MODEL"
        if urlsplit(place.address).path in {"", "/"}:
            return f"GEOSEG_BASE_URL is the whole path, usually up to /v1: try {place.address.rstrip('/')}/v1"
        return f"{model}, and check that GEOSEG_BASE_URL is the whole path, usually up to /v1"
    if status == 413:
        return "the endpoint takes no request of this size; raise its limit"
    return "the endpoint does not take this request; asking again unchanged is pointless"


def of_failure(place: Place, error: BaseException) -> EndpointError:
    """The error for a failure of the SDK or of the connection below it."""
    cause = _innermost(error)
    reason = place.clean(str(_deepest(cause))) or place.clean(str(cause)) or type(cause).__name__
    if isinstance(cause, httpx2.TimeoutException | TimeoutError):
        return EndpointTimeout(f"{place.address} does not answer: {reason}", hint="check that the server is up")
    if isinstance(cause, ssl.SSLError) or (isinstance(cause, httpx2.ConnectError) and "SSL" in reason.upper()):
        return EndpointUnavailable(
            f"{place.address} has no TLS connection to offer: {reason}",
            hint="check its certificate, and http against https in GEOSEG_BASE_URL",
        )
    if isinstance(cause, httpx2.ConnectError):
        return EndpointUnavailable(
            f"{place.address} cannot be reached: {reason}", hint="check that the server is up and GEOSEG_BASE_URL"
        )
    if isinstance(cause, httpx2.LocalProtocolError | httpx2.UnsupportedProtocol | httpx2.InvalidURL):
        return EndpointError(f"no request can be made to {place.address}: {reason}", hint="check GEOSEG_BASE_URL")
    if isinstance(cause, httpx2.RequestError | OSError):
        return EndpointUnavailable(f"{place.address} broke the connection: {reason}", hint="the server may have died")
    return EndpointError(f"the request to {place.address} failed: {type(cause).__name__}: {reason}")


def bad_gateway(place: Place, why: str) -> EndpointUnavailable:
    """The error for a success whose body is no completion; asking again may help."""
    return EndpointUnavailable(
        f"{place.address} answers 200 and {place.clean(why)}", hint="a gateway or server in trouble answers like this"
    )


def not_compatible(place: Place, text: str) -> EndpointRefused:
    """The error for a page where a completion was expected."""
    return EndpointRefused(
        f"{place.address} is not an OpenAI-compatible endpoint: it answers {place.clean(text)[:80]!r}",
        hint="GEOSEG_BASE_URL is the whole path, usually up to /v1",
    )


def of_error_object(place: Place, error: Any) -> EndpointError:
    """The error for an error object inside a success; its code counts like a status where it is one."""
    message, _ = _said(json.dumps({"error": error}))
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, int) and not isinstance(code, bool) and 400 <= code < 500:
        return of_answer(place, Answer(code, {}, ""), Objection(message))
    return bad_gateway(place, f"an error: {message or 'without a message'}")


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that a server asks to wait (RFC 9110, 10.2.3; retry-after-ms is OpenAI's), or None.

    Args:
        headers: names in lower case.
        now: seconds since the epoch, for dates.
    """
    milliseconds = _seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _seconds(value)
    if seconds is None:
        try:
            when = email.utils.parsedate_to_datetime(value).timestamp()
        except (ValueError, OverflowError, TypeError):
            return None
        seconds = when - (time.time() if now is None else now)
    return seconds if seconds > 0 else None


def _seconds(value: str | None) -> float | None:
    """A plain decimal number over 0; more digits than a float has room for are infinite."""
    if value is None or not re.fullmatch(r"\s*\d+(\.\d*)?\s*", value):
        return None
    return float(value)


def _said(text: str) -> tuple[str, str]:
    """The words of an error body, and the fields it names; what it repeats of the request is left out."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return ("an HTML page" if re.match(r"\s*<", text) else text[: 4 * _MESSAGE]), ""
    if not isinstance(body, dict):
        return (body if isinstance(body, str) else ""), ""
    error = body.get("error") or body
    if isinstance(error, str):
        return error, ""
    if not isinstance(error, dict):
        return "", ""
    words = [str(error[key]) for key in ("message", "msg") if isinstance(error.get(key), str)]
    named = [str(error[key]) for key in ("param",) if isinstance(error.get(key), str)]
    detail = error.get("detail")
    if isinstance(detail, str):
        words.append(detail)
    for one in detail if isinstance(detail, list) else ():
        if isinstance(one, dict):
            place = one.get("loc")
            loc = ".".join(str(part) for part in place if part != "body") if isinstance(place, list) else ""
            named.append(loc)
            words.append(f"{loc}: {one.get('msg', '')}" if loc else str(one.get("msg", "")))
    return "; ".join(words), " ".join(named)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _names(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def _innermost(error: BaseException) -> BaseException:
    """The cause below the SDK's own errors that says most."""
    while not isinstance(error, httpx2.RequestError | ssl.SSLError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _deepest(error: BaseException) -> BaseException:
    """The system's error below, which says most; of several tried at once, the first."""
    found, below = error, error.__cause__ or error.__context__
    while below is not None:
        if isinstance(below, BaseExceptionGroup):
            below = below.exceptions[0]
        if isinstance(below, OSError):
            found = below
        below = below.__cause__ or below.__context__
    return found
