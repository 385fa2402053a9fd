"""Tools that note which process made them, in the file that LOADS names: "loads:tools"."""

import os
from pathlib import Path

from fakes import WordToolbox


def tools(settings):
    """One more line."""
    with Path(os.environ["LOADS"]).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return WordToolbox()
