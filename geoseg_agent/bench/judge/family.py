"""Whether judge and grounder are kin: judges favour the answers of their own family (arXiv 2604.11589)."""

from __future__ import annotations

import re

from geoseg_agent.grounding.model_profiles import UNKNOWN, profile_of

_KIN = {"gemma": "gemini"}


def kinship(judge: str, grounder: str | None) -> str | None:
    """A warning where both are of one family, else None.

    Generations of one maker are one family here, and Gemma is kin of Gemini. Of names that the table of model
    profiles does not know only equal ones are kin; nothing is kin of a grounder that is no model.

    Args:
        judge: the model's name at its endpoint.
        grounder: the same of the grounder, or a run's engine, such as "mllm:qwen3-vl-8b+sam3"; None where unknown.
    """
    if grounder is None:
        return None
    known = _family(judge)
    alike = known == _family(grounder) if known is not None else _bare(judge) == _bare(grounder)
    if not alike:
        return None
    return (
        f"judge ({judge}) and grounder ({grounder}) are of one model family{f', {known}' if known else ''}: judges "
        "favour their own, so take a judge of another family or read these scores with that in mind"
    )


def _bare(name: str) -> str:
    """A model's own name: of an engine "mllm:NAME+tools", or of a name with publisher or folder before it."""
    return name.lower().removeprefix("mllm:").partition("+")[0].rpartition("/")[2]


def _family(model: str) -> str | None:
    family = profile_of(model).family
    if family == UNKNOWN.family:
        return None
    maker = re.split(r"[^a-z]", family)[0]
    return _KIN.get(maker, maker)
