"""The whole calibration, from replies to files: what `geoseg calibrate` does."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from geoseg_agent.calibrate import density, settings_file
from geoseg_agent.calibrate.frames import frame_test
from geoseg_agent.calibrate.margins import COVERAGES, check_coverages, propose
from geoseg_agent.calibrate.matching import match
from geoseg_agent.calibrate.offsets import LEAST_IOU, offsets, overlapping, summarise
from geoseg_agent.calibrate.pairs import reread
from geoseg_agent.calibrate.readings import ORIGINAL, READINGS
from geoseg_agent.calibrate.report import write
from geoseg_agent.calibrate.settings_file import Origin
from geoseg_agent.errors import ConfigError, DatasetError, GeoSegError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from geoseg_agent.calibrate.frames import FrameTest
    from geoseg_agent.calibrate.margins import Proposal
    from geoseg_agent.calibrate.matching import Matched
    from geoseg_agent.calibrate.offsets import Summary
    from geoseg_agent.calibrate.pairs import Said


class Calibration(NamedTuple):
    """What came of it.

    Attributes:
        model: whose boxes; empty where nobody said.
        date: as the caller said.
        reading: the frame that the numbers were calibrated in where it was asked for, or None: as recorded.
        replies: how many.
        matched: which box answers which.
        test: in which frame the numbers are.
        offsets: of the boxes that overlap the true ones, all and by size class; empty where the frame is wrong.
        proposal: the margins, or None where they are refused.
        refused: why.
        coverage: whose margins are in the settings file.
        files: kind to path, of "settings", "figure", "markdown" and "json", as far as they were written.
    """

    model: str
    date: str
    reading: str | None
    replies: int
    matched: Matched
    test: FrameTest
    offsets: tuple[Summary, ...]
    proposal: Proposal | None
    refused: GeoSegError | None
    coverage: float
    files: dict[str, Path]


def calibrate(
    said: Sequence[Said],
    out: Path,
    *,
    date: str,
    coverage: float = 0.9,
    coverages: Sequence[float] = COVERAGES,
    reading: str | None = None,
    least_iou: float = LEAST_IOU,
    replicates: int = 1000,
    seed: int = 0,
    figure: str = "offsets.png",
) -> Calibration:
    """Test the frame, propose margins, and write settings, figure and report into `out`.

    Where the frame test speaks against the reading, or the pairs do not suffice for margins, a report of that is
    written, and no margins; settings and figure of an earlier calibration are removed. `refused` holds the error; the
    caller raises it once the report is shown.

    Args:
        said: replies of one model, by `read_traces` or `read_pairs`.
        out: folder; made where there is none.
        date: for the settings file and the report, such as 2026-11-25.
        coverage: share of the true boxes that the settings' margins hold; joins `coverages`.
        coverages: shares for the report.
        reading: read the numbers in this frame instead of as recorded; one of `READINGS`.
        least_iou: overlap from which a box said means the true one.
        replicates: of the bootstrap.
        seed: of the bootstrap.
        figure: file name of the density plot, .png or .svg.

    Raises:
        DatasetError: too few pairs to test the frame, replies of several models, or a value out of range.
        ConfigError: `reading` is unknown, or the settings cannot be written.
    """
    if reading is not None and reading not in READINGS:
        raise ConfigError(f"there is no reading {reading!r}", hint=f"known are {', '.join(READINGS)}")
    wanted = sorted({*coverages, coverage})
    check_coverages(wanted)
    model = _one_model(said)
    replies = list(said) if reading is None else reread(said, reading)
    matched = match(replies)
    test = frame_test(matched.pairs)
    proposal: Proposal | None = None
    refused: GeoSegError | None = None
    files: dict[str, Path] = {}
    used = overlapping(matched.pairs, least_iou)
    try:
        proposal = propose(
            matched.pairs, test, coverages=wanted, least_iou=least_iou, replicates=replicates, seed=seed
        )
    except (ConfigError, DatasetError) as error:
        refused = error
        for name in (settings_file.NAME, figure):  # those of an earlier calibration would be taken for this one's
            (out / name).unlink(missing_ok=True)
    if proposal is not None:
        margins = proposal.at(coverage)
        pooled = proposal.groups[0]
        origin = Origin(model, pooled.pairs, pooled.images, proposal.elsewhere, date, _to_set(reading, said))
        files["settings"] = settings_file.write(out, margins, origin)
        title = f"{pooled.pairs} boxes on {pooled.images} images; margins for {100 * coverage:g} % of them"
        files["figure"] = density.draw(
            offsets(used), out / figure, margins=(margins.alpha, margins.beta), title=title
        )
    made = Calibration(
        model=model,
        date=date,
        reading=reading,
        replies=len(replies),
        matched=matched,
        test=test,
        offsets=summarise(used) if proposal is not None else (),
        proposal=proposal,
        refused=refused,
        coverage=coverage,
        files=files,
    )
    files.update(write(made, out))
    return made


def _to_set(reading: str | None, said: Sequence[Said]) -> str | None:
    """The frame that GEOSEG_FRAME must say: the one asked for here, where pixels of the original are those sent."""
    if reading is None or not reading.startswith(ORIGINAL):
        return reading
    resized = any(one.sent not in {None, one.size} for one in said)
    return reading if resized else reading.replace(ORIGINAL, "pixels")


def _one_model(said: Sequence[Said]) -> str:
    """Whose replies these are; margins belong to one model.

    Raises:
        DatasetError: there are several, or no replies.
    """
    names = Counter(one.model for one in said)
    if len(names) != 1:
        listed = ", ".join(f"{name or 'not named'} ({count})" for name, count in names.most_common())
        raise DatasetError(
            f"margins belong to one model, these are replies of {listed or 'none'}", hint="choose one of them"
        )
    return next(iter(names))
