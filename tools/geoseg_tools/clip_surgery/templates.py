"""Sets of sentences that a phrase is put into before it is encoded; the features of all sentences are averaged."""

from __future__ import annotations

from typing import TypeAlias

import open_clip

from geoseg_tools.errors import ModelError

Templates: TypeAlias = tuple[str, ...]
"""Sentences with one {} each, in order."""

IMAGENET: Templates = (
    *(fill("{}") for fill in open_clip.OPENAI_IMAGENET_TEMPLATES),
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)
"""The 85 of CLIP Surgery: OpenAI's 80 for ImageNet and five on scenes."""

AERIAL: Templates = (
    "{}.",
    "a {}.",
    "the {}.",
    "an aerial photo of a {}.",
    "an aerial photo of the {}.",
    "an aerial view of {}.",
    "a satellite photo of a {}.",
    "a satellite photo of the {}.",
    "satellite imagery of {}.",
    "an overhead view of a {}.",
    "an overhead view of the {}.",
    "a {} seen from above.",
    "the {} seen from above.",
    "several {} seen from above.",
    "a drone photo of a {}.",
    "a high resolution remote sensing image with a {}.",
    "a low resolution remote sensing image with a {}.",
    "a small {} in an aerial photo.",
    "a large {} in an aerial photo.",
    "part of a {} in a satellite image.",
)
"""Wordings for pictures from above. Nobody has measured yet whether they localise better than IMAGENET."""

TEMPLATES: dict[str, Templates] = {"imagenet": IMAGENET, "aerial": AERIAL}
"""The sets by name."""


def templates_of(named: str | Templates) -> Templates:
    """The set called `named`, or a set of the caller's own.

    Raises:
        ModelError: there is no set of that name, the set is empty, or a sentence has not exactly one {}.
    """
    if isinstance(named, str):
        if named not in TEMPLATES:
            raise ModelError(f"there are no templates {named!r}", hint=f"choose from {', '.join(TEMPLATES)}")
        return TEMPLATES[named]
    if not named:
        raise ModelError("a set of templates needs at least one sentence")
    for sentence in named:
        if sentence.count("{}") != 1:
            raise ModelError(f"a template has exactly one {{}}, got {sentence!r}")
    return tuple(named)


def fill(templates: Templates, text: str) -> list[str]:
    """Every sentence with the text in the place of its {}; braces in the text mean nothing."""
    return [sentence.replace("{}", text) for sentence in templates]
