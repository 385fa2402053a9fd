"""Ablation over the toolset of models, small and random: what must run runs once, and gives what it gives alone."""

import numpy as np
import pytest
from small_models import MISSING, Counted, seat, toolbox

from geoseg_agent import Agent, ConfigError, Hints, Settings
from geoseg_agent.bench.ablation import Live, ablate
from geoseg_agent.bench.memo import Calls
from geoseg_agent.bench.variations import TABLE_3, UNGROUNDED, Variation, margins, needs, settings_of, sweep
from geoseg_agent.imagery import Image
from geoseg_agent.models import toolbox_over
from geoseg_agent.samples import scene
from geoseg_agent.trace import codec
from geoseg_agent.trace.store import load

pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"needs {', '.join(MISSING)}: pip install 'geoseg-agent[models]'"
)

LIKELY = {"text_threshold": 0.1}  # random weights are sure of little
HINTS = (Hints(phrase="lake"), Hints(box=(40, 30, 200, 180), phrase="field"))


@pytest.fixture(scope="module")
def image():
    return Image.from_array(np.array(scene(7, (256, 320)).pixels), name="drawn")


def plain(answer):
    """Everything that a variation decides: targets with masks, instances, scores and keypoints."""
    return codec.encode_result(answer, {}, "").model_dump(exclude={"notes", "reasoning"})


async def asked(folder, image, **changes):
    settings = Settings(traces=folder, **{**LIKELY, **changes})
    async with Agent(settings, toolbox=toolbox(settings)) as agent:
        return [await agent.segment(image, "Segment the lake.", hints=hints) for hints in HINTS]


async def test_every_variation_is_what_it_is_alone_and_every_region_is_encoded_once(tmp_path, image):
    variations = (*TABLE_3, *UNGROUNDED, *sweep("k", (1,)), *sweep("heat_norm", ("none",)), *margins(((0.4, 0.1),)))
    traces = [load(answer.trace_path) for answer in await asked(tmp_path, image)]
    counted = []

    def watched(inner):
        counted.append(Counted(inner))
        counted[-1].weights = inner.weights  # what the memory knows them by
        return counted[-1]

    settings = Settings(traces="none", max_encoded=1, **LIKELY)
    live = Live(image, toolbox_over(settings, [seat(settings, segmenter=watched)]))
    try:
        ablated = [await ablate(trace, variations, live) for trace in traces]
    finally:
        await live.tools.aclose()

    assert len(set(counted[0].encoded)) == len(counted[0].encoded)
    for number, variation in enumerate(variations):
        for outcomes, alone in zip(ablated, await asked(tmp_path, image, **variation.changes), strict=True):
            assert plain(outcomes[number].answer) == plain(alone), variation.name
    assert any(outcome.answer.mask.any() for outcomes in ablated for outcome in outcomes)


async def test_a_variation_of_the_text_prompt_runs_on_tools_that_were_built_for_it(tmp_path, image):
    sure = Variation("sure", {"text_threshold": 0.4})
    alone_sure = Variation("sure, points only", {"text_threshold": 0.4, "variant": "points"})
    loose = Variation("loose", {"text_mode": "both", "k": 1})
    trace = load((await asked(tmp_path, image))[1].trace_path)
    settings = Settings(traces="none", **LIKELY)
    others = {("instances", 0.4): sure, ("both", 0.1): loose}
    text_tools = {edition: toolbox(settings_of(trace, variation)) for edition, variation in others.items()}
    tools = toolbox(settings)
    variations = (*TABLE_3[:1], sure, loose, alone_sure)
    try:
        outcomes = await ablate(trace, variations, Live(image, tools, text_tools))
        with pytest.raises(ConfigError, match="none were given that were built for it"):
            await ablate(trace, variations, Live(image, tools))
        with pytest.raises(ConfigError, match=r"built with text_threshold=0\.1, and 0\.4 is asked for"):
            await ablate(trace, variations, Live(image, tools, dict.fromkeys(text_tools, tools)))
    finally:
        for each in (tools, *text_tools.values()):
            await each.aclose()

    assert needs(sure, trace).runs == "text prompt"
    assert needs(alone_sure, trace).runs == "nothing"
    assert [outcome.ran for outcome in outcomes] == [
        Calls(hits=3),
        Calls(encode=1, text=1, hits=2),
        Calls(encode=1, points=1, text=1, hits=1),
        Calls(hits=2),
    ]
    for outcome in outcomes:
        alone = (await asked(tmp_path, image, **outcome.variation.changes))[1]
        assert plain(outcome.answer) == plain(alone), outcome.variation.name
