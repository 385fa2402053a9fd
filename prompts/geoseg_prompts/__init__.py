"""Versioned prompt texts, read from the files beside this module.

    geoseg_prompts/NAME/vN.md

A file that has been released never changes: another text is another version. Everything is standard library.
"""

from geoseg_prompts.files import load, names, versions
from geoseg_prompts.prompt import Prompt

__all__ = ["Prompt", "load", "names", "versions"]
