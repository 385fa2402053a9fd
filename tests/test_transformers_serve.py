"""A query through the command line, answered by a server and a model class that nobody here wrote.

The model is tiny and blind: it says what it was taught. This is about the protocol, from the picture sent to the box
in the mask's file and the replay of the trace; it says nothing about how well anything is found.
"""

import json
from pathlib import Path

import pytest
from command_line import here
from transformers_peer import MODEL, build, missing, served

from geoseg_agent.grounding.chat import SentImage, Terms
from geoseg_agent.grounding.messages import prompt_of, request_targets
from geoseg_agent.grounding.model_profiles import agree
from geoseg_agent.grounding.reply.contract import segment_targets_tool
from geoseg_agent.samples import scene, write
from geoseg_agent.types import Query
from geoseg_tools.geometry import Box

# Of 0..1000; none of the four numbers could stand in another's place.
ANSWER = {
    "status": "found",
    "targets": [{"bbox_2d": [125, 250, 625, 875], "label": "lake"}],
    "reasoning": "A large dark area with a smooth edge.",
}
SIZE = (288, 384)
BOX = [48, 72, 240, 252]  # x of 384, y of 288
TAUGHT = ("Segment all buildings.", "Where could ducks swim?", "the westernmost field")
QUERY = "Which water could a seaplane land on?"


def conversations():
    """What the model hears in production, for other queries than the test's."""
    agreed = agree(MODEL, frame=None, profile="default", verdict=None, max_targets=None)
    terms = Terms("unknown", MODEL, ("plain",), proved=False, **agreed._asdict())
    sent = SentImage((896, 1184), Box(0, 0, SIZE[1], SIZE[0]), "image/jpeg", "", None)
    tool = segment_targets_tool(terms, sent)
    requests = [request_targets(Query(text), sent, terms, tool, prompt_of("default")) for text in TAUGHT]
    return [{message.role: message.text for message in request.messages} for request in requests]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(
    missing() != [], reason=f"needs {', '.join(missing())}: pip install -c constraints.txt --group peer"
)
def test_a_query_through_the_command_line_and_its_replay_when_the_server_is_gone(tmp_path):
    image = write(scene(7, SIZE, kind="lakeside"), tmp_path / "lakeside").png
    model = build(tmp_path / "peer", conversations(), json.dumps(ANSWER))
    with served(model) as base_url:
        endpoint = {"GEOSEG_GROUNDER": "openai", "GEOSEG_BASE_URL": base_url}
        done = here("segment", image, QUERY, "--json", "--out", "out", "--traces", "traces", **endpoint)
        wrong = here("segment", image, QUERY, "--json", "--traces", "none", **endpoint, GEOSEG_MODEL="another")

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == "found"
    assert [(target["box"], target["phrase"]) for target in told["targets"]] == [(BOX, "lake")]
    assert told["targets"][0]["area_px"] > 0
    assert Path(told["files"]["mask_png"]).stat().st_size > 0

    trace = json.loads(Path(told["trace"]).read_text(encoding="utf-8"))
    said = {step["seam"]: step["output"] for step in trace["steps"]}
    terms = said["endpoint"]
    assert (terms["model"], terms["family"], terms["read"]) == (str(model), "qwen3-vl", "norm1000")
    # It takes every dialect and enforces none, which only a canary shows.
    assert (terms["rungs"], terms["proved"]) == (["plain"], False)
    assert json.loads(said["chat"]["content"]) == ANSWER
    assert [step["seam"] for step in trace["steps"]].count("chat") == 1

    again = here("replay", told["trace"])
    assert (again.returncode, again.stdout.startswith("same")) == (0, True), again.stderr

    # A server that refuses is quoted, not asked again.
    assert wrong.returncode == 4, wrong.stderr
    assert "pinned" in json.loads(wrong.stdout)["error"]["message"]
