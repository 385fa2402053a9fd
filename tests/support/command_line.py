"""`geoseg` in a process of its own, as a person starts it."""

import os
import subprocess
import sys
from pathlib import Path

SUPPORT = Path(__file__).parent


def child(*arguments, cwd, without_models=False, **environment):
    """The command line in a process of its own, with or without the packages of the extra."""
    path = [str(SUPPORT), str(SUPPORT / "serve")]  # the second makes torchvision import where it would not
    if without_models:
        path.insert(0, str(SUPPORT / "without_models"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GEOSEG_")}
    kept |= {"PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"} | environment
    command = [sys.executable, "-c", "from geoseg_agent.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=kept, timeout=100)
