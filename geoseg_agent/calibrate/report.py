"""A calibration for people (Markdown) and for programs (JSON)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from geoseg_agent.errors import InputError
from geoseg_agent.grounding.keep_file import keep_file
from geoseg_agent.trace.jsontext import pretty, to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from geoseg_agent.calibrate.frames import FrameTest
    from geoseg_agent.calibrate.margins import Cost, Group
    from geoseg_agent.calibrate.run import Calibration

MARKDOWN: Final = "calibration.md"
JSON: Final = "calibration.json"


def write(made: Calibration, folder: Path) -> dict[str, Path]:
    """Write both into `folder`, each whole or not at all, and say where.

    Raises:
        InputError: the folder cannot be written to.
    """
    paths = {"markdown": folder / MARKDOWN, "json": folder / JSON}
    try:
        keep_file(paths["markdown"], to_bytes("\n".join(markdown(made)) + "\n"))
        keep_file(paths["json"], pretty(as_json(made)))
    except OSError as error:
        raise InputError(
            f"no report can be written to {folder}: {error.strerror or error}", hint="choose another folder"
        ) from error
    return paths


def as_json(made: Calibration) -> dict[str, Any]:
    """Everything but the single pairs, as JSON values."""
    test, matched = made.test, made.matched
    return {
        "schema": 1,
        "model": made.model,
        "date": made.date,
        "reading": made.reading,
        "replies": made.replies,
        "pairs": len(matched.pairs),
        "unmatched": {"said": matched.extra, "true": matched.missed, "replies_refused": matched.refused},
        "frame_test": {
            **{name: value for name, value in test._asdict().items() if name not in {"rows", "assigned"}},
            "problem": test.problem,
            "readings": [row._asdict() for row in test.rows],
        },
        "offsets": [{**group._asdict(), "sides": [side._asdict() for side in group.sides]} for group in made.offsets],
        "margins": None
        if made.proposal is None
        else {
            "elsewhere": made.proposal.elsewhere,
            "least_iou": made.proposal.least_iou,
            "groups": [_group_json(group) for group in made.proposal.groups],
        },
        "refused": None if made.refused is None else {"message": made.refused.message, "hint": made.refused.hint},
        "files": {kind: path.name for kind, path in made.files.items()},
    }


def _group_json(group: Group) -> dict[str, Any]:
    return {
        **group._asdict(),
        "margins": [{**margins._asdict(), "cost": margins.cost._asdict()} for margins in group.margins],
        "without": group.without._asdict(),
        "paper": group.paper._asdict(),
    }


def markdown(made: Calibration) -> Iterator[str]:
    """The report, line by line."""
    matched = made.matched
    yield f"# Calibration of the margins, {_plain(made.model) or 'model not named'}, {_plain(made.date)}"
    yield ""
    yield f"{made.replies} replies, {len(matched.pairs)} pairs of a box said and a true box. Without a partner:"
    yield f"{matched.extra} boxes said, {matched.missed} true boxes. {matched.refused} replies were refused as read."
    yield ""
    yield from _frames(made.test)
    if made.refused is not None:
        yield from ("## No margins", "", f"{made.refused.message}.", "", f"Remedy: {made.refused.hint}.", "")
    if made.proposal is not None:
        yield from _offsets(made)
        yield "## Margins"
        yield ""
        yield "Balanced margins (alpha left and above, beta right and below, in shares of the box said) that hold the"
        yield "given share of the true boxes whole; in brackets 95 % intervals by image. Inside: share of true boxes"
        yield "wholly in the region. Kept: mean share of the true box in it. Growth: area of the region over that of"
        yield "the box. Precision: share of the region that is the true box."
        yield f"{made.proposal.elsewhere} pairs overlap by less than {made.proposal.least_iou:g} or were refused, and"
        yield "are not counted."
        yield ""
        yield from _table(
            ("boxes", "coverage", "alpha", "beta", "inside", "kept", "growth", "precision"),
            [row for group in made.proposal.groups for row in _rows(group)],
        )
        yield ""
        yield f"The settings file holds those of all boxes for {made.coverage:g}."
        yield ""
    yield from (f"- {kind}: {path.name}" for kind, path in made.files.items())


def _frames(test: FrameTest) -> Iterator[str]:
    yield "## In which frame are the numbers?"
    yield ""
    yield f"Recorded: {', '.join(test.recorded)}. {test.problem or _fine(test)}."
    yield ""
    sides = zip(("left", "top", "right", "bottom"), test.bias, strict=True)
    yield "In the best reading the box said lies outside of the true one, in shares of the true side, by"
    yield f"{', '.join(f'{side} {value:+.3f}' for side, value in sides)};"
    yield f"spread {test.spread:.3f}; explained {100 * test.explained:.0f} % of the pairs."
    yield ""
    yield from _table(
        ("reading", "median IoU", "residual", "less likely by e^", "share", "px from the best"),
        [
            (
                row.name,
                f"{row.iou:.2f}",
                f"{row.residual:.3f}",
                f"{row.behind:.0f}",
                f"{row.share:.2f}",
                f"{row.apart:.1f}",
            )
            for row in test.rows
        ],
    )
    yield ""


def _fine(test: FrameTest) -> str:
    said = f"The numbers are in {test.best}"
    same = [name for name in test.equivalent if name != test.best]
    if same:
        said += f"; on these pictures {', '.join(same)} is the same"
    if test.untold:
        said += f"; these pairs do not tell it from {', '.join(test.untold)}"
    return said


def _offsets(made: Calibration) -> Iterator[str]:
    yield "## Offsets"
    yield ""
    yield "How far the true side lies outside of the box said, in shares of its side; medians, and 5 % to 95 %."
    yield ""
    rows = [
        (
            f"{group.group} ({group.pairs})",
            *(f"{side.median:+.3f} ({side.quantiles[0]:+.2f} to {side.quantiles[-1]:+.2f})" for side in group.sides),
        )
        for group in made.offsets
    ]
    yield from _table(("boxes", "left", "top", "right", "bottom"), rows)
    yield ""
    if "figure" in made.files:
        yield from (f"![Density of the offsets]({made.files['figure'].name})", "")


def _rows(group: Group) -> Iterator[tuple[str, ...]]:
    name = f"{group.name} ({group.pairs} on {group.images})"
    for margins in group.margins:
        yield (
            name,
            f"{margins.coverage:g}",
            _with(margins.alpha, margins.alpha_range),
            _with(margins.beta, margins.beta_range),
            *_cost(margins.cost),
        )
    if not group.margins:
        yield name, "too few", "", "", "", "", "", ""
    yield name, "no margins", "0", "0", *_cost(group.without)
    yield name, "the paper's", "0.2", "0.1", *_cost(group.paper)


def _with(value: float, ends: tuple[float, float] | None) -> str:
    return f"{value:.3f}" if ends is None else f"{value:.3f} ({ends[0]:.3f}..{ends[1]:.3f})"


def _cost(cost: Cost) -> tuple[str, str, str, str]:
    return f"{cost.inside:.3f}", f"{cost.kept:.3f}", f"{cost.growth:.2f}", f"{cost.precision:.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for line in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(line)} |"


def _plain(text: str) -> str:
    return "".join(sign if sign.isprintable() and sign not in "|<>`[]" else "?" for sign in text)[:200]
