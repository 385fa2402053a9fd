"""A run that is killed again and again, against one that is not: the same summary, and no pair computed twice.

    python benchmarks/resume.py DATA --kills 5

Starts `geoseg bench run` on the labelled images in DATA, kills it at random moments (SIGKILL), and starts it again
until it ends. Then compares its summary with that of an uninterrupted run, seconds aside, and counts the traces: one
for each pair that ended; those that a kill interrupted hold no result. Exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from time import perf_counter, sleep

from geoseg_agent.trace.store import load


def main() -> int:
    """Run, kill, compare."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path)
    options.add_argument("--kills", type=int, default=5)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path, help="Keep the runs here; default a temporary folder.")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = asked.out or Path(temporary)
        began = perf_counter()
        _start(asked.data, out / "whole").wait()
        whole = perf_counter() - began
        print(f"uninterrupted: {whole:.1f} s", flush=True)
        chance = random.Random(asked.seed)  # noqa: S311 - a moment, not a secret
        # Each start has a share of the time of a whole run, so that all kills fall into it.
        moments = [chance.uniform(0.5, 1.2) * whole / (asked.kills + 1) for _ in range(asked.kills)]
        for number, moment in enumerate(moments, 1):
            child = _start(asked.data, out / "killed")
            sleep(moment)
            ended = child.poll() is not None
            child.send_signal(signal.SIGKILL)
            child.wait()
            after = " (it had ended)" if ended else ""
            print(f"kill {number}: after {moment:.1f} s, {_lines(out / 'killed')} results{after}", flush=True)
        code = _start(asked.data, out / "killed").wait()
        print(f"last start: exit code {code}")
        return _compare(out / "whole", out / "killed")


def _start(data: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from geoseg_agent.cli import main; main()", "bench", "run", data, "--out", out]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GEOSEG_")}
    return subprocess.Popen(command, env=clean, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _lines(run: Path) -> int:
    file = run / "results.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def _compare(whole: Path, killed: Path) -> int:
    summaries = [json.loads((run / "summary.json").read_text()) for run in (whole, killed)]
    for summary in summaries:
        _untimed(summary)
    same = summaries[0] == summaries[1]
    ids = [json.loads(line)["id"] for line in (killed / "results.jsonl").read_text().splitlines()]
    traces = [load(path) for path in (killed / "traces").glob("*.json")]
    ended = Counter((trace.image.path, trace.query) for trace in traces if trace.status != "interrupted")
    twice = [key for key, count in ended.items() if count > 1]
    interrupted = sum(trace.status == "interrupted" for trace in traces)
    left = len(list((killed / "traces").glob("*.journal")))
    print(f"summaries: {'identical, seconds aside' if same else 'DIFFERENT'}")
    print(
        f"{len(ids)} results, {len(set(ids))} pairs; traces: {sum(ended.values())} ended, {interrupted} interrupted"
    )
    print(f"pairs computed twice: {len(twice)}; journals left: {left}")
    return 0 if same and not twice and not left and len(ids) == len(set(ids)) == sum(ended.values()) else 1


def _untimed(summary: object) -> None:
    """Take everything in seconds out of a summary."""
    if isinstance(summary, dict):
        for name in ("seconds", "stages"):
            summary.pop(name, None)
        for value in summary.values():
            _untimed(value)
    elif isinstance(summary, list):
        for value in summary:
            _untimed(value)


if __name__ == "__main__":
    sys.exit(main())
