"""`compare`: which of two systems answers a query better, asked in both orders, because judges prefer a place.

A first     B first      counts as
first       second       a win of A
second      first        a win of B
anything else            a tie: the judge said so once, or it chose a place and not a result
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

from geoseg_agent.bench.bootstrap import intervals
from geoseg_agent.bench.judge.cases import check_ids, image_digest, read_masks
from geoseg_agent.bench.judge.composite import composite
from geoseg_agent.bench.judge.desk import Desk, Question
from geoseg_agent.bench.judge.family import kinship
from geoseg_agent.bench.judge.rubric import pairwise_rubric, subject_of
from geoseg_agent.errors import first_error
from geoseg_agent.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from geoseg_agent.bench.judge.cases import Duel
    from geoseg_agent.bench.judge.desk import Outcome
    from geoseg_agent.bench.judge.rubric import Better, Rubric
    from geoseg_agent.bench.pairs import Pair, Truth
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
        malformed: why, for each order whose replies were malformed to the end.
        failures: the same for each that the endpoint failed; a later run asks for these again.
        evidence: what the judge says it saw, for each order that it answered.
    """

    pair: str
    image: str
    a_first: Better | None
    b_first: Better | None
    malformed: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()

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

    def as_json(self) -> dict[str, Any]:
        """The comparison as JSON values, without the image's file."""
        known = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {key: value for key, value in known.items() if key != "image"} | {"winner": self.winner}


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
        images = [one.image for one, _ in judged]
        return {
            "judge": self.model,
            "prompt": {"name": self.prompt.name, "version": self.prompt.version, "sha256": self.prompt.sha256},
            "pairs": len(self.pairs),
            "judged": len(judged),
            "missing": len(self.pairs) - len(judged),
            "replies_malformed": sum(len(one.malformed) for one in self.pairs),
            "replies_failed": sum(len(one.failures) for one in self.pairs),
            "a_wins": winners.count("a"),
            "b_wins": winners.count("b"),
            "ties": winners.count("tie"),
            "ties_of_split_orders": sum(one.is_split for one, _ in judged),
            "a_share": sum(shares) / len(shares) if shares else None,
            "a_share_interval": intervals(images, [[share] for share in shares], [[1]], seed=seed)[0]
            if shares
            else None,
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
            kin = [warning for name in grounders if (warning := kinship(desk.model, name)) is not None]
            for warning in kin:
                log.warning(warning)
            pairs = await desk.each(duels, partial(_one, desk, rubric), told)
    return Comparison(desk.model, rubric.prompt, tuple(pairs), tuple(kin))


async def _one(desk: Desk, rubric: Rubric, duel: Duel) -> Compared:
    image, truth, a, b = await desk.run(partial(_digests, duel))
    subject = subject_of(duel.pair, rubric.name)
    outcomes = []
    for part, masks, order in (("a first", (a, b), (duel.a, duel.b)), ("b first", (b, a), (duel.b, duel.a))):
        question = Question(duel.pair, part, rubric, subject, (image, truth, *masks))
        outcomes += await desk.ask([question], partial(_drawn, duel.pair, order))
    kept = [outcome.kept for outcome in outcomes if outcome.kept is not None]
    return Compared(
        duel.pair.id,
        str(duel.pair.image),
        _better(outcomes[0]),
        _better(outcomes[1]),
        malformed=tuple(one.why or "" for one in kept if one.answer is None),
        failures=tuple(outcome.failure for outcome in outcomes if outcome.failure is not None),
        evidence=tuple(one.evidence for one in kept if one.answer is not None),
    )


def _better(outcome: Outcome) -> Better | None:
    return None if outcome.answer is None else cast("Better", outcome.answer["better"])


def _digests(duel: Duel) -> tuple[str, ...]:
    return image_digest(duel.pair), *read_masks(duel.pair, (duel.a, duel.b)).digests()


def _drawn(pair: Pair, order: tuple[Truth | None, ...], image: Image, fit: Fit) -> Image:
    # Read anew, as in `scoring`.
    masks = read_masks(pair, order)
    return composite(image, masks.truth, masks.predicted, fit)
