"""One question to a model, until there is a valid answer or a reason to give up: the one place that retries.

    request -> wire -> read                      valid: done
               wire fails, may work later        wait (full jitter, or as the server says), same request again
               server lacks the dialect          next dialect, at once
                         reply breaks a rule     the rules broken are told to the model, at most twice

All requests together are at most `attempts`; only those in a dialect that the server refuses do not count, because
it does no work for them. The deadline is the caller's: cancellation passes through everything here.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

from geoseg_agent.errors import DialectRefused, EndpointTimeout, EndpointUnavailable, InvalidReply
from geoseg_agent.grounding.budget import current_budget
from geoseg_agent.grounding.messages import reask, with_dialect
from geoseg_agent.grounding.reply.rejected import RejectedReply
from geoseg_agent.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tenacity import RetryCallState

    from geoseg_agent.grounding.chat import ChatReply, ChatRequest, Dialect, Endpoint, Terms

T = TypeVar("T")

REASKS = 2
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 8.0


class Line(NamedTuple):
    """How questions reach the model.

    Attributes:
        endpoint: where the model is.
        terms: those of the query.
        attempts: most requests for one answer.
        sleep: waits for a number of seconds; a replay does not.
        refused: dialects that the server refused to an earlier question of the same query, or None: each question
            finds out for itself.
    """

    endpoint: Endpoint
    terms: Terms
    attempts: int
    sleep: Callable[[float], Awaitable[None]]
    refused: set[Dialect] | None = None


async def ask(line: Line, request: ChatRequest, read: Callable[[ChatReply], T]) -> T:
    """What `read` makes of the model's reply to `request`.

    Args:
        line: how to reach the model.
        request: in the first of the terms' dialects.
        read: raises RejectedReply where the reply breaks a rule.

    Raises:
        InvalidReply: the replies broke rules to the end; the message names the last ones.
        EndpointError: the endpoint failed for good, or on every attempt.
        BudgetExceeded: the next request may cost more tokens than are left.
    """
    sending = _Sending(line)
    reasked = 0
    while True:
        request, reply = await sending.deliver(request)
        try:
            return read(reply)
        except RejectedReply as rejected:
            if reasked == REASKS or sending.left == 0:
                raise InvalidReply(
                    f"after {sending.made} requests the model's reply is still not valid: {rejected.message}",
                    hint="`geoseg trace show` prints what it said; another model or GEOSEG_DIALECT may do better",
                ) from rejected
            log.info("reply rejected", reason=rejected.message)
            request = reask(request, reply, rejected)
            reasked += 1


class _Sending:
    """Sends requests of one question and counts them."""

    def __init__(self, line: Line) -> None:
        self._line = line
        rungs, refused = line.terms.rungs, line.refused or set()
        self._rungs: tuple[Dialect, ...] = tuple(rung for rung in rungs if rung not in refused) or rungs[-1:]
        self.made = 0

    @property
    def left(self) -> int:
        return self._line.attempts - self.made

    async def deliver(self, request: ChatRequest) -> tuple[ChatRequest, ChatReply]:
        """The reply, and the request as it was answered: in the dialect that the server speaks."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((EndpointUnavailable, EndpointTimeout)),
            stop=stop_after_attempt(self.left),
            wait=_pause,
            sleep=self._line.sleep,
            before_sleep=_tell,
            reraise=True,
        )
        try:
            return await retrying(self._once, request)
        except (EndpointUnavailable, EndpointTimeout) as error:
            if self.made == 1:
                raise
            # The same kind of error, which says what was tried.
            raise type(error)(f"{error.message}; gave up after {self.made} requests", hint=error.hint) from error

    async def _once(self, request: ChatRequest) -> tuple[ChatRequest, ChatReply]:
        """One attempt, in the first dialect that the server does not refuse."""
        self.made += 1
        while True:
            spoken = with_dialect(request, self._rungs[0])
            try:
                return spoken, await self._paid(spoken)
            except DialectRefused as refused:
                self._line.endpoint.step_down(spoken.dialect)
                if self._line.refused is not None:
                    self._line.refused.add(spoken.dialect)
                if len(self._rungs) == 1:
                    raise
                self._rungs = self._rungs[1:]
                log.info("stepped down", refused=spoken.dialect, to=self._rungs[0], reason=refused.message)

    async def _paid(self, request: ChatRequest) -> ChatReply:
        budget, fit = current_budget.get(), self._line.terms.fit
        reserved = budget.reserve(request, fit)
        reply: ChatReply | None = None
        try:
            reply = await self._line.endpoint.complete(request)
        finally:
            budget.settle(reserved, request, fit, reply)
        return reply


def _pause(state: RetryCallState) -> float:
    """Seconds to wait: as the server says and a little more, else full jitter (AWS Architecture Blog, 2015)."""
    after = getattr(_error(state), "retry_after", None)
    if after is not None:
        return float(after) * random.uniform(1.0, 1.25)  # noqa: S311 - spreads clients out, keeps no secret
    most = min(_LONGEST_WAIT, _FIRST_WAIT * 2**state.attempt_number)
    return random.uniform(0.0, most)  # noqa: S311 - the same


def _tell(state: RetryCallState) -> None:
    wait = 0.0 if state.next_action is None else state.next_action.sleep
    log.info("asking again", after=round(wait, 2), reason=str(_error(state)))


def _error(state: RetryCallState) -> Any:
    return None if state.outcome is None else state.outcome.exception()
