"""The judge end to end against the loopback server: scores, leaks, malformed replies, modes, warnings."""

import base64
import gc
import io
import json
import logging
import re

import numpy as np
import pytest
from judge_cases import HALF, TRUTH, Given, block, case, scores, settings, steady
from mllm_answers import Said
from mllm_server import MllmServer
from PIL import Image as Pillow

from geoseg_agent.bench.judge.family import kinship
from geoseg_agent.bench.judge.scoring import judge
from geoseg_agent.errors import BudgetExceeded, ConfigError, DatasetError, EndpointError, EndpointRefused

EMPTY = np.zeros_like(TRUTH)
REPLIES = {0: (5, 4, 3), 1: (1, 2, 3), 2: (2, 2, 5)}


def number_in(asked):
    return int(re.search(r"number (\d+)", asked.text)[1])


def by_number(asked):
    return scores(*REPLIES[number_in(asked)])


async def judged(server, cases, *, told=lambda done, total: None, mode="paper-3", samples=1, **values):
    more = {key: values.pop(key) for key in ("kept", "grounder", "prompt") if key in values}
    return await judge(cases, settings(server, **values), mode=mode, samples=samples, told=told, **more)


async def test_scripted_scores_come_back_exactly():
    seen = []
    async with MllmServer(script=by_number) as server:
        found = await judged(server, [case(n) for n in range(3)], told=lambda *done: seen.append(done))
    assert [one.scores for one in found.judgements] == [
        dict(zip(("faithfulness", "localization", "robustness"), map(float, REPLIES[n]), strict=True))
        for n in range(3)
    ]
    assert [one.evidence for one in found.judgements] == [("yellow covers the hall",)] * 3
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert server.completions == 3
    summary = json.loads(json.dumps(found.summary()))
    assert summary["criteria"]["faithfulness"]["mean"] == pytest.approx(8 / 3)
    assert (summary["pairs"], summary["judged"], summary["missing"]) == (3, 3, 0)
    assert summary["prompt"]["sha256"] == found.prompt.sha256
    assert found.scores()["p1"] == {"faithfulness": 1, "localization": 2, "robustness": 3}


@pytest.mark.parametrize("kind", ["hosted", "sglang", "ollama", "transformers"])
@pytest.mark.parametrize("dialect", [None, "tool", "plain"])
async def test_every_dialect_of_every_kind_of_server_does(kind, dialect):
    def answer(asked):
        return {"evidence": "as seen", "faithfulness": 4, "localization": 3, "robustness": 5}

    async with MllmServer(kind, answer=answer) as server:
        found = await judged(server, [case()], dialect=dialect)
    assert found.judgements[0].scores == {"faithfulness": 4, "localization": 3, "robustness": 5}


async def test_bytes_are_the_same_whatever_was_recorded_of_the_prediction():
    """Ids, files, folders, levels, domains, sources, phrases and the objects that hold the masks: none shows."""
    async with MllmServer(script=lambda _: scores(3, 3, 3)) as server:
        await judged(server, [case(5, predicted=HALF)])
        other = case(
            5,
            predicted=HALF.copy(),
            query="the large hall, number 5",
            name="runs/iou_0.873/airport_GT_mask.png",
            id="airport-iou-0.873",
            level="3",
            domain="airport",
            source="DIOR",
            phrase="terminal building",
        )
        await judged(server, [other])
    one, two = (record.raw for record in server.asked)
    assert one == two


@pytest.mark.parametrize("mode", ["paper-3", "paper-4", "released"])
async def test_requests_for_masks_of_any_quality_differ_in_the_pixels_of_the_picture_only(mode):
    # Areas of the first three are equal, intersections over union 1, one third and 0.
    masks = (TRUTH, block(20, 50, 70, 110), block(70, 2, 94, 127), HALF, EMPTY)
    async with MllmServer(script=steady(3)) as server:
        for mask in masks:
            await judged(server, [case(7, predicted=mask, phrase="sports hall")], mode=mode)
    assert len({mask.sum() for mask in masks[:3]}) == 1
    assert len(set(map(bare, server.asked))) == 1
    pictures = [base64.b64decode(url_of(record.body).partition(",")[2]) for record in server.asked]
    assert len(set(pictures)) == len(masks)
    opened = [Pillow.open(io.BytesIO(data)) for data in pictures]
    assert len({picture.size for picture in opened}) == 1
    for picture, data in zip(opened, pictures, strict=True):
        assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        assert [name for name, _ in picture.applist] == ["APP0"]  # nothing but the file's kind
        assert data.endswith(b"\xff\xd9")


def url_of(body):
    return body["messages"][1]["content"][0]["image_url"]["url"]


def bare(record):
    """A request as it went out, headers and body to the byte, without the picture's bytes and their number."""
    url = url_of(record.body).encode()
    assert record.raw.count(url) == 1
    headers = tuple(sorted((name, value) for name, value in record.headers.items() if name != "content-length"))
    return headers, record.raw.replace(url, b"")


@pytest.mark.parametrize("mode", ["paper-3", "paper-4", "released"])
async def test_no_request_holds_a_number_of_the_mask_a_file_or_classes(mode, tmp_path):
    cases = [
        case(
            4, name="deep/folder/secretname_0421.png", id="secret-id-77", domain="Urban", source="LoveDA", level="2"
        ),
        case(6, name="deep/folder/secretname_0422.png", id="secret-id-78", predicted=TRUTH, phrase="tank farm"),
    ]
    async with MllmServer(script=steady(3)) as server:
        await judged(server, cases, mode=mode, kept=tmp_path / "judgements.jsonl")
    for record in server.asked:
        body = json.loads(record.raw)
        pictures = [part for part in body["messages"][1]["content"] if part["type"] == "image_url"]
        assert len(pictures) == 1
        pictures[0]["image_url"]["url"] = "data:"
        said = json.dumps(body, ensure_ascii=False)
        for word in ("secretname", "secret-id", "folder", ".png", str(tmp_path), "Urban", "LoveDA", "judgements"):
            assert word not in said
        assert not re.search(r"\biou\b|intersection|jaccard|ground.truth|class(es)?\b|categor", said, re.IGNORECASE)
        # HALF is half of TRUTH.
        assert not re.search(r"0[.,]5|50 ?%|\b0\.\d", said.replace(f'"temperature": {body["temperature"]}', ""))


async def test_the_query_stands_at_the_end_as_data_and_released_takes_the_phrase():
    async with MllmServer(script=steady(2)) as server:
        for mode in ("paper-3", "released"):
            found = await judged(server, [case(3, phrase="sports hall"), case(8)], mode=mode)
    plain, other, named, fallen = (record.body["messages"][1]["content"][1]["text"] for record in server.asked)
    assert plain.endswith("<query>\nthe large hall, number 3\n</query>")
    assert other.endswith("number 8\n</query>")
    assert named.endswith("<query>\nsports hall\n</query>")
    assert "number 3" not in named
    assert fallen.endswith("number 8\n</query>")
    assert found.warnings == ("1 of 2 pairs have no phrase: their query stands in its place",)


BAD = (
    scores(5, 4, 6),
    scores(5, 4, 0),
    scores(5, 4),
    scores("5", 4, 3),
    scores(4.5, 4, 3),
    scores(True, 4, 3),
    '{"faithfulness": 5, "faithfulness": 1, "localization": 3, "robustness": 3}',
    '{"faithfulness": 5, "localization": 3, "robustness": 3, "iou": 0.9}',
    "I would say it is rather good.",
    Said(refusal="I cannot help with that."),
)


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
async def test_malformed_replies_are_asked_again_then_missing_and_never_three(bad):
    def script(asked):
        return bad if number_in(asked) == 1 else scores(5, 5, 5)

    async with MllmServer(script=script) as server:
        found = await judged(server, [case(0), case(1)])
    assert server.completions == 1 + 3
    assert found.judgements[1].scores is None
    assert len(found.judgements[1].malformed) == 1
    summary = found.summary()
    assert (summary["judged"], summary["missing"], summary["samples_malformed"]) == (1, 1, 1)
    figures = summary["criteria"]["robustness"]
    assert (figures["mean"], figures["pairs"], figures["bounds"]) == (5, 1, [3, 5])


async def test_a_reply_put_right_when_asked_again_counts():
    async with MllmServer(script=[scores(9, 9, 9), scores(4, 4, 2)]) as server:
        found = await judged(server, [case()])
    assert found.judgements[0].scores == {"faithfulness": 4, "localization": 4, "robustness": 2}
    told = json.dumps(server.asked[1].body["messages"][-1])
    assert "faithfulness" in told


async def test_released_overwrites_overlap_and_counts_what_would_have_been_three():
    half_left = block(20, 20, 70, 51)  # a little over one half
    cases = [case(n, predicted=p, phrase="hall") for n, p in enumerate((half_left, TRUTH, EMPTY))]
    replies = iter([scores(5, 4, 3, 1), "Very good.", scores(4, 4, 4, 4), 'faithfulness: 4, "localization": 7'])

    async with MllmServer(script=lambda _: next(replies, "nothing")) as server:
        found = await judged(server, cases, mode="released", endpoint_calls=1, attempts=2)
    one, two, three = found.judgements
    assert (one.scores["overlap"], one.said["overlap"], one.overlap) == (3, (1,), 3)
    assert two.scores == {"faithfulness": 4, "localization": 4, "robustness": 4, "overlap": 5}
    assert three.scores is None
    assert [one.threes for one in found.judgements] == [0, 3, 1]
    assert found.summary()["scores_read_as_3_by_released_code"] == 4
    assert found.summary()["overlap_computed"]["counts"] == {"1": 1, "2": 0, "3": 1, "4": 0, "5": 1}


async def test_paper_4_takes_overlap_from_the_model():
    async with MllmServer(script=lambda _: scores(5, 4, 3, 1)) as server:
        found = await judged(server, [case(predicted=TRUTH)], mode="paper-4")
    assert found.judgements[0].scores["overlap"] == 1
    assert found.judgements[0].overlap == 5
    schema = server.asked[0].body["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == ["evidence", "faithfulness", "localization", "robustness", "overlap"]
    assert schema["properties"]["overlap"] == {"type": "integer", "minimum": 1, "maximum": 5}


async def test_samples_give_mean_and_spread_and_one_that_is_lost_is_counted():
    by_seed = {0: scores(1, 3, 3), 1: scores(3, 3, 3), 2: "no"}

    async with MllmServer(script=lambda asked: by_seed.get(asked.body["seed"] % 1000)) as server:
        found = await judged(server, [case()], samples=3)
    one = found.judgements[0]
    assert (one.scores["faithfulness"], one.spread["faithfulness"]) == (2, 1)
    assert one.said["faithfulness"] == (1, 3)
    assert len(one.malformed) == 1
    first = [record.body for record in server.asked if record.body["seed"] < 1000]
    assert sorted((body["seed"], body["temperature"]) for body in first) == [(0, 0.0), (1, 0.7), (2, 0.7)]
    assert len({record.body["messages"][1]["content"][0]["image_url"]["url"] for record in server.asked}) == 1


async def test_no_answer_has_the_lowest_scores_and_is_not_shown_to_the_judge():
    async with MllmServer(script=steady(5)) as server:
        made = await judged(server, [case(2, predicted=None, truth=EMPTY), case(3, predicted=EMPTY, truth=EMPTY)])
    assert len(server.asked) == 1
    silent, empty = made.judgements
    assert (silent.scores["faithfulness"], silent.iou, silent.overlap, silent.answered) == (1, 0, 1, False)
    assert (empty.scores["faithfulness"], empty.iou, empty.overlap, empty.answered) == (5, 1, 5, True)
    summary = made.summary()
    assert (summary["judged"], summary["unanswered"], summary["missing"]) == (2, 1, 0)
    assert summary["criteria"]["faithfulness"]["mean"] == 3


async def test_at_most_endpoint_calls_requests_at_once():
    async with MllmServer(script=lambda _: scores(3, 3, 3), delay=0.02) as server:
        await judged(server, [case(n) for n in range(6)], endpoint_calls=2, samples=2)
    spans = sorted((record.arrived, record.ended) for record in server.asked)
    running = [sum(start <= at < end for start, end in spans) for at, _ in spans]
    assert len(spans) == 12
    assert max(running) <= 2


async def test_judge_and_grounder_of_one_family_are_told(caplog):
    async with MllmServer(script=lambda _: scores(3, 3, 3)) as server:
        with caplog.at_level(logging.WARNING):
            found = await judged(server, [case()], grounder="mllm:Qwen2.5-VL-7B+sam3")
    assert "of one model family, qwen" in found.warnings[0]
    assert "of one model family" in caplog.text
    assert found.summary()["warnings"] == list(found.warnings)


@pytest.mark.parametrize(
    ("judge_name", "grounder", "kin"),
    [
        ("qwen3-vl-8b", "Qwen/Qwen2.5-VL-72B-Instruct", True),
        ("gemma-3-27b", "gemini-2.5-pro", True),
        ("gpt-5", "mllm:qwen3-vl-8b+sam3", False),
        ("InternVL3-38B", None, False),
        ("InternVL3-38B", "offline-baseline", False),
        ("acme/see-it", "mllm:see-it+classical", True),
        ("llama-3.2-90b-vision", "llava-1.6", False),
        ("acme/see-it", "mllm:other+classical", False),
        ("gpt-4o", "openai/gpt-4.1", True),
        ("o3", "mllm:gpt-5+sam3", True),
        ("pixtral-12b", "mistral-small-3.1", True),
        ("minicpm-v-4", "MiniCPM-o-2.6", True),
        ("offline-judge", "offline-baseline", False),
    ],
)
def test_families(judge_name, grounder, kin):
    assert (kinship(judge_name, grounder) is not None) is kin


# Requests end while they connect: anyio 4 loses the socket of a connection that is cancelled as it comes about.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_a_judge_that_cannot_be_reached_ends_the_run():
    async with MllmServer(faults="401") as server:
        with pytest.raises(EndpointRefused):
            await judged(server, [case(n) for n in range(3)], endpoint_calls=1)
        assert server.completions == 1
    async with MllmServer(faults="500") as server:
        with pytest.raises(EndpointError):
            await judged(server, [case(n) for n in range(40)], attempts=1)
        assert server.completions < 40
        # Few enough to end before that is noticed.
        with pytest.raises(EndpointError):
            await judged(server, [case(n) for n in range(3)], attempts=1)
    gc.collect()


async def test_a_failure_of_the_moment_is_counted_and_asked_again_later(tmp_path):
    kept = tmp_path / "judgements.jsonl"
    async with MllmServer(script=lambda _: scores(3, 3, 3), faults={2: "500"}) as server:
        cases = [case(n) for n in range(3)]
        found = await judged(server, cases, kept=kept, attempts=1, endpoint_calls=1)
        assert (found.summary()["missing"], found.summary()["samples_failed"]) == (1, 1)
        again = await judged(server, cases, kept=kept, attempts=1, endpoint_calls=1)
    assert again.summary()["missing"] == 0
    assert server.completions == 4


async def test_a_case_that_the_judge_refuses_is_missing_in_later_runs_too(tmp_path):
    kept = tmp_path / "judgements.jsonl"
    cases = [case(n) for n in range(3)]
    async with MllmServer(script=lambda _: scores(3, 3, 3), faults={2: "400"}) as server:
        first = await judged(server, cases, kept=kept, endpoint_calls=1)
    async with MllmServer(script=lambda _: scores(3, 3, 3), faults="400") as server:
        again = await judged(server, cases, kept=kept, endpoint_calls=1)
        assert server.completions == 1
    for found in (first, again):
        summary = found.summary()
        assert (summary["judged"], summary["missing"], summary["samples_failed"]) == (2, 1, 1)


async def test_what_cannot_be_kept_is_said(tmp_path):
    (tmp_path / "file").write_text("in the way")
    async with MllmServer(script=lambda _: scores(3, 3, 3)) as server:
        with pytest.raises(DatasetError, match="cannot be read as a file of judgements"):
            await judged(server, [case()], kept=tmp_path)
        assert server.completions == 0
        with pytest.raises(DatasetError, match="cannot be"):
            await judged(server, [case()], kept=tmp_path / "file" / "judgements.jsonl")


async def test_the_interval_resamples_images_and_one_image_has_none():
    same = {"name": "one.png"}
    async with MllmServer(script=by_number) as server:
        two = await judged(server, [case(n) for n in range(3)])
        one = await judged(server, [case(n, **same) for n in range(3)])
    low, high = two.summary()["criteria"]["faithfulness"]["interval"]
    assert 1 <= low < 8 / 3 < high <= 5
    assert one.summary()["criteria"]["faithfulness"]["interval"] is None
    assert one.summary()["overlap_computed"]["interval"] is None


async def test_what_cannot_be_asked_is_an_error():
    async with MllmServer(script=lambda _: scores(3, 3, 3)) as server:
        with pytest.raises(ConfigError, match="no mode 'paper-5'"):
            await judged(server, [case()], mode="paper-5")
        with pytest.raises(ConfigError, match="got 0"):
            await judged(server, [case()], samples=0)
        with pytest.raises(DatasetError, match="p0 comes 2 times"):
            await judged(server, [case(), case()])
        with pytest.raises(DatasetError, match="pair p0: the predicted mask has 9 x 9"):
            await judged(server, [case(predicted=np.ones((9, 9), bool))])
        with pytest.raises(BudgetExceeded):
            await judged(server, [case()], max_tokens_total=100)
        assert server.completions == 0
        # No box is asked for, so no frame need be known.
        assert (await judged(server, [case()], profile="paper")).judgements[0].scores
        assert (await judged(server, [])).summary()["overlap_computed"] is None


def test_given_masks_are_truths():
    assert Given(TRUTH).read() is TRUTH
