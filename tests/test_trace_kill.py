"""kill -9 of processes that write traces: what was acknowledged is there, the rest is recovered, nothing is torn."""

import random
import threading

import pytest
from trace_writer import Writers

from geoseg_agent.errors import TraceIncomplete
from geoseg_agent.trace.recover import recover
from geoseg_agent.trace.replay import replay
from geoseg_agent.trace.store import load

KILLS = 20


async def test_after_kills_everything_acknowledged_is_there_and_the_rest_is_recovered(tmp_path):
    chance, writers, outcomes = random.Random(0), Writers(tmp_path), []
    for _ in range(KILLS // 2):
        running = [writers.start(), writers.start()]
        for pid in running:
            threading.Event().wait(chance.uniform(0, 0.1))
            writers.kill(pid)
        outcomes += recover(tmp_path)
    writers.close()
    names = {path.name for path in tmp_path.iterdir()}
    assert len(writers.acknowledged) >= KILLS
    assert {path.name for path in writers.acknowledged} <= names
    assert {name for name in names if not name.endswith(".json")} == set()
    assert {one.outcome for one in outcomes} <= {"recovered", "finished", "empty"}
    traces = {path: load(path) for path in tmp_path.iterdir()}
    interrupted = [path for path, trace in traces.items() if trace.status == "interrupted"]
    assert interrupted
    assert sorted(interrupted) == sorted(one.path for one in outcomes if one.outcome == "recovered")
    for path in interrupted[:5]:
        with pytest.raises(TraceIncomplete, match=f"of {len(traces[path].steps)} recorded steps replayed"):
            await replay(path)


def test_a_recovery_beside_running_writers_takes_nothing_from_them(tmp_path):
    writers = Writers(tmp_path)
    running = [writers.start(), writers.start()]
    outcomes = [one for _ in range(30) for one in recover(tmp_path)]
    # A journal may be seen between its making and its lock: then the writer makes another.
    assert {one.outcome for one in outcomes} <= {"running", "empty"}
    assert outcomes
    for pid in running:
        writers.kill(pid)
    writers.close()
    recover(tmp_path)
    assert all(load(path).status == "done" for path in writers.acknowledged)
    assert all(path.suffix == ".json" for path in tmp_path.iterdir())
