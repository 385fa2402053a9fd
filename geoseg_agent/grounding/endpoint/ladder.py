"""The ladder of dialects: where a server starts on it, proved by canaries, and which of its rungs are left."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from geoseg_agent.errors import DialectRefused, EndpointError, EndpointRefused
from geoseg_agent.grounding.endpoint.fingerprint import canary, proof_in
from geoseg_agent.grounding.endpoint.wire import KINDS
from geoseg_agent.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from geoseg_agent.grounding.chat import ChatReply, ChatRequest, Dialect

REMEMBERED: Final = 3600.0
"""Seconds for which fingerprint and canaries hold; a server may be restarted with other options."""


class Rungs(NamedTuple):
    """The ladder of one server.

    Attributes:
        rungs: the dialects left.
        proved: whether the first is enforced.
        certain: whether that was found out.
    """

    rungs: tuple[Dialect, ...]
    proved: bool
    certain: bool


class Ladder:
    """The dialects of one endpoint; what canaries show is remembered for a time, what was refused for good.

    Args:
        dialect: the only one, as the settings say, or None.
        complete: one request to the endpoint.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        dialect: Dialect | None,
        complete: Callable[[ChatRequest], Awaitable[ChatReply]],
        clock: Callable[[], float],
    ) -> None:
        self._dialect = dialect
        self._complete = complete
        self._clock = clock
        self._refused: set[Dialect] = set()
        self._proofs: dict[Dialect, tuple[str, float]] = {}

    def refuse(self, dialect: Dialect) -> None:
        """The endpoint does not speak this one."""
        self._refused.add(dialect)

    def holds(self, rungs: tuple[Dialect, ...]) -> bool:
        """Whether none of these was refused since."""
        return self._refused.isdisjoint(rungs)

    async def rungs(self, kind: str, model: str) -> Rungs:
        """The dialects from the first that a canary proves, or cannot disprove.

        Args:
            kind: one of `geoseg_agent.grounding.endpoint.wire.KINDS`.
            model: its name at the endpoint.
        """
        if self._dialect is not None:
            return Rungs((self._dialect,), proved=False, certain=True)
        order = KINDS[kind].rungs
        for place, rung in enumerate(order):
            if rung == "plain":
                break
            if rung in self._refused:
                continue
            proof = await self._prove(model, rung)
            if proof == "ignored" or rung in self._refused:
                continue
            rungs = tuple(one for one in order[place:] if one == "plain" or one not in self._refused)
            return Rungs(rungs, proved=proof == "enforced", certain=proof != "failed")
        return Rungs(("plain",), proved=False, certain=True)

    async def _prove(self, model: str, rung: Dialect) -> str:
        """What a canary shows: a `Proof`, or "failed" where it came to nothing, which is not remembered."""
        known, until = self._proofs.get(rung, ("", 0.0))
        if known and self._clock() < until:
            return known
        nonce = secrets.token_hex(4)
        try:
            proof: str = proof_in(await self._complete(canary(model, rung, nonce)), rung, nonce)
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
