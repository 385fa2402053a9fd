"""`--engine ray` on a real cluster of two node processes; skipped where Ray is not installed."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from bench_data import two_boxes

SUPPORT = Path(__file__).parent / "support"
PICTURES = 6


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'geoseg-agent[cluster]'")
def test_a_cluster_gives_the_masks_of_one_process_and_loses_nothing_when_a_worker_dies(tmp_path):
    data = two_boxes(tmp_path / "data", pictures=PICTURES)
    for mask in data.glob("*-mask.png"):
        mask.unlink()
    (data / "bad.png").write_bytes(b"no picture")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GEOSEG_")}
    done = subprocess.run(
        [sys.executable, SUPPORT / "ray_child.py", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env=kept | {"PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"},
        timeout=110,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    items = 2 * (PICTURES + 1)
    assert said["nodes"] == 2
    assert 1 <= said["lost"] <= 3
    assert said["ray"] == said["local"]
    assert said["lines"] == len(said["ray"]) == items
    assert sum(status == "failed" for status, _ in said["ray"].values()) == 2
    # Replies that were in the air when the worker died are asked for again: it held at most three.
    assert said["asked"][0] == 2 * PICTURES
    assert 2 * PICTURES <= said["asked"][1] <= 2 * PICTURES + 3
