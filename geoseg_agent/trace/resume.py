"""An interrupted query taken up again: replies that were paid for come from its trace, the rest from the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoseg_agent.trace import codec_chat
from geoseg_agent.trace.model import ChatStep, EndpointStep
from geoseg_agent.trace.tape_steps import Call, Tape, decoded

if TYPE_CHECKING:
    from geoseg_agent.grounding.chat import ChatReply, ChatRequest, Dialect, Endpoint, Terms
    from geoseg_agent.trace.model import Trace


class ResumedEndpoint:
    """An Endpoint in front of another one, that answers with what a trace holds as long as it holds it.

    The same request has the same reply: picture, prompt, dialect, seed and what was said before all belong to it. An
    attempt that failed then was not paid for and is made again.
    """

    def __init__(self, trace: Trace, live: Endpoint) -> None:
        self.address = live.address
        self.model = live.model
        self._tape = Tape(trace)
        self._live = live

    async def terms(self) -> Terms:
        """As `Endpoint.terms`; those of the trace, so that its requests come about again."""
        call = Call("endpoint", None, codec_chat.endpoint_input(self))
        while (step := self._tape.take(call)) is not None:
            if isinstance(step, EndpointStep) and step.output is not None:
                return decoded(step, codec_chat.decode_terms, step.output)
        return await self._live.terms()

    async def complete(self, request: ChatRequest) -> ChatReply:
        """As `Endpoint.complete`."""
        call = Call("chat", None, codec_chat.chat_input(request))
        while (step := self._tape.take(call)) is not None:
            if isinstance(step, ChatStep) and step.output is not None:
                return decoded(step, codec_chat.decode_chat, step.output)
        return await self._live.complete(request)

    def step_down(self, refused: Dialect) -> None:
        """As `Endpoint.step_down`."""
        self._live.step_down(refused)

    async def aclose(self) -> None:
        """As `Endpoint.aclose`."""
        await self._live.aclose()


def paid_replies(trace: Trace) -> int:
    """How many replies of a model the trace holds."""
    return sum(isinstance(step, ChatStep) and step.output is not None for step in trace.steps)
