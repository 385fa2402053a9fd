"""The prompt files that come with this package: which there are, and reading one."""

from __future__ import annotations

import re
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING

from geoseg_prompts.prompt import Prompt

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_FILE = re.compile(r"v([1-9][0-9]*)\.md")


def names() -> tuple[str, ...]:
    """The names of all prompts, sorted."""
    return tuple(sorted(_all()))


def versions(name: str) -> tuple[str, ...]:
    """The versions of a prompt, oldest first: v2 before v10.

    Raises:
        LookupError: there is no such prompt; the message lists the known ones.
    """
    known = _all()
    if name not in known:
        raise LookupError(f"there is no prompt {name!r}; known are {', '.join(sorted(known))}")
    return tuple(known[name])


@cache
def load(name: str, version: str | None = None) -> Prompt:
    """The prompt as its file says, in its newest version unless another is named; a file is read once.

    Raises:
        LookupError: there is no such prompt or version; the message lists the known ones.
    """
    known = versions(name)
    chosen = known[-1] if version is None else version
    if chosen not in known:
        raise LookupError(f"prompt {name!r} has no version {chosen!r}; known are {', '.join(known)}")
    data = _all()[name][chosen].read_bytes()
    return Prompt(name=name, version=chosen, sha256=sha256(data).hexdigest(), text=data.decode("utf-8"))


def found_in(root: Traversable) -> dict[str, dict[str, Traversable]]:
    """Name to version to file of the prompts in a folder, versions oldest first; what is no prompt is passed over."""
    found = {}
    for folder in root.iterdir():
        if folder.is_dir():
            numbered = {
                int(match.group(1)): file for file in folder.iterdir() if (match := _FILE.fullmatch(file.name))
            }
            if numbered:
                found[folder.name] = {f"v{number}": numbered[number] for number in sorted(numbered)}
    return found


@cache
def _all() -> dict[str, dict[str, Traversable]]:
    return found_in(files("geoseg_prompts"))
