"""`geoseg bench` and `geoseg calibrate` as a person starts them: output, files, exit codes."""

import asyncio
import json

import numpy as np
import PIL.Image
import pytest
from asking import RED
from bench_data import two_boxes
from command_line import here
from judge_cases import scores
from mllm_server import MllmServer

from geoseg_agent import Settings
from geoseg_agent.bench.ablation_run import Line, Made
from geoseg_agent.bench.datasets import open_pairs
from geoseg_agent.bench.plan import source_of
from geoseg_agent.bench.records import load_results, result_of
from geoseg_agent.bench.run import run
from geoseg_agent.runs.failure import Failure
from geoseg_agent.runs.lines import line_of


def shifted(data, folder, by=20):
    """Masks of another system: the truth, moved to the right."""
    folder.mkdir()
    for path in data.glob("*-mask.png"):
        mask = np.roll(np.asarray(PIL.Image.open(path)), by, axis=1)
        PIL.Image.fromarray(mask).save(folder / path.name.replace("-mask", ""))
    return folder


@pytest.fixture
def data(tmp_path):
    return two_boxes(tmp_path / "data", pictures=2)


@pytest.fixture
def scored(data, tmp_path):
    """A scored folder of masks, without a process."""
    done = here("bench", "score", data, "--pred", shifted(data, tmp_path / "theirs"), "--out", "runs/theirs")
    assert done.returncode == 0, done.stderr
    return tmp_path / "runs" / "theirs", done


def model_run(data, folder, server, **values):
    """A run of the agent, with the loopback model."""
    dataset = open_pairs(data)
    known = {"base_url": server.base_url, "dialect": "json_schema"} | values
    return run(dataset, source_of(dataset, data), list(dataset), folder, Settings(**known))


def out_of_memory(data, result):
    """A line of an ablation in which a tool failed that need not fail again."""
    pair = next(pair for pair in open_pairs(data) if pair.id == result.id)
    error = Failure(code="tool_oom", message="no memory left")
    failed = result_of(pair, pair.truth.read(), None, status="failed", engine=result.engine, error=error)
    return Line(id=result.id, trace=result.trace, made={"text": Made(result=failed, ran={})})


async def cli(*arguments, **environment):
    return await asyncio.to_thread(here, *arguments, **environment)


def test_masks_of_another_system_are_scored_shown_and_compared(scored, data, tmp_path):
    folder, done = scored
    assert "pairs per second" in done.stderr
    assert {path.name for path in folder.iterdir()} == {"run.json", "results.jsonl", "summary.json", "report.html"}
    results = list(load_results(folder / "results.jsonl"))
    width = RED.x2 - RED.x1
    red = next(result for result in results if result.id == "0-red")
    assert red.scores.iou == pytest.approx((width - 20) / (width + 20))
    page = (folder / "report.html").read_text()
    assert "made by another system" in page
    assert "predictions are not drawn" not in page

    perfect = here("bench", "score", data, "--pred", shifted(data, tmp_path / "perfect", 0), "-o", "p")
    assert perfect.returncode == 0, perfect.stderr
    compared = here("bench", "compare", "p", "runs/theirs", "--json")
    assert compared.returncode == 0, compared.stderr
    assert {"p", "theirs"} <= set(json.dumps(json.loads(compared.stdout)).replace('"', " ").split())
    told = here("bench", "compare", "p", "runs/theirs")
    assert "| p " in told.stdout
    told = here("bench", "compare", "p/results.jsonl", "runs/theirs/results.jsonl")
    assert "p/results.jsonl minus runs/theirs/results.jsonl" in told.stdout

    again = here("bench", "run", data, "--out", "runs/theirs")
    assert again.returncode == 2
    assert "holds a run of another plan" in again.stderr


def test_a_broken_data_set_is_listed_before_anything_is_asked(data, tmp_path):
    lines = (data / "manifest.jsonl").read_text().splitlines()
    lines[0] = lines[0].replace("0.png", "none.png", 1)
    lines[2] = lines[2].replace('"query"', '"question"')
    (data / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    checked = here("bench", "validate", data)
    assert checked.returncode == 2
    assert "manifest.jsonl, line 1 (0-red)" in checked.stderr
    assert "none.png" in checked.stderr
    assert "manifest.jsonl, line 3" in checked.stderr
    ran = here("bench", "run", data, "--out", "run")
    assert (ran.returncode, (tmp_path / "run").exists()) == (2, False)
    assert "nothing was asked yet" in ran.stderr


def test_a_sound_data_set_is_said_to_be(data, tmp_path):
    done = here("bench", "validate", data)
    assert (done.returncode, done.stdout) == (0, "fine  4 pairs, layout manifest\n")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("bench", "run", "none", "--out", "run"), 2, "does not exist"),
        (("bench", "run", "data", "--out", "run", "--kind", "coco"), 2, "one of manifest"),
        (("bench", "run", "data", "--out", "run", "--split", "val"), 2, "has no splits"),
        (("bench", "score", "data", "--pred", "none", "--out", "run"), 2, "is no folder"),
        (("bench", "compare", "none", "other"), 2, "cannot be read"),
        (("bench", "compare", "runs/theirs", "runs/theirs"), 2, "named twice"),
        (("bench", "ablate", "none"), 2, "holds no run"),
        (("bench", "ablate", "runs/theirs"), 2, "leave nothing to vary"),
        (("bench", "ablate", "runs/theirs", "--sweep", "k"), 2, "--sweep k=1,5,10"),
        (("bench", "ablate", "runs/theirs", "--margins", "1"), 2, "--margins 0:0"),
        (("bench", "consistency", "none.json"), 2, "or paper"),
        (("bench", "judge", "runs/theirs"), 3, "GEOSEG_BASE_URL"),
        (("bench", "agree", "none.csv", "data/manifest.jsonl"), 2, "none.csv"),
        (("calibrate", "none", "--out", "out"), 2, "does not exist"),
        (("calibrate", "runs/theirs", "--out", "out"), 2, "no folder"),
        (("calibrate", "data/boxes.jsonl", "--out", "out"), 3, "GEOSEG_BASE_URL"),
    ],
)
def test_bad_arguments_are_told_with_a_remedy(scored, tmp_path, arguments, code, says):
    done = here(*arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert says in done.stderr


def test_the_papers_table_is_possible_and_an_impossible_one_is_not(tmp_path):
    done = here("bench", "consistency", "paper")
    assert done.returncode == 0
    assert 'rule "text" on at least 16.8 % of pairs' in done.stdout
    rows = {"full": {"iou": 56.4, "recall": 65.7}, "text": {"iou": 50.0, "recall": 40.0}, "points": {"recall": 10.0}}
    (tmp_path / "table.json").write_text(json.dumps({"name": "theirs", "rows": rows}))
    broken = here("bench", "consistency", "table.json")
    assert broken.returncode == 2
    assert "impossible" in broken.stdout
    (tmp_path / "table.json").write_text('{"name": "theirs", "rows": {"all": {"iou": 1}}}')
    wrong = here("bench", "consistency", "table.json")
    assert (wrong.returncode, "rows.all" in wrong.stderr) == (2, True)


async def test_an_ablation_asks_no_model_and_is_consistent(data, tmp_path):
    async with MllmServer() as server:
        await model_run(data, tmp_path / "run", server)
        asked = len(server.requests)
        done = await cli("bench", "ablate", "run", "--sweep", "gamma=0,0.9")
        assert len(server.requests) == asked == server.completions + 1  # its list of models
    assert done.returncode == 0, done.stderr
    assert "| full | ours |" in done.stdout
    assert "| full | theirs | 56.4 | 64.2 |" in done.stdout
    told = json.loads((tmp_path / "run" / "ablation" / "ablation.json").read_text())
    assert list(told["ran"]) == ["full", "no-refinement", "text", "points", "gamma=0", "gamma=0.9"]
    ran = {
        name: sum(row[kind] for kind in ("encode", "similarity", "points", "text"))
        for name, row in told["ran"].items()
    }
    assert {name for name, calls in ran.items() if calls} == {"no-refinement"}
    rows = {name: list(load_results(tmp_path / "run" / "ablation" / name / "results.jsonl")) for name in ran}
    recorded = {result.id: result for result in load_results(tmp_path / "run" / "results.jsonl")}
    assert [(one.id, one.scores, one.rules) for one in rows["full"]] == [
        (name, recorded[name].scores, recorded[name].rules) for name in ("0-red", "0-blue", "1-red", "1-blue")
    ]
    assert {result.rules for result in rows["gamma=0.9"]} == {("none",)}
    possible = await cli("bench", "consistency", "run")
    assert possible.returncode == 0, possible.stdout

    lines = tmp_path / "run" / "ablation" / "lines.jsonl"
    first, *others = lines.read_bytes().splitlines(keepends=True)
    failed = line_of(out_of_memory(data, recorded["0-red"])).encode()
    lines.write_bytes(b"".join([failed, *others, first[:100]]))  # the last as a kill leaves it
    again = await cli("bench", "ablate", "run", "--sweep", "gamma=0,0.9")
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert len(lines.read_text().splitlines()) == 4 + 1  # the torn line is cut off, and what failed is made again
    few = await cli("bench", "ablate", "run", "--recorded-only")
    assert "- no-refinement: everything on another region" in few.stdout


async def test_a_judge_rates_a_run_once_and_agrees_with_itself(data, tmp_path, scored):
    async with MllmServer(script=lambda _: scores(5, 4, 3), model="judge/one") as server:
        options = ("--base-url", server.base_url, "--model", "judge/one")
        done = await cli("bench", "judge", "runs/theirs", *options)
        assert done.returncode == 0, done.stderr
        assert server.completions == 4
        again = await cli("bench", "judge", "runs/theirs", *options, "--json")
        assert server.completions == 4
    summary = json.loads(again.stdout)
    assert [summary["criteria"][name]["mean"] for name in ("faithfulness", "localization", "robustness")] == [5, 4, 3]
    assert "faithfulness" in done.stdout
    file = tmp_path / "runs" / "theirs" / "judge" / "paper-3-judge-one.json"
    assert json.loads(file.read_text())["summary"] == summary
    (tmp_path / "people.csv").write_text("pair,faithfulness\n0-red,4\n1-red,5\n")
    agreed = await cli("bench", "agree", file, "people.csv")
    assert agreed.returncode == 0, agreed.stderr
    assert agreed.stdout.split()[-4:] == ["2", "none:", "constant", "0.000", "+0.50"][-4:]


async def test_two_runs_in_a_duel(data, tmp_path, scored):
    better = '{"evidence": "less red", "better": "first"}'
    async with MllmServer(script=lambda _: better, model="one") as server:
        await cli("bench", "score", data, "--pred", shifted(data, tmp_path / "far", 60), "-o", "runs/far")
        options = ("--base-url", server.base_url, "--model", "one")
        done = await cli("bench", "duel", "runs/theirs", "runs/far", *options)
        assert done.returncode == 0, done.stderr
        assert server.completions == 8
    assert "ties 4, of them 4 because the judge chose a place" in done.stdout
    assert "position bias +1.00" in done.stdout
    assert (tmp_path / "runs" / "theirs" / "judge" / "duel-far-one.json").is_file()


async def test_a_run_is_calibrated_and_the_agent_loads_what_comes_of_it(tmp_path):
    data = two_boxes(tmp_path / "data", pictures=12)
    async with MllmServer() as server:
        await model_run(data, tmp_path / "run", server)
    done = await cli("calibrate", "run", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "calibration.env", "calibration.md", "calibration.json", "offsets.png",
    }  # fmt: skip
    values = dict(
        line.split("=") for line in (tmp_path / "out" / "calibration.env").read_text().splitlines() if line[0] != "#"
    )
    assert set(values) == {"GEOSEG_ALPHA", "GEOSEG_BETA"}
    doctor = await cli("doctor", **values)
    assert doctor.returncode == 0, doctor.stderr


async def test_boxes_are_asked_for_at_the_endpoint(tmp_path):
    two_boxes(tmp_path / "data", pictures=12)
    async with MllmServer() as server:
        endpoint = {"GEOSEG_BASE_URL": server.base_url, "GEOSEG_DIALECT": "json_schema"}
        done = await cli("calibrate", "data/boxes.jsonl", "--out", "out", "--limit", "20", **endpoint)
        assert done.returncode == 0, done.stderr
        assert server.completions == 20
        again = await cli("calibrate", "data/boxes.jsonl", "--out", "out", "--limit", "20", **endpoint)
        assert (again.stdout, server.completions) == (done.stdout, 20)
    assert len(list((tmp_path / "out" / "asked" / "traces").glob("*.json"))) == 20


async def test_a_run_says_why_it_failed_what_it_is_called_and_what_it_cannot_write(tmp_path, monkeypatch):
    data, run = two_boxes(tmp_path / "data", pictures=1), tmp_path / "run"
    async with MllmServer(faults="401") as server:
        endpoint = {"GEOSEG_BASE_URL": server.base_url, "GEOSEG_DIALECT": "json_schema"}
        done = await cli("bench", "run", data, "--out", "run", **endpoint)
        assert (done.returncode, "failed 2: all of them count" in done.stdout) == (0, True), done.stderr
        assert "note: 2 pairs failed, 2 of them with: " in done.stderr
        monkeypatch.chdir(run)
        (run / "report.html").unlink()
        await cli("bench", "run", data, "--out", ".", **endpoint)
        assert "<title>run " in (run / "report.html").read_text()
        (run / "summary.json").unlink()
        (run / "summary.json").mkdir()
        full = await cli("bench", "run", data, "--out", ".", **endpoint)
    assert (full.returncode, "summary.json cannot be written" in full.stderr) == (2, True)


async def test_an_ablation_without_a_trace_says_what_happened(tmp_path):
    data = two_boxes(tmp_path / "data", pictures=1)
    for picture in data.glob("?.png"):
        picture.write_bytes(b"no picture")
    async with MllmServer() as server:
        await model_run(data, tmp_path / "run", server)
    done = await cli("bench", "ablate", "run")
    assert (done.returncode, "left a trace" in done.stderr, "Failure" in done.stderr) == (2, True, False)
