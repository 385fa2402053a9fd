"""What `geoseg bench judge` keeps: one JSON file with summary and judgements, and its scores read again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geoseg_agent.bench.judge.agreement import CRITERIA, score_of
from geoseg_agent.errors import DatasetError
from geoseg_agent.runs.lines import put_file
from geoseg_agent.trace.jsontext import parse, pretty

if TYPE_CHECKING:
    from pathlib import Path

    from geoseg_agent.bench.judge.agreement import Scores

SCHEMA = 1


def keep(path: Path, summary: dict[str, Any], items: dict[str, list[dict[str, Any]]]) -> None:
    """Write a summary and what it sums up, whole or not at all.

    Raises:
        DatasetError: the file cannot be written.
    """
    put_file(path, pretty({"schema": SCHEMA, "summary": summary, **items}))


def scores_of(path: Path) -> Scores:
    """Pair to criterion to score in the file of a judge; pairs that are missing there are left out.

    Raises:
        DatasetError: the file cannot be read, is none of a judge, or holds a score that is not from 1 to 5.
    """
    try:
        judgements = parse(path.read_bytes())["judgements"]
        return {
            one["pair"]: {
                name: score_of(str(one["scores"][name]), f"{path}, pair {one['pair']}")
                for name in CRITERIA
                if name in one["scores"]
            }
            for one in judgements
            if one["scores"] is not None
        }
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise DatasetError(
            f"{path} is no file of a judge", hint="RUN/judge/MODE-MODEL.json, or a CSV with a column 'pair'"
        ) from error
