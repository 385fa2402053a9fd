"""Changes to the trace of a model: each is noticed by a replay, or lies in a blind spot that is listed."""

import json
import re

import pytest
from chat_ways import BOTH, FAILURES, NOTHING, WAYS, Memory, Model, cut_short, grounder_of, said, traced, way
from drawn import drawn
from fakes import ask
from mutations import mutations

from geoseg_agent.errors import ConfigError, TraceError
from geoseg_agent.trace.blind import BLIND_SPOTS, blind_spot
from geoseg_agent.trace.jsontext import parse
from geoseg_agent.trace.model import MODEL_SEAMS
from geoseg_agent.trace.numbering import step_numbers
from geoseg_agent.trace.replay import replay
from geoseg_agent.trace.seal import reseal
from geoseg_agent.trace.store import checked, load
from geoseg_agent.types import GroundingReply, Target
from geoseg_tools.geometry import Box

OF_MODELS = {"search", "endpoint", "sent", "chat", "replaced"}
EXAMPLES = ("all of it", "samples", "corrected", "missed", "nothing", "hit", "refused", "invalid", "cut", "searched")
SMALL = said(([50, 60, 70, 90], "both ways"))


async def example(folder, name):
    """The tree of a trace."""
    if name == "hit":
        kept = GroundingReply("found", (Target(Box(4, 4, 40, 40), "both kept", 0.5),), "known", ("a note",))
        _, trace = await traced(folder, cache=Memory(kept))
    elif name == "searched":
        grounder = grounder_of(Model(SMALL, NOTHING))
        answer = await ask(
            folder, "where?", grounder=grounder, image=drawn((900, 1500)), model="seer-2", search="tiles"
        )
        trace = load(answer.trace_path)
    elif name == "cut":
        _, whole = await traced(folder, BOTH)
        trace = load(cut_short(folder / "cut", whole, 3))
    else:
        _, trace = await way(folder, **(WAYS[name] if name in WAYS else FAILURES[name][0]))
    return parse(json.dumps(trace.model_dump(by_alias=True)).encode())


def of_models(trace):
    """Which paths are of steps of a model (of several rounds the second), of replaced targets, or of the prompt."""
    numbers = step_numbers(trace) if trace.result is not None else []
    terms = [step.index for step in trace.steps if step.seam == "endpoint"]
    steps = {
        step.index
        for step in trace.steps
        if (step.seam in MODEL_SEAMS and (len(terms) == 1 or terms[1] <= step.index < terms[-1]))
        or (step.target is not None and trace.result is not None and step.target not in numbers)
    }

    def of(path):
        found = re.match(r"steps\[(\d+)\]", path)
        return path.startswith("prompt") if found is None else int(found[1]) in steps

    return of


async def outcome(tree):
    """What a replay of the tree says: an error's name, or "same"."""
    try:
        await replay(checked(tree, "example"))
    except (TraceError, ConfigError) as error:
        return type(error).__name__
    return "same"


@pytest.mark.parametrize("name", EXAMPLES)
async def test_every_change_is_noticed_or_lies_in_a_blind_spot(tmp_path, name):
    tree = await example(tmp_path, name)
    trace = checked(tree, "example")
    same = await outcome(tree)
    assert same == ("TraceIncomplete" if name == "cut" else "same")
    noticed, missed, before = 0, [], json.dumps(tree)
    for path, changed in mutations(tree, of_models(trace)):
        spot = blind_spot(trace, path)
        if json.dumps(changed) == before or (spot is not None and spot.when == "always"):
            continue
        with pytest.raises(TraceError):
            checked(changed, "example")
        if await outcome(reseal(changed)) != same:
            noticed += 1
        elif spot is None:
            missed.append(path)
    assert missed == []
    assert noticed > 50


async def test_every_blind_spot_is_one(tmp_path):
    wanted = {spot for spot in BLIND_SPOTS if spot.when in OF_MODELS}
    blind = set()
    for name in EXAMPLES:
        tree = await example(tmp_path / name, name)
        trace, same = checked(tree, "example"), await outcome(tree)
        for path, changed in mutations(tree, lambda path: blind_spot(trace, path) in wanted - blind):  # noqa: B023
            if blind_spot(trace, path) not in blind and await outcome(reseal(changed)) == same:
                blind.add(blind_spot(trace, path))
    assert blind == wanted
