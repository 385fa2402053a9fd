"""Whether judge and grounder are kin: judges favour the answers of their own family (arXiv 2604.11589)."""

from __future__ import annotations

import re

from geoseg_agent.grounding.model_profiles import UNKNOWN, profile_of

_KIN = {"gemma": "gemini", "chatgpt": "gpt", "o": "gpt", "qwq": "qwen", "pixtral": "mistral"}


def kinship(judge: str, grounder: str | None) -> str | None:
    """A warning where both are of one family, else None.

    Generations of one maker are one family here, and Gemma is kin of Gemini. A name that the table of model profiles
    does not know is of the family of its first letters, as gpt-4o of "gpt". Nothing is kin of the offline default.

    Args:
        judge: the model's name at its endpoint.
        grounder: the same of the grounder, or a run's engine, such as "mllm:qwen3-vl-8b+sam3"; None where unknown.
    """
    if grounder is None or grounder.startswith("offline-"):
        return None
    family = _family(judge)
    if family != _family(grounder):
        return None
    return (
        f"judge ({judge}) and grounder ({grounder}) are of one model family, {family}: judges favour their own, so "
        "take a judge of another family or read these scores with that in mind"
    )


def _bare(name: str) -> str:
    """A model's own name: of an engine "mllm:NAME+tools", or of a name with publisher or folder before it."""
    return name.lower().removeprefix("mllm:").partition("+")[0].rpartition("/")[2]


def _family(model: str) -> str:
    family, bare = profile_of(model).family, _bare(model)
    maker = re.split(r"[^a-z]", bare if family == UNKNOWN.family else family)[0] or bare
    return _KIN.get(maker, maker)
