"""What comes of judging: a judgement for each pair, and their summary as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from geoseg_agent.bench.bootstrap import intervals

if TYPE_CHECKING:
    from geoseg_agent.bench.judge.agreement import Scores
    from geoseg_agent.bench.judge.rubric import Mode
    from geoseg_agent.bench.pairs import Pair
    from geoseg_prompts import Prompt


@dataclass(frozen=True, slots=True)
class Judgement:
    """How one pair was judged.

    Attributes:
        pair: its id.
        image: its file; pairs of one image are resampled together.
        scores: mean over the valid samples by criterion, or None: the pair is missing.
        spread: their standard deviation (of the population), by criterion; 0 for one sample.
        said: what the judge said in each valid sample, by criterion; in mode "released" its own Overlap too.
        malformed: why, for each sample that was malformed to the end.
        failures: the same for each that the endpoint failed; a later run asks for these again.
        threes: scores of these samples that the released judge would have read as 3.
        evidence: what the judge says it saw, for each valid sample.
        iou: of prediction and truth; the judge was not told.
        overlap: its score 1..5, see `geoseg_agent.bench.judge.overlap`.
        answered: whether the system gave an answer; without one every score is 1, and the judge was not asked.
    """

    pair: str
    image: str
    scores: dict[str, float] | None
    spread: dict[str, float]
    said: dict[str, tuple[int, ...]]
    malformed: tuple[str, ...]
    failures: tuple[str, ...]
    threes: int
    evidence: tuple[str, ...]
    iou: float
    overlap: int
    answered: bool = True

    def as_json(self) -> dict[str, Any]:
        """The judgement as JSON values, without the image's file."""
        return {
            "pair": self.pair,
            "scores": self.scores,
            "spread": self.spread,
            "said": {key: list(values) for key, values in self.said.items()},
            "malformed": list(self.malformed),
            "failures": list(self.failures),
            "threes": self.threes,
            "evidence": list(self.evidence),
            "iou": self.iou,
            "overlap": self.overlap,
            "answered": self.answered,
        }


def unanswered(pair: Pair, criteria: tuple[str, ...]) -> Judgement:
    """The judgement of a pair that the system failed or declined to answer: the lowest of every score."""
    lowest, none = dict.fromkeys(criteria, 1.0), dict.fromkeys(criteria, 0.0)
    return Judgement(pair.id, str(pair.image), lowest, none, {}, (), (), 0, (), iou=0.0, overlap=1, answered=False)


@dataclass(frozen=True, slots=True)
class Judged:
    """All judgements of a run.

    Attributes:
        mode: of judging.
        model: the judge.
        grounder: who made the predictions, where that is known.
        prompt: that the judge was asked with.
        criteria: in the order of the rubric.
        samples: asked for per pair.
        judgements: in the order of the cases.
        warnings: what a reader of the scores should know.
    """

    mode: Mode
    model: str
    grounder: str | None
    prompt: Prompt
    criteria: tuple[str, ...]
    samples: int
    judgements: tuple[Judgement, ...]
    warnings: tuple[str, ...] = ()

    def scores(self) -> Scores:
        """Pair to criterion to score, of the pairs that were judged."""
        return {one.pair: dict(one.scores) for one in self.judgements if one.scores is not None}

    def summary(self, *, seed: int = 0) -> dict[str, Any]:
        """The figures as JSON values.

        A criterion has the mean over the pairs judged, its 95 % interval (bootstrap by image; None of one image), the
        mean spread of the samples, and `bounds`: the means that there would be with every missing pair at 1 and at 5.
        "overlap_computed" is the binned intersection over union of all pairs, missing ones included.

        Args:
            seed: of the bootstrap.
        """
        judged = [one for one in self.judgements if one.scores is not None]
        return {
            "mode": self.mode,
            "judge": self.model,
            "grounder": self.grounder,
            "prompt": {"name": self.prompt.name, "version": self.prompt.version, "sha256": self.prompt.sha256},
            "samples": self.samples,
            "pairs": len(self.judgements),
            "judged": len(judged),
            "missing": len(self.judgements) - len(judged),
            "unanswered": sum(not one.answered for one in self.judgements),
            "samples_malformed": sum(len(one.malformed) for one in self.judgements),
            "samples_failed": sum(len(one.failures) for one in self.judgements),
            "scores_read_as_3_by_released_code": sum(one.threes for one in self.judgements),
            "criteria": {key: self._criterion(key, judged, seed) for key in self.criteria},
            "overlap_computed": self._overlap(seed),
            "warnings": list(self.warnings),
        }

    def _criterion(self, key: str, judged: list[Judgement], seed: int) -> dict[str, Any] | None:
        """The figures of one criterion; None where nothing was judged."""
        values = [one.scores[key] for one in judged if one.scores is not None]
        if not values:
            return None
        missing, pairs = len(self.judgements) - len(values), len(self.judgements)
        return {
            "mean": fmean(values),
            "interval": intervals([one.image for one in judged], [[value] for value in values], [[1]], seed=seed)[0],
            "spread": fmean(one.spread[key] for one in judged),
            "bounds": [(sum(values) + missing * worst) / pairs for worst in (1, 5)],
            "pairs": len(values),
        }

    def _overlap(self, seed: int) -> dict[str, Any] | None:
        if not self.judgements:
            return None
        values, images = [one.overlap for one in self.judgements], [one.image for one in self.judgements]
        return {
            "mean": fmean(values),
            "interval": intervals(images, [[value] for value in values], [[1]], seed=seed)[0],
            "counts": {str(score): values.count(score) for score in range(1, 6)},
        }
