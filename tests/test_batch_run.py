"""A batch: every item once, whatever interrupts it, and figures and outlines that come out of the traces again."""

import asyncio

import numpy as np
import pyogrio
import pyproj
import pytest
import shapely
from asking import settings
from batch_data import SIZE, lines, ran, same, scenes, words, write_lines
from bench_data import two_boxes
from mllm_server import MllmServer

from geoseg_agent.batch.engines import LocalEngine, WorkerLost
from geoseg_agent.batch.layer import FIELDS, write_layer
from geoseg_agent.batch.outcome import failed
from geoseg_agent.batch.results import load_results
from geoseg_agent.batch.run import run
from geoseg_agent.batch.sources import Source
from geoseg_agent.batch.summary import write_summary
from geoseg_agent.errors import ConfigError, DatasetError, EndpointError
from geoseg_agent.runs.failure import Failure
from geoseg_agent.trace.rle import decode_mask
from geoseg_agent.trace.store import load

FAR = '{"status": "found", "targets": [{"bbox_2d": [1, 1, 5000, 9], "label": "far"}]}'
QUERIES = ("the red rectangle", "the blue rectangle")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "batch"


class Counting(LocalEngine):
    """Remembers what it was asked, and how much at once."""

    def __init__(self, *given):
        super().__init__(*given)
        self.asked, self.running, self.most = [], 0, 0

    async def answer(self, task):
        self.asked.append(task.item.id)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await super().answer(task)
        finally:
            self.running -= 1


async def test_every_item_is_answered_once_and_a_second_start_asks_nothing(tmp_path, folder):
    source, told = scenes(tmp_path / "in", 7, broken=(2,), names="ä {:d}.tif"), []
    engine = Counting(words(), 3)
    results = await ran(source, folder, words(), ("both sure", "silence"), engine=engine, told=told.append, part=4)
    assert len(results) == len(engine.asked) == 14
    assert engine.most == 3
    assert (told[0].done, told[-1].done, told[-1].failed) == (0, 14, 2)
    bad = [one for one in results.values() if one.status == "failed"]
    assert [(one.source, one.error.code, one.trace) for one in bad] == [("ä 2.tif", "bad_image", None)] * 2
    found = [one for one in results.values() if one.query == "both sure" and one.status != "failed"]
    assert {(one.status, one.targets, one.confidence, one.engine) for one in found} == {
        ("found", 1, 0.5, "words+word-tools")
    }
    assert {one.status for one in results.values() if one.query == "silence"} == {"not_found", "failed"}
    assert sorted(path.name for path in (folder / "traces").iterdir()) == ["00000", "00001", "00002", "00003"]
    again = Counting(words(), 3)
    assert await ran(source, folder, words(), ("both sure", "silence"), engine=again) == results
    assert again.asked == []


async def test_the_layer_and_the_summary_come_out_of_the_masks(tmp_path, folder):
    source = scenes(tmp_path / "in", 5, broken=(1,))
    results = await ran(source, folder, words(), ("both sure", "text apart"), part=4)
    assert write_layer(folder) == sum(one.objects.count for one in results.values() if one.objects)
    frame, table = pyogrio.read_info(folder / "objects.gpkg"), pyogrio.raw.read(folder / "objects.gpkg")
    assert list(frame["fields"]) == list(FIELDS)
    assert frame["crs"] == "EPSG:4326"
    values = dict(zip(frame["fields"], table[3], strict=True))
    geod, to_metres = pyproj.Geod(ellps="WGS84"), pyproj.Transformer.from_crs(4326, 32633, always_xy=True)
    for row, blob in enumerate(table[2]):
        result = results[values["item"][row]]
        assert (values["source"][row], values["query"][row]) == (result.source, result.query)
        shape = shapely.from_wkb(blob)
        assert abs(geod.geometry_area_perimeter(shape)[0]) == pytest.approx(values["area_m2"][row], rel=1e-6)
        number = int(result.source.removeprefix("scene-").removesuffix(".tif"))
        place = shapely.transform(shape, lambda corners: np.stack(to_metres.transform(*corners.T), axis=1)).bounds
        west = 400_000 + 100 * number
        assert west - 0.05 <= place[0] < place[2] <= west + 0.5 * SIZE[1] + 0.05
        assert 5_600_000 - 0.5 * SIZE[0] - 0.05 <= place[1] < place[3] <= 5_600_000 + 0.05
    for result in results.values():
        if result.trace:
            trace = load(folder / "traces" / f"{(result.number - 1) // 4:05d}" / f"{result.trace}.json")
            pixels = sum(int(decode_mask(target.mask).sum()) for target in trace.result.targets)
            assert (result.area_px, result.area_m2) == (pixels, pytest.approx(pixels * 0.25, rel=2e-3))
    summary = write_summary(folder)
    assert (summary.items, summary.done, summary.failures) == (10, 10, {"bad_image": 2})
    assert summary.objects == len(table[2])
    assert summary.area_px == sum(one.area_px for one in results.values())


async def test_the_layer_does_not_depend_on_the_order_of_the_answers(tmp_path, folder):
    source = scenes(tmp_path / "in", 6)
    await ran(source, folder, words(), at_once=1)
    await ran(source, tmp_path / "other", words(), at_once=6, part=2)
    rows = []
    for one in (folder, tmp_path / "other"):
        file = one / "batch.jsonl"
        if one is folder:
            file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
        write_layer(one)
        _, _, blobs, columns = pyogrio.raw.read(
            one / "objects.gpkg", columns=["source", "target", "object", "area_px"]
        )
        rows.append((blobs.tolist(), [column.tolist() for column in columns]))
    assert rows[0] == rows[1]


async def test_pictures_without_a_place_are_answered_and_not_in_the_layer(tmp_path, folder):
    data = two_boxes(tmp_path / "data", pictures=1)
    results = await ran(f"{data}/?.png", folder, words())
    assert [(one.status, one.area_m2, one.objects) for one in results.values()] == [("found", None, None)]
    assert (write_layer(folder), write_summary(folder).placeless) == (0, 1)
    assert not (folder / "objects.gpkg").exists()


async def test_what_failed_is_asked_again_only_where_that_is_wanted(tmp_path, folder):
    source = scenes(tmp_path / "in", 4, broken=(1, 2))
    once = await ran(source, folder, words())
    scenes(tmp_path / "in", 4, broken=(2,))
    assert await ran(source, folder, words()) == once
    engine = Counting(words(), 2)
    again = await ran(source, folder, words(), engine=engine, retry=True)
    assert [one.split("#")[0] for one in engine.asked] == ["scene-001.tif", "scene-002.tif"]
    assert sorted(one.status for one in again.values()) == ["failed", "found", "found", "found"]
    assert len(list(load_results(folder / "retired.jsonl"))) == 2
    whole = await ran(source, tmp_path / "whole", words())
    assert same(again) == same(whole)


async def test_a_failure_that_left_a_trace_never_becomes_a_line_again(tmp_path, folder):
    data = two_boxes(tmp_path / "data", pictures=2)
    async with MllmServer(faults={1: "401"}) as server:
        once = await ran(f"{data}/?.png", folder, settings(server, tools="batch_data:tools"), QUERIES[:1], at_once=1)
        assert [one.error.code for one in once.values() if one.error] == ["endpoint"]
        again = await ran(
            f"{data}/?.png", folder, settings(server, tools="batch_data:tools"), QUERIES[:1], retry=True
        )
        assert server.completions == 3
    assert {one.status for one in again.values()} == {"found"}


async def test_a_trace_without_a_line_becomes_its_line_also_where_the_source_moved(tmp_path, folder):
    source = scenes(tmp_path / "in", 5)
    results = await ran(source, folder, words())
    file = folder / "batch.jsonl"
    kept = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(kept[:3]) + kept[3][:50])  # as a kill leaves it
    outlines = folder / "objects" / "00000"
    outlines.write_bytes(outlines.read_bytes() + b'{"half an outline')
    source.rename(tmp_path / "moved")
    engine = Counting(words(), 2)
    again = await ran(tmp_path / "moved", folder, words(), engine=engine)
    assert engine.asked == []
    assert same(again) == same(results)
    assert {name: one.trace for name, one in again.items()} == {name: one.trace for name, one in results.items()}
    assert write_layer(folder) == sum(one.objects.count for one in again.values())


async def test_a_batch_goes_on_only_as_it_was_begun(tmp_path, folder):
    source = scenes(tmp_path / "in", 3)
    await ran(source, folder, words())
    with pytest.raises(DatasetError, match="it asks 'both sure', this one 'text'"):
        await ran(source, folder, words(), ("text",))
    with pytest.raises(DatasetError, match=r"settings\.samples was 1 and is 3"):
        await ran(source, folder, words(samples=3))
    with pytest.raises(DatasetError, match="begun with --save none, this one has --save all"):
        await ran(source, folder, words(), save="all")
    with pytest.raises(DatasetError, match="its source is folder, and this one pattern"):
        await ran(f"{source}/*.tif", folder, words())
    scenes(source, 4)
    with pytest.raises(DatasetError, match="made 3 items and makes 4 now"):
        await ran(source, folder, words())
    (source / "scene-003.tif").unlink()
    (source / "scene-002.tif").rename(source / "scene-009.tif")
    with pytest.raises(DatasetError, match="has other images"):
        await ran(source, folder, words())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="is not empty and holds no batch"):
        await ran(source, tmp_path / "other", words())


async def test_a_source_that_changes_while_it_is_read_ends_the_batch(tmp_path, folder):
    rows = [{"image": f"scene-{number:03d}.tif"} for number in range(4)]
    table = write_lines(scenes(tmp_path / "in", 4) / "t.jsonl", rows)

    class Fickle(Source):
        def rows(self):
            yield from super().rows()
            write_lines(table, [*rows[:2], rows[3], rows[2]])

    with pytest.raises(DatasetError, match=r"changed while it was read: t\.jsonl, line 3"):
        await run(Fickle("jsonl", table), ("both sure",), folder, words(), LocalEngine(words(), 1), part=2)
    assert len(lines(folder)) <= 2
    write_lines(table, rows)
    assert len(await ran(table, folder, words())) == 4


async def test_replies_of_a_killed_query_are_taken_from_its_journal_and_the_rest_is_asked(tmp_path, folder):
    """The first reply is refused and stands in the journal; the query ends while the model is asked once more."""
    data, second = two_boxes(tmp_path / "data", pictures=3), asyncio.Event()

    def delay(asked):
        if asked.attempt == 2:
            second.set()
            return 30
        return 0

    async with MllmServer(script=[FAR], delay=delay) as server:
        chosen = settings(server, tools="batch_data:tools")
        task = asyncio.create_task(ran(f"{data}/?.png", folder, chosen, QUERIES, at_once=1))
        await second.wait()
        task.cancel()
        await asyncio.wait({task})
        assert server.completions == 2
    async with MllmServer() as server:  # its address is another one
        chosen = settings(server, tools="batch_data:tools")
        results = await ran(f"{data}/?.png", folder, chosen, QUERIES, at_once=1)
        assert server.completions == 6  # what was in flight is asked again, the refused reply is not
    assert [result.calls for result in results.values()] == [2, 1, 1, 1, 1, 1]


async def test_a_dead_endpoint_ends_the_batch_and_its_failures_do_not_count(tmp_path, folder):
    source, nothing = scenes(tmp_path / "in", 20), '{"status": "not_found", "targets": []}'
    faults = dict.fromkeys(range(3, 19), "401")
    async with MllmServer(script=lambda _: nothing, faults=faults) as server:
        chosen = settings(server, tools="batch_data:tools")
        with pytest.raises(EndpointError, match=r"16 items failed one after the other, the last with: .*401"):
            await ran(source, folder, chosen, ("halls",), at_once=1)
        assert [one.status for one in lines(folder).values()] == ["not_found"] * 2
        results = await ran(source, folder, chosen, ("halls",), at_once=1)
        assert server.completions == 18 + 18
    assert {result.status for result in results.values()} == {"not_found"}


async def test_what_fails_beside_those_that_end_a_batch_does_not_count_either(tmp_path, folder):
    class Broken(LocalEngine):
        async def answer(self, task):
            return failed(task.item, Failure(code="endpoint", message="gone"))

    source = scenes(tmp_path / "in", 20)
    with pytest.raises(EndpointError, match="16 items failed one after the other"):
        await ran(source, folder, words(), engine=Broken(words(), 20))
    assert lines(folder) == {}
    engine = Counting(words(), 4)
    await ran(source, folder, words(), engine=engine)
    assert len(engine.asked) == 20


async def test_files_of_single_answers_are_written_where_they_are_wanted(tmp_path, folder):
    source = scenes(tmp_path / "in", 2, names="Ort {:d}?.tif")
    results = await ran(source, folder, words(), save="all")
    for one in results.values():
        assert set(one.files) == {"mask_png", "overlay_png", "mask_tif", "targets_geojson", "targets_gpkg"}
        assert all((folder / path).stat().st_size for path in one.files.values())
    vectors = await ran(source, tmp_path / "vectors", words(), save="vectors")
    for one in vectors.values():
        count = pyogrio.read_info(tmp_path / "vectors" / one.files["objects_geojson"])["features"]
        assert count == one.objects.count


@pytest.mark.parametrize("left", ["answer", "journal", "nothing"])
async def test_an_item_whose_worker_died_is_given_again_and_nothing_paid_is_lost(tmp_path, folder, left):
    data = two_boxes(tmp_path / "data", pictures=2)

    class Dying(LocalEngine):
        """The first item: the worker dies after it has answered, in the middle, or before."""

        died = False

        async def answer(self, task):
            if self.died or not task.item.row.name.startswith("0"):
                return await super().answer(task)
            self.died = True
            if left == "answer":
                await super().answer(task)
            if left == "journal":
                task = asyncio.create_task(super().answer(task))
                await second.wait()
                task.cancel()
                await asyncio.wait({task})
            raise WorkerLost("killed")

    second = asyncio.Event()

    def delay(asked):
        if left == "journal" and asked.attempt == 2 and not second.is_set():
            second.set()
            return 30
        return 0

    async with MllmServer(script=[FAR] if left == "journal" else (), delay=delay) as server:
        chosen = settings(server, tools="batch_data:tools")
        results = await ran(f"{data}/?.png", folder, chosen, QUERIES[:1], engine=Dying(chosen, 1))
        assert server.completions == {"answer": 2, "journal": 4, "nothing": 2}[left]
    assert [one.status for one in results.values()] == ["found", "found"]
    assert [one.calls for one in results.values()] == [2 if left == "journal" else 1, 1]


async def test_an_item_that_kills_every_worker_is_a_failure_like_any_other(tmp_path, folder):
    class Poisoned(LocalEngine):
        async def answer(self, task):
            if task.item.number == 1:
                raise WorkerLost("out of memory")
            return await super().answer(task)

    results = await ran(scenes(tmp_path / "in", 2), folder, words(), engine=Poisoned(words(), 2))
    assert [one.error and one.error.code for one in sorted(results.values(), key=lambda one: one.number)] == [
        "worker_lost",
        None,
    ]


async def test_one_odd_item_is_isolated_and_a_wrong_set_up_is_not(tmp_path, folder, monkeypatch):
    source = scenes(tmp_path / "in", 2)
    results = await ran(source, folder, words(), ("both", "refuse"))
    assert sorted(one.error.code for one in results.values() if one.error) == ["tool", "tool"]
    with pytest.raises(ConfigError, match="no backend"):
        await ran(source, tmp_path / "b", words().model_copy(update={"tools": "none"}))


async def test_the_lines_are_checked_against_the_batch(tmp_path, folder):
    source = scenes(tmp_path / "in", 2)
    await ran(source, folder, words())
    file = folder / "batch.jsonl"
    file.write_text(file.read_text() * 2)
    with pytest.raises(DatasetError, match="two lines for item"):
        await ran(source, folder, words())


async def test_a_source_is_read_no_further_than_a_part_ahead_of_its_answers(tmp_path, folder):
    scenes(tmp_path / "in", 1)
    rows = [{"image": "scene-000.tif", "query": f"both {number}"} for number in range(40)]
    table, read, ahead = write_lines(tmp_path / "in" / "t.jsonl", rows), [], []

    class Told(Source):
        def rows(self):
            read.clear()
            for row in super().rows():
                read.append(row.where)
                yield row

    class Watching(LocalEngine):
        async def answer(self, task):
            ahead.append(len(read) - task.item.number)
            return await super().answer(task)

    await run(Told("jsonl", table), (), folder, words(), Watching(words(), 2), part=8)
    assert len(lines(folder)) == len(ahead) == 40
    assert max(ahead) <= 8
