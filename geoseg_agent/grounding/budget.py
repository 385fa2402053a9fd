"""What one query may cost in tokens, looked at before every request."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from geoseg_agent.errors import BudgetExceeded
from geoseg_agent.grounding.messages import estimate_tokens

if TYPE_CHECKING:
    from geoseg_agent.grounding.chat import ChatReply, ChatRequest, Fit

_CHARACTERS = 3  # of a reply, per token: fewer than any tokenizer of these models makes of JSON


class Budget:
    """Counts the tokens of one query: what the server says, and an upper estimate where it says nothing.

    Args:
        most: tokens allowed in all, or None for any number.
    """

    def __init__(self, most: int | None) -> None:
        self.most = most
        self.spent = 0
        self._reserved = 0

    def reserve(self, request: ChatRequest, fit: Fit) -> int:
        """Set aside what the request may cost at most, and say how much that is.

        Raises:
            BudgetExceeded: it may cost more than is left; the request must not be made.
        """
        cost = estimate_tokens(request, fit) + request.max_tokens
        if self.most is not None and self.spent + self._reserved + cost > self.most:
            raise BudgetExceeded(
                f"the next request may cost {cost} tokens; {self.spent + self._reserved} of {self.most} are spent "
                "or on their way",
                hint="raise GEOSEG_MAX_TOKENS_TOTAL, or lower GEOSEG_SAMPLES, GEOSEG_VERIFY_ROUNDS or "
                "GEOSEG_MAX_TARGETS",
            )
        self._reserved += cost
        return cost

    def settle(self, reserved: int, request: ChatRequest, fit: Fit, reply: ChatReply | None) -> None:
        """Replace what was set aside by what was spent; a request without a reply cost nothing."""
        self._reserved -= reserved
        if reply is None:
            return
        if reply.usage is not None:
            self.spent += reply.usage.prompt + reply.usage.completion
            return
        texts = (reply.content, reply.reasoning, *(call.arguments for call in reply.calls))
        written = sum(len(text) for text in texts if text)
        self.spent += estimate_tokens(request, fit) + min(-(-written // _CHARACTERS), request.max_tokens)


# The budget of the query at hand: grounding opens it, the rounds of review after segmentation draw on it too.
current_budget: ContextVar[Budget] = ContextVar("current_budget", default=Budget(None))  # noqa: B039 - never filled
