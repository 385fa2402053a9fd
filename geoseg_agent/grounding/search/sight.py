"""What a grounder sees in one picture, and what looking costs: from the settings alone, before anybody is asked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geoseg_agent.grounding.chat import Fit, Frame, SentImage, Terms
from geoseg_agent.grounding.closer import coarse
from geoseg_agent.grounding.messages import estimate_tokens, request_targets
from geoseg_agent.grounding.model_profiles import MOST_TARGETS, profile_of
from geoseg_agent.grounding.picture.sent_size import sent_size
from geoseg_agent.grounding.reply.contract import segment_targets_tool
from geoseg_tools.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.grounding.mllm import Asking
    from geoseg_agent.seams import Grounder
    from geoseg_agent.settings import Settings
    from geoseg_agent.types import Query
    from geoseg_prompts import Prompt

_SIDE = 1024
"""Longest side that a grounder of which nothing is known is given."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a grounder sees in one picture.

    Attributes:
        side: longest side of a square window that it sees at the window's own resolution, pixels.
        free: whether it asks nobody who has to be paid.
        samples: requests per picture.
        zooms: most further requests for a picture that shows its window reduced.
        fit: how large a picture it is sent, or None where it is given the image itself.
        text: tokens of a request without its picture, its answer included; 0 where nobody counts.
    """

    side: int
    free: bool
    samples: int = 1
    zooms: int = 0
    fit: Fit | None = None
    text: int = 0

    @classmethod
    def of(cls, grounder: Grounder, settings: Settings, query: Query) -> Sight:
        """That of a grounder; one that asks a model is judged by the model's name, as far as the settings say it."""
        asking: Asking | None = getattr(grounder, "asking", None)
        if asking is None:
            free = bool(getattr(grounder, "asks_nobody", False))
            return cls(getattr(grounder, "working_side", None) or _SIDE, free)
        fit = profile_of(asking.model or "").fit
        most = settings.max_targets or MOST_TARGETS
        text = _text(asking.prompt, most, fit, query)
        return cls(math.isqrt(fit.most) * fit.align, False, asking.samples, asking.zooms, fit, text)

    def calls(self, *, whole_image: bool = True) -> int:
        """Most paid requests for one picture; in a window nobody looks closer."""
        return 0 if self.free else self.samples * (1 + (self.zooms if whole_image else 0))

    def tokens(self, windows: Sequence[Box], *, whole_image: bool = True) -> int:
        """What looking at the windows costs, an upper estimate."""
        if self.fit is None or self.free:
            return 0
        fit, total = self.fit, 0
        for window in windows:
            height, width = sent_size(window.size, fit)
            rounds = 1 + (self.zooms if whole_image and coarse(window.size, (height, width)) else 0)
            total += self.samples * rounds * (height * width // fit.align**2 + self.text)
        return total


def _text(prompt: Prompt, most: int, fit: Fit, query: Query) -> int:
    """Tokens of a request beside its picture, by the estimate that the budget of tokens rests on."""
    frame = Frame("norm1000")
    terms = Terms(
        server="unknown",
        model="",
        rungs=("json_schema",),
        proved=False,
        family="",
        asked=frame,
        read=frame,
        outside="tolerate",
        max_targets=most,
        fit=fit,
    )
    sent = SentImage((fit.align, fit.align), Box(0, 0, 1, 1), "", "", None)
    tool = segment_targets_tool(terms, sent)
    request = request_targets(query, sent, terms, tool, prompt)
    return estimate_tokens(request, fit) - 1 + request.max_tokens
