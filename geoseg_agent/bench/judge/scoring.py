"""`judge`: every case rated by a model, `samples` times, in one of three modes."""

from __future__ import annotations

from functools import partial
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, NamedTuple

from geoseg_agent.bench.judge.cases import check_ids, image_digest, read_masks
from geoseg_agent.bench.judge.composite import composite
from geoseg_agent.bench.judge.desk import Desk, Question
from geoseg_agent.bench.judge.family import kinship
from geoseg_agent.bench.judge.judged import Judged, Judgement, unanswered
from geoseg_agent.bench.judge.overlap import iou_of, overlap_score
from geoseg_agent.bench.judge.rubric import rubric_of, subject_of
from geoseg_agent.errors import ConfigError, first_error
from geoseg_agent.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from geoseg_agent.bench.judge.cases import Case
    from geoseg_agent.bench.judge.desk import Outcome
    from geoseg_agent.bench.judge.rubric import Mode, Rubric
    from geoseg_agent.grounding.chat import Fit
    from geoseg_agent.imagery import Image
    from geoseg_agent.settings import Settings

MOST_SAMPLES = 32


async def judge(
    cases: Sequence[Case],
    settings: Settings,
    *,
    mode: Mode = "paper-3",
    samples: int = 1,
    kept: Path | None = None,
    grounder: str | None = None,
    prompt: str | None = None,
    told: Callable[[int, int], None] = lambda _done, _total: None,
) -> Judged:
    """Rate every case: the first sample is the judge's likeliest answer, the others are varied, each by its own seed.

    A case whose replies are malformed after re-asking is missing and counted, never given a score. A case without an
    answer has the lowest of every score and is not shown to the judge, who could not tell it from an empty answer.

    Args:
        cases: what to rate; ids of pairs are unique.
        settings: `base_url`, `model` and `api_key` are the judge's; `attempts`, `endpoint_calls`, `call_timeout`,
            `dialect` and `max_tokens_total` (per reply) mean what they mean for grounding.
        mode: what is asked, see `geoseg_agent.bench.judge.rubric.rubric_of`.
        samples: replies per case, 1..32; more of them give a mean with a spread.
        kept: file of judgements, such as judgements.jsonl in the folder of a run. What it holds for the same pair,
            image, masks, prompt, judge and sample is taken from there, so that a run goes on where it was killed.
        grounder: model or engine that made the predictions, for the warning of `kinship`.
        prompt: its version; the newest where None.
        told: called with the number of cases done, and of all.

    Raises:
        ConfigError: no endpoint is set, or mode or samples are none that there are.
        DatasetError: two pairs have one id, a mask does not fit its image, or `kept` cannot be read or written.
        ImageError: an image cannot be read.
        EndpointError: the judge never answered, or failed many times in a row.
        BudgetExceeded: one reply may cost more tokens than the settings allow.
    """
    if not 1 <= samples <= MOST_SAMPLES:
        raise ConfigError(f"a case is judged 1 to {MOST_SAMPLES} times, got {samples}")
    check_ids([case.pair for case in cases])
    rubric = rubric_of(mode, prompt)
    with first_error():
        async with Desk(settings, kept) as desk:
            kin = kinship(desk.model, grounder)
            if kin is not None:
                log.warning(kin)
            judgements = await desk.each(cases, partial(_one, desk, rubric, samples), told)
    unnamed = sum(not case.pair.phrase for case in cases) if mode == "released" else 0
    told_too = [f"{unnamed} of {len(cases)} pairs have no phrase: their query stands in its place"] if unnamed else []
    return Judged(
        mode=mode,
        model=desk.model,
        grounder=grounder,
        prompt=rubric.prompt,
        criteria=rubric.keys,
        samples=samples,
        judgements=tuple(judgements),
        warnings=tuple(([kin] if kin else []) + told_too),
    )


class _Measured(NamedTuple):
    digests: tuple[str, ...]
    iou: float


async def _one(desk: Desk, rubric: Rubric, samples: int, case: Case) -> Judgement:
    if case.predicted is None:
        return unanswered(case.pair, rubric.keys)
    measured = await desk.run(partial(_measured, case, rubric))
    subject = subject_of(case.pair, rubric.name)
    outcomes = await desk.ask(
        [
            Question(case.pair, f"sample {number}", rubric, subject, measured.digests, number)
            for number in range(samples)
        ],
        partial(_drawn, case, rubric.plain),
    )
    return _judgement(case, rubric, outcomes, measured.iou)


def _measured(case: Case, rubric: Rubric) -> _Measured:
    masks = read_masks(case.pair, (case.predicted,))
    # As the released judge does it: two empty masks have no overlap.
    iou = iou_of(masks.truth, masks.predicted[0], empty=0.0 if rubric.name == "released" else 1.0)
    return _Measured((image_digest(case.pair), *masks.digests()), iou)


def _drawn(case: Case, plain: bool, image: Image, fit: Fit) -> Image:
    # Read anew: many cases wait for replies at once, and none of them keeps masks meanwhile.
    masks = read_masks(case.pair, (case.predicted,))
    return composite(image, masks.truth, masks.predicted, fit, plain=plain)


def _judgement(case: Case, rubric: Rubric, outcomes: Sequence[Outcome], iou: float) -> Judgement:
    answers = [outcome.answer for outcome in outcomes if outcome.answer is not None]
    score = overlap_score(iou)
    said = {key: tuple(int(answer[key]) for answer in answers) for key in rubric.keys} if answers else {}
    scores = {key: fmean(values) for key, values in said.items()}
    spread = {key: pstdev(values) for key, values in said.items()}
    if rubric.name == "released" and scores:
        scores["overlap"], spread["overlap"] = float(score), 0.0
    return Judgement(
        pair=case.pair.id,
        image=str(case.pair.image),
        scores=scores or None,
        spread=spread,
        said=said,
        malformed=tuple(o.kept.why or "" for o in outcomes if o.kept is not None and o.kept.answer is None),
        failures=tuple(o.failure for o in outcomes if o.failure is not None),
        threes=sum(o.kept.threes for o in outcomes if o.kept is not None),
        evidence=tuple(o.kept.evidence for o in outcomes if o.kept is not None and o.kept.answer is not None),
        iou=iou,
        overlap=score,
    )
