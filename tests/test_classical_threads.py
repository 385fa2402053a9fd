"""The masks of the offline default do not depend on how many threads the libraries beneath it use."""

import json
import os
import subprocess
import sys
from pathlib import Path

CHILD = Path(__file__).parent / "support" / "classical_digests.py"


def digests(threads: int) -> dict[str, str]:
    many = str(threads)
    environment = os.environ | {"OMP_NUM_THREADS": many, "OPENBLAS_NUM_THREADS": many, "MKL_NUM_THREADS": many}
    child = subprocess.run([sys.executable, CHILD, many], env=environment, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(child.stdout)
    return found


def test_masks_are_the_same_for_one_two_and_three_threads() -> None:
    one = digests(1)
    assert len(set(one.values())) >= 10
    for threads in (2, 3):
        assert digests(threads) == one
