"""The committed example traces: all there, all replay bit for bit, every change to one is noticed."""

import json
from pathlib import Path

import pytest

from geoseg_agent import TraceCorrupt, TraceIncomplete
from geoseg_agent.trace.replay import replay
from geoseg_agent.trace.store import load

EXAMPLES = Path(__file__).parents[1] / "traces" / "examples"
ENDS = {
    "one-target": "done",
    "many-targets": "done",
    "implicit": "done",
    "hints": "done",
    "both": "done",
    "points": "done",
    "text": "done",
    "none": "done",
    "not-found": "done",
    "variant": "done",
    "clicked": "done",
    "corrected": "done",
    "steady": "done",
    "failed": "failed",
    "interrupted": "interrupted",
    "model": "done",
    "model-reasked": "done",
    "model-retried": "done",
    "model-samples": "done",
    "model-reviewed": "done",
    "model-refused": "failed",
}


def test_there_is_one_for_each_way_a_query_can_end():
    assert {path.stem: load(path).status for path in EXAMPLES.glob("*.json")} == ENDS


@pytest.mark.parametrize("rule", ["both", "points", "text", "none"])
def test_each_rule_of_fusion_has_its_example(rule):
    assert {target.rule for target in load(EXAMPLES / f"{rule}.json").result.targets} == {rule}


@pytest.mark.parametrize("name", sorted(ENDS))
async def test_it_replays_without_its_image(name):
    path = EXAMPLES / f"{name}.json"
    if ENDS[name] == "interrupted":
        with pytest.raises(TraceIncomplete):
            await replay(path)
        return

    done = await replay(path)

    if ENDS[name] == "failed":
        assert done.error.code == load(path).error.code == {"failed": "invalid_reply"}.get(name, "endpoint")
    else:
        assert done.answer.status == load(path).result.status
        assert not done.answer.image.scene.has_pixels


def test_examples_of_models_show_what_they_are_named_after():
    chats = {
        name: [step for step in load(EXAMPLES / f"{name}.json").steps if step.seam == "chat"]
        for name in ENDS
        if name.startswith("model")
    }
    assert {name: len(steps) for name, steps in chats.items()} == {
        "model": 1,
        "model-reasked": 2,
        "model-retried": 2,
        "model-samples": 3,
        "model-reviewed": 3,
        "model-refused": 1,
    }
    assert [message.role for message in chats["model-reasked"][1].input.messages][-2:] == ["assistant", "user"]
    assert chats["model-retried"][0].error.type == "EndpointUnavailable"
    assert [step.input.tool.name for step in chats["model-reviewed"]][1:] == ["review_targets"] * 2


def test_examples_name_no_machine():
    for path in EXAMPLES.glob("*.json"):
        tree = json.loads(path.read_text(encoding="utf-8"))
        assert tree["image"]["path"] is None
        assert not Path(tree["settings"]["traces"]).is_absolute()


@pytest.mark.parametrize("name", sorted(ENDS))
def test_any_changed_line_is_named(tmp_path, name):
    text = (EXAMPLES / f"{name}.json").read_text(encoding="utf-8")
    tree = json.loads(text)
    for field in ("query", "engine", "started", "method", "settings", "image", "hints", "steps", "result", "error"):
        changed = dict(tree)
        changed[field] = _other(tree[field])
        if changed[field] == tree[field]:
            continue
        (tmp_path / "changed.json").write_text(json.dumps(changed), encoding="utf-8")
        with pytest.raises(TraceCorrupt, match=field.removesuffix("s")):
            load(tmp_path / "changed.json")


def _other(value):
    """The value with its first leaf changed, keeping its type."""
    if isinstance(value, dict) and value:
        key = next(iter(value))
        return value | {key: _other(value[key])}
    if isinstance(value, list) and value:
        return [*value[:-1], _other(value[-1])]
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1:] != "0" else "1")
    if isinstance(value, int | float):
        return value + 1
    return value
