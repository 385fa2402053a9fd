"""Kill -9 at random moments while several processes write traces, and count what is lost.

python benchmarks/kill_traces.py [--kills 200] [--writers 8] [--seed 0] [--folder DIR]

A new writer takes the place of each that is killed, so the others keep writing through every kill; recovery runs
beside them every ten kills, and once more at the end. Exits 1 if anything is lost, torn or left over.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from trace_writer import Writers

from geoseg_agent.errors import TraceError
from geoseg_agent.trace.recover import recover
from geoseg_agent.trace.store import load


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=200)
    options.add_argument("--writers", type=int, default=8)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--folder", type=Path)
    chosen = options.parse_args()
    if chosen.folder is not None:
        return run(chosen.folder, chosen)
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder), chosen)


def run(folder: Path, chosen: argparse.Namespace) -> int:
    chance, began = random.Random(chosen.seed), time.perf_counter()  # noqa: S311 - moments, not secrets
    writers, outcomes = Writers(folder), Counter()
    running = [writers.start() for _ in range(chosen.writers)]
    for kill in range(chosen.kills):
        time.sleep(chance.expovariate(20))
        writers.kill(running.pop(chance.randrange(len(running))))
        if kill % 10 == 9:
            outcomes.update(one.outcome for one in recover(folder) if one.outcome != "running")
        running.append(writers.start())
    for pid in running:
        writers.kill(pid)
    writers.close()
    outcomes.update(one.outcome for one in recover(folder))

    lost = [path for path in writers.acknowledged if not path.exists()]
    torn, status = [], Counter()
    for path in folder.glob("*.json"):
        try:
            status[load(path).status] += 1
        except TraceError as error:
            torn.append((path, error))
    stray = [path for path in folder.iterdir() if path.suffix != ".json"]
    print(f"kills {chosen.kills} (and {chosen.writers} at the end), writers {chosen.writers}, seed {chosen.seed}")
    print(f"acknowledged {len(writers.acknowledged)}, lost {len(lost)}, torn {len(torn)}, stray files {len(stray)}")
    print(f"recovery: {', '.join(f'{name} {count}' for name, count in sorted(outcomes.items()))}")
    print(f"traces: {', '.join(f'{name} {count}' for name, count in sorted(status.items()))}")
    print(f"{time.perf_counter() - began:.0f} s")
    return 1 if lost or torn or stray or outcomes["unreadable"] else 0


if __name__ == "__main__":
    sys.exit(main())
