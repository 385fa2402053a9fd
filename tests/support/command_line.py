"""`geoseg` as a person starts it: in a process of its own, or in this one where a second each is too much."""

import contextlib
import io
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from geoseg_agent.cli import main
from geoseg_agent.logs import NAME

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


def here(*arguments, **environment):
    """The command line in this process and folder: exit code, and what it said where."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GEOSEG_")} | environment
    code = 0
    logger = logging.getLogger(NAME)
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate  # the command sets them
    with (
        mock.patch.object(sys, "argv", ["geoseg", *map(str, arguments)]),
        mock.patch.dict(os.environ, clean, clear=True),
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)
    return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())
