"""What was judged is not paid for again: after an interruption, a kill, a torn line, or a change of one thing."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from judge_cases import HALF, TRUTH, case, pictures_asked, scores, settings, steady, written
from mllm_server import MllmServer

from geoseg_agent.bench.judge.ledger import Kept, Ledger
from geoseg_agent.bench.judge.scoring import judge

SUPPORT = Path(__file__).parent / "support"
CHILD = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from types import SimpleNamespace
from judge_cases import case, settings
from geoseg_agent.bench.judge.scoring import judge
server = SimpleNamespace(base_url=sys.argv[2])
asyncio.run(judge([case(n) for n in range(8)], settings(server, endpoint_calls=1), kept=Path("judgements.jsonl")))
"""


def good(asked):
    return scores(4, 4, 4)


async def run(server, cases, kept, **values):
    mode, samples = values.pop("mode", "paper-3"), values.pop("samples", 1)
    return await judge(cases, settings(server, **values), mode=mode, samples=samples, kept=kept)


async def test_a_run_that_is_complete_asks_nothing(tmp_path):
    kept = tmp_path / "run" / "judgements.jsonl"
    cases = [case(n) for n in range(3)]
    async with MllmServer(script=good) as server:
        first = await run(server, cases, kept)
    async with MllmServer(script=good) as server:
        again = await run(server, cases, kept, model="qwen3-vl-8b")
        assert server.requests == []
    assert again.judgements == first.judgements
    assert again.summary() == first.summary()


async def test_malformed_was_paid_for_and_stays_missing(tmp_path):
    kept = tmp_path / "judgements.jsonl"
    async with MllmServer(script=lambda _: "so-so") as server:
        first = await run(server, [case()], kept)
        made = server.completions
        again = await run(server, [case()], kept)
        assert server.completions == made == 3
    assert again.summary()["missing"] == 1
    assert again.judgements == first.judgements


async def test_an_interrupted_run_goes_on_where_it_was(tmp_path):
    kept = tmp_path / "judgements.jsonl"
    cases = [case(n) for n in range(6)]

    class Enough(Exception):
        pass

    def told(done, total):
        if done == 3:
            raise Enough

    async with MllmServer(script=good) as server:
        with pytest.raises(Enough):
            await judge(cases, settings(server, endpoint_calls=1), kept=kept, told=told)
        assert server.completions == 3
        found = await run(server, cases, kept, endpoint_calls=1)
        assert found.summary()["judged"] == 6
        assert server.completions == 6
        assert len(set(pictures_asked(server))) == 6


async def test_a_kill_loses_no_reply_that_was_kept(tmp_path):
    async with MllmServer(script=good, delay=0.05) as server:
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, str(SUPPORT), server.base_url)
        while server.completions < 4:
            await asyncio.sleep(0.01)
            assert child.returncode is None
        child.kill()
        await child.wait()
        asked, kept = server.completions, tmp_path / "judgements.jsonl"
        lines = kept.read_bytes().splitlines()
        assert asked - 1 <= len(lines) <= asked
        found = await run(server, [case(n) for n in range(8)], kept, endpoint_calls=1)
        # Only what was on the wire at that moment is asked twice.
        assert server.completions - asked == 8 - len(lines)
    assert found.summary()["judged"] == 8


@pytest.mark.parametrize("torn", [b'{"key": "ab', b'{"key": 1}\n{"key"', b"\xff\xfe\n", b'{"a": 1, "a": 2}\n'])
async def test_a_torn_or_foreign_line_is_not_believed(tmp_path, torn):
    kept = tmp_path / "judgements.jsonl"
    async with MllmServer(script=good) as server:
        await run(server, [case(0)], kept)
        with kept.open("ab") as file:
            file.write(torn)
        await run(server, [case(0), case(1)], kept)
        await run(server, [case(0), case(1)], kept)
        assert server.completions == 2


async def test_a_score_changed_by_hand_to_what_is_none_is_asked_again(tmp_path):
    kept = tmp_path / "judgements.jsonl"
    async with MllmServer(script=good) as server:
        await run(server, [case(0)], kept)
        record = json.loads(kept.read_bytes())
        record["answer"]["robustness"] = 9
        kept.write_text(json.dumps(record) + "\n")
        found = await run(server, [case(0)], kept)
        assert server.completions == 2
    assert found.judgements[0].scores["robustness"] == 4


async def test_another_mask_prompt_mode_judge_query_or_sample_is_another_question(tmp_path):
    kept = tmp_path / "judgements.jsonl"
    async with MllmServer("unknown", script=steady(4)) as server:
        base = {"model": "one"}
        await run(server, [case()], kept, **base)
        for number, (other, values) in enumerate(
            [
                (case(), {**base, "mode": "released"}),
                (case(predicted=TRUTH), base),
                (case(truth=HALF), base),
                (case(query="another"), base),
                (case(), {"model": "two"}),
                (case(), {**base, "samples": 2}),
            ],
            start=2,
        ):
            await run(server, [other], kept, **values)
            assert server.completions == number
        for values in (base, {**base, "mode": "released"}, {**base, "samples": 2}):
            await run(server, [case(id="p0", name="elsewhere.png", level="2")], kept, **values)
        assert server.completions == number


async def test_another_picture_under_the_same_name_is_another_question(tmp_path):
    kept = tmp_path / "judgements.jsonl"
    async with MllmServer(script=good) as server:
        await run(server, [case()], kept)
        changed = case()
        written(changed.pair.image, seed=77)
        await run(server, [changed], kept)
        assert server.completions == 2
        await run(server, [changed], kept, bands=(3, 2, 1))
        assert server.completions == 3


async def test_a_reply_is_kept_though_its_asker_is_cancelled(tmp_path):
    kept = tmp_path / "judgements.jsonl"
    ledger = Ledger(kept)
    await ledger.open()
    paid = [
        Kept(key=str(n), pair="p", part="s", mode="m", model="m", prompt="p", predicted=[], answer=None)
        for n in range(50)
    ]
    keeping = [asyncio.create_task(ledger.keep(one)) for one in paid]
    await asyncio.sleep(0)
    for task in keeping:
        task.cancel()
    await asyncio.wait(keeping)
    await ledger.aclose()
    assert len(kept.read_bytes().splitlines()) == len(paid)


async def test_without_a_file_nothing_is_written(tmp_path):
    ledger = Ledger(None)
    await ledger.open()
    assert ledger.get("x") is None
    await ledger.aclose()
    assert list(tmp_path.iterdir()) == []
