"""A reply that breaks rules, and which: in words that can be told to the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from geoseg_agent.errors import InvalidReply

if TYPE_CHECKING:
    from collections.abc import Sequence


class Violation(NamedTuple):
    """One rule that a reply breaks.

    Attributes:
        path: where, for example "targets[0].bbox_2d[2]"; empty for the reply as a whole.
        value: what stands there, at most 80 characters.
        rule: what is expected, as an instruction: "must be a number".
    """

    path: str
    value: str
    rule: str


class RejectedReply(InvalidReply):
    """A reply of a model broke rules; asking again with them may help.

    Attributes:
        violations: each rule broken, at least one.
        truncated: whether the reply was cut off, so that more room may help.
    """

    def __init__(self, violations: Sequence[Violation], *, truncated: bool = False) -> None:
        first, more = violations[0], len(violations) - 1
        where = first.path or "the reply"
        super().__init__(
            f"{where} is {first.value}: {first.rule}" + (f"; and {more} more like this" if more else ""),
        )
        self.violations = tuple(violations)
        self.truncated = truncated
