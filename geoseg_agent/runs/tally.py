"""How far a run is, and at which pace."""

from __future__ import annotations

from time import perf_counter
from typing import NamedTuple, Protocol


class Cost(Protocol):
    """What came of one question, as far as it was paid for; None where nobody knows."""

    @property
    def calls(self) -> int | None:
        """Paid requests."""

    @property
    def tokens(self) -> int | None:
        """Of prompts and replies together."""


class Tally(NamedTuple):
    """How far a run is.

    Attributes:
        done: those with a result, those of earlier starts included.
        total: questions of the run.
        failed: of those done.
        calls: paid requests since this start.
        tokens: prompts and replies together, since this start.
        seconds_left: at the pace of this start, or None before its first result.
        tokens_left: likewise.
    """

    done: int
    total: int
    failed: int
    calls: int
    tokens: int
    seconds_left: float | None
    tokens_left: int | None


class Pace:
    """Counts what this start of a run has done.

    Args:
        total: questions of the run.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._fresh = self._calls = self._tokens = 0
        self._began = perf_counter()

    def start(self) -> None:
        """The first question is asked now."""
        self._began = perf_counter()

    def add(self, result: Cost) -> None:
        """A question was asked."""
        self._fresh += 1
        self._calls += result.calls or 0
        self._tokens += result.tokens or 0

    def tally(self, done: int, failed: int) -> Tally:
        """How far the run is, with `done` results in all, `failed` of them."""
        left, fresh = self._total - done, self._fresh
        seconds = (perf_counter() - self._began) / fresh * left if fresh else None
        tokens = round(self._tokens / fresh * left) if fresh else None
        return Tally(done, self._total, failed, self._calls, self._tokens, seconds, tokens)
