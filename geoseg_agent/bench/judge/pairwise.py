"""`compare`: which of two systems answers a query better, asked in both orders, because judges prefer a place.

A first     B first      counts as
first       second       a win of A
second      first        a win of B
anything else            a tie: the judge said so once, or it chose a place and not a result
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

from geoseg_agent.bench.judge.cases import check_ids, read_masks
from geoseg_agent.bench.judge.composite import composite
from geoseg_agent.bench.judge.desk import Desk, Question, each
from geoseg_agent.bench.judge.family import kinship
from geoseg_agent.bench.judge.resample import interval
from geoseg_agent.bench.judge.rubric import pairwise_rubric, subject_of
from geoseg_agent.errors import first_error
from geoseg_agent.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from geoseg_agent.bench.judge.cases import Duel, Masks
    from geoseg_agent.bench.judge.rubric import Better, Rubric
    from geoseg_agent.grounding.chat import Fit
    from geoseg_agent.imagery import Image
    from geoseg_agent.settings import Settings
    from geoseg_prompts import Prompt

Winner = Literal["a", "b", "tie"]


@dataclass(frozen=True, slots=True)
class Compared:
    """How one pair came out.

    Attributes:
        pair: its id.
        image: its file; pairs of one image are resampled together.
        a_first: which place the judge chose where A stood first, or None: malformed, or the endpoint failed.
        b_first: the same where B stood first.
    """

    pair: str
    image: str
    a_first: Better | None
    b_first: Better | None

    @property
    def winner(self) -> Winner | None:
        """The one that both orders agree on, else a tie; None where an order is missing."""
        if self.a_first is None or self.b_first is None:
            return None
        if (self.a_first, self.b_first) == ("first", "second"):
            return "a"
        return "b" if (self.a_first, self.b_first) == ("second", "first") else "tie"

    @property
    def is_split(self) -> bool:
        """Whether the judge chose the same place in both orders."""
        return self.a_first == self.b_first and self.a_first in {"first", "second"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """All pairs of a comparison.

    Attributes:
        model: the judge.
        prompt: that it was asked with.
        pairs: in the order of the duels.
        warnings: what a reader should know.
    """

    model: str
    prompt: Prompt
    pairs: tuple[Compared, ...]
    warnings: tuple[str, ...] = ()

    def summary(self, *, seed: int = 0) -> dict[str, Any]:
        """The figures as JSON values.

        "a_share" is wins of A and half of the ties over the pairs judged, with its 95 % interval (bootstrap by
        image). "position_bias" is (first - second) / (first + second) over the replies that chose a place: 0 is
        fair, 1 always the first; None where none did. Each system stands first once in every pair judged, so a fair
        judge has 0.
        """
        judged = [(one, one.winner) for one in self.pairs if one.winner is not None]
        replies = [place for one, _ in judged for place in (one.a_first, one.b_first)]
        first, second = replies.count("first"), replies.count("second")
        winners = [winner for _, winner in judged]
        shares = [{"a": 1.0, "b": 0.0, "tie": 0.5}[winner] for winner in winners]
        return {
            "judge": self.model,
            "prompt": {"name": self.prompt.name, "version": self.prompt.version, "sha256": self.prompt.sha256},
            "pairs": len(self.pairs),
            "judged": len(judged),
            "missing": len(self.pairs) - len(judged),
            "a_wins": winners.count("a"),
            "b_wins": winners.count("b"),
            "ties": winners.count("tie"),
            "ties_of_split_orders": sum(one.is_split for one, _ in judged),
            "a_share": sum(shares) / len(shares) if shares else None,
            "a_share_interval": interval(shares, [one.image for one, _ in judged], seed=seed) if shares else None,
            "position_bias": (first - second) / (first + second) if first + second else None,
            "replies": {"first": first, "second": second, "tie": replies.count("tie")},
            "warnings": list(self.warnings),
        }


async def compare(
    duels: Sequence[Duel],
    settings: Settings,
    *,
    kept: Path | None = None,
    grounders: Sequence[str | None] = (),
    prompt: str | None = None,
    told: Callable[[int, int], None] = lambda _done, _total: None,
) -> Comparison:
    """Ask for every pair which of two masks is better, once with each of them first.

    Args:
        duels: what to compare; ids of pairs are unique.
        settings: the judge's, as for `geoseg_agent.bench.judge.scoring.judge`.
        kept: file of judgements, as there; the two may share one.
        grounders: models or engines of A and B, for the warning of `kinship`.
        prompt: its version; the newest where None.
        told: called with the number of duels done, and of all.

    Raises:
        ConfigError, DatasetError, ImageError, EndpointError, BudgetExceeded: as there.
    """
    check_ids([duel.pair for duel in duels])
    rubric = pairwise_rubric(prompt)
    with first_error():
        async with Desk(settings, kept) as desk:
            model = await desk.model()
            kin = [warning for name in grounders if (warning := kinship(model, name)) is not None]
            for warning in kin:
                log.warning(warning)
            pairs = await each(duels, settings.endpoint_calls, partial(_one, desk, rubric), told)
    return Comparison(model, rubric.prompt, tuple(pairs), tuple(kin))


async def _one(desk: Desk, rubric: Rubric, duel: Duel) -> Compared:
    masks = await desk.run(partial(read_masks, duel.pair, (duel.a, duel.b)))
    truth, a, b = masks.digests
    subject = subject_of(duel.pair, rubric.name)
    places: list[Better | None] = []
    for part, digests, order in (("a first", (truth, a, b), (0, 1)), ("b first", (truth, b, a), (1, 0))):
        question = Question(duel.pair, part, rubric, subject, digests)
        (outcome,) = await desk.ask([question], partial(_drawn, masks, order))
        places.append(None if outcome.answer is None else cast("Better", outcome.answer["better"]))
    return Compared(duel.pair.id, str(duel.pair.image), *places)


def _drawn(masks: Masks, order: tuple[int, int], image: Image, fit: Fit) -> Image:
    return composite(image, masks.truth, [masks.predicted[place] for place in order], fit)
