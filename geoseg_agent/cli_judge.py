"""`geoseg bench judge | duel | agree`: masks rated by a multimodal model, and how judges and people agree."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from geoseg_agent.cli_data import Moved, Run, opened_run, settings_for
from geoseg_agent.console import note, out, print_json, print_table, progress
from geoseg_agent.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.bench.judge.agreement import Scores

_FOLDER = "judge"
_LEDGER = "judgements.jsonl"

Url = Annotated[str | None, typer.Option("--base-url", help="Endpoint of the judge; default GEOSEG_BASE_URL.")]
Model = Annotated[str | None, typer.Option("--model", help="Name of the judge; default GEOSEG_MODEL.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")]


def judge(
    run: Run,
    data: Moved = None,
    mode: Annotated[
        str, typer.Option(help="paper-3; paper-4, with Overlap rated too; or released, as the authors' code asks.")
    ] = "paper-3",
    samples: Annotated[int, typer.Option(min=1, help="Replies per pair: a mean with a spread.")] = 1,
    base_url: Url = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Let a model rate how well each mask answers its query: faithfulness, localization, robustness, 1 to 5.

    The judge sees the image beside a copy with the truth in green, the answer in red and both in yellow, and the
    query; it is never told a figure, a file's name or a class list. A reply that cannot be read is asked for again,
    then missing and counted, never a 3. Overlap is computed from the masks, apart from what the judge says. Writes
    RUN/judge/MODE-MODEL.json, with -xN for N samples; judgements are kept as they come, and never paid for twice.

    **Examples**

    - `geoseg bench judge runs/offline --base-url http://localhost:8000/v1 --model qwen3-vl-30b`
    - `geoseg bench judge runs/qwen --mode paper-4 --samples 5`
    """
    from geoseg_agent.bench.judge.cases import Case  # noqa: PLC0415 - the commands pay for what they need
    from geoseg_agent.bench.judge.files import keep  # noqa: PLC0415
    from geoseg_agent.bench.judge.scoring import judge as judged_by  # noqa: PLC0415

    settings = settings_for(base_url=base_url, model=model)
    opened = opened_run(run, data)
    cases = [Case(one.pair, opened.prediction(one)) for one in opened.answered]
    with progress("Judging") as told:
        judged = asyncio.run(
            judged_by(
                cases,
                settings,
                mode=mode,  # type: ignore[arg-type] # it says which there are
                samples=samples,
                kept=run / _FOLDER / _LEDGER,
                grounder=opened.engine,
                told=told,
            )
        )
    summary = judged.summary()
    times = f"-x{samples}" if samples > 1 else ""
    file = run / _FOLDER / f"{mode}-{_slug(judged.model)}{times}.json"
    keep(file, summary, {"judgements": [one.as_json() for one in judged.judgements]})
    if as_json:
        print_json(summary)
        return
    for warning in judged.warnings:
        note(warning)
    _print_judged(summary)
    out.print(f"  {file}", markup=False)


def duel(
    first: Run,
    second: Run,
    data: Moved = None,
    base_url: Url = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Let a model say which of two runs answers each query better, asked in both orders.

    Only where both orders name the same run does that one win; else it is a tie. The figure of position bias says how
    often the judge chose a place rather than a result. Writes FIRST/judge/duel-SECOND-MODEL.json.

    **Example** `geoseg bench duel runs/qwen runs/offline --model gpt-5`
    """
    from geoseg_agent.bench.judge.cases import Duel  # noqa: PLC0415 - as above
    from geoseg_agent.bench.judge.files import keep  # noqa: PLC0415
    from geoseg_agent.bench.judge.pairwise import compare  # noqa: PLC0415

    settings = settings_for(base_url=base_url, model=model)
    a, b = opened_run(first, data), opened_run(second, data)
    others = {one.result.id: one for one in b.answered}
    shared = [(one, others[one.result.id]) for one in a.answered if one.result.id in others]
    if not shared:
        raise DatasetError(f"{first} and {second} have no pair in common")
    if len(shared) < max(len(a.answered), len(b.answered)):
        note(f"{len(shared)} pairs are in both runs; only these are compared.")
    duels = [Duel(one.pair, a.prediction(one), b.prediction(other)) for one, other in shared]
    with progress("Comparing") as told:
        compared = asyncio.run(
            compare(duels, settings, kept=first / _FOLDER / _LEDGER, grounders=(a.engine, b.engine), told=told)
        )
    summary = {"a": str(first), "b": str(second), **compared.summary()}
    file = first / _FOLDER / f"duel-{second.resolve().name}-{_slug(compared.model)}.json"
    keep(file, summary, {"pairs": [one.as_json() for one in compared.pairs]})
    if as_json:
        print_json(summary)
        return
    for warning in compared.warnings:
        note(warning)
    out.print(
        f"{first}: {summary['a_wins']} wins; {second}: {summary['b_wins']}; ties {summary['ties']}, "
        f"of them {summary['ties_of_split_orders']} because the judge chose a place; missing {summary['missing']} "
        f"of {summary['pairs']} (malformed replies {summary['replies_malformed']}, "
        f"failures {summary['replies_failed']})",
        markup=False,
    )
    if summary["a_share"] is not None:
        bias = summary["position_bias"]
        out.print(
            f"share of {first}, ties half: {summary['a_share']:.2f} {_span(summary['a_share_interval'])}; "
            f"position bias {'none to tell' if bias is None else f'{bias:+.2f}'}",
            markup=False,
        )
    out.print(f"  {file}", markup=False)


def agree(
    one: Annotated[Path, typer.Argument(help="JSON file of a judge, or CSV of people's scores.", show_default=False)],
    other: Annotated[Path, typer.Argument(help="Another one.", show_default=False)],
    as_json: Json = False,
) -> None:
    """How far two judges, or a judge and people, agree: Spearman's rank correlation and quadratic weighted kappa.

    A CSV has a header: pair, and one column for each criterion that was scored, 1 to 5; a pair in several rows, one
    per rater, has the mean of its scores.

    **Example** `geoseg bench agree runs/qwen/judge/paper-3-gpt-5.json people.csv`
    """
    from rich.table import Table  # noqa: PLC0415 - as above

    from geoseg_agent.bench.judge.agreement import agreement  # noqa: PLC0415

    found = agreement(_scores(one), _scores(other))
    if not found:
        raise DatasetError(f"{one} and {other} have no pair and criterion in common")
    if as_json:
        print_json({criterion: value._asdict() for criterion, value in found.items()})
        return
    table = Table("criterion", "pairs", "Spearman", "quadratic kappa", "mean difference", box=None, pad_edge=False)
    for criterion, value in found.items():
        table.add_row(
            criterion, str(value.pairs), _figure(value.spearman), _figure(value.kappa), f"{value.difference:+.2f}"
        )
    print_table(table)


def _scores(path: Path) -> Scores:
    from geoseg_agent.bench.judge.agreement import read_scores  # noqa: PLC0415 - as above
    from geoseg_agent.bench.judge.files import scores_of  # noqa: PLC0415

    return scores_of(path) if path.suffix == ".json" else read_scores(path)


def _slug(model: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", model).strip("-.") or "judge"


def _print_judged(summary: dict[str, Any]) -> None:
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table("criterion", "mean", "95 %", "spread", "if the missing were 1 .. 5", box=None, pad_edge=False)
    for name, figures in summary["criteria"].items():
        if figures is not None:
            worst, best = figures["bounds"]
            mean, spread = f"{figures['mean']:.2f}", f"{figures['spread']:.2f}"
            table.add_row(name, mean, _span(figures["interval"]), spread, f"{worst:.2f} .. {best:.2f}")
    computed = summary["overlap_computed"]
    table.add_row("overlap, computed", f"{computed['mean']:.2f}", _span(computed["interval"]), "", "")
    print_table(table)
    out.print(
        f"\n{summary['judged']} of {summary['pairs']} pairs judged by {escape(summary['judge'])}, of them "
        f"{summary['unanswered']} without an answer, which is 1 throughout; malformed replies "
        f"{summary['samples_malformed']}, failures of the endpoint {summary['samples_failed']}; the released judge "
        f"would have read {summary['scores_read_as_3_by_released_code']} scores as 3"
    )


def _span(interval: Sequence[float] | None) -> str:
    """The interval; one image gives none."""
    return "" if interval is None else f"{interval[0]:.2f}-{interval[1]:.2f}"


def _figure(value: float | None) -> str:
    return "none: constant" if value is None else f"{value:.3f}"
