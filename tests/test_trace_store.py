"""Traces on disk: what is called in which order, and what is left when a call fails."""

import asyncio
import errno
import fcntl
import os
from datetime import UTC, datetime, timedelta

import pytest
from disk import WatchedFiles
from fakes import WordGrounder, WordToolbox, ask, scene

from geoseg_agent.errors import ConfigError, ToolFailed, TraceError
from geoseg_agent.lanes import Lane
from geoseg_agent.segmentation import Segmentation
from geoseg_agent.trace.files import DiskFiles, write_atomically
from geoseg_agent.trace.ids import new_id
from geoseg_agent.trace.listing import prune, summaries
from geoseg_agent.trace.record import Header, RecordingGrounder, RecordingToolbox, recording
from geoseg_agent.trace.recorder import UNSAVED
from geoseg_agent.trace.recover import recover
from geoseg_agent.trace.store import Store, load
from geoseg_agent.types import Hints, Query
from geoseg_tools.geometry import Box


def header(image, text="hi"):
    return Header("words", {"python": "3"}, {}, {}, {"k": 5}, image, Query(text), Hints())


async def query(folder, files, *, fail=None):
    """A query of three steps through the recorder and its proxies; the answer, or the error."""
    lane, image = Lane("io"), scene()
    grounder, tools = RecordingGrounder(WordGrounder()), RecordingToolbox(WordToolbox())
    try:
        async with recording(Store(folder, lane, files), header(image)) as tape:
            await grounder.ground(image, Query("hi"))
            async with tools.encode(image.crop(Box(0, 0, 20, 20))) as handle:
                await tools.from_text(handle, "both")
            if fail is not None:
                raise fail  # noqa: TRY301 - this is what the query ends by
            answer = Segmentation(image, "hi", "not_found", (), None, "words", "", (), tape.id)
            return await tape.finish(answer)
    except Exception as error:
        if not isinstance(error, ConfigError | ToolFailed):
            raise
        return error
    finally:
        lane.close()


def named(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


async def test_the_order_is_journal_write_fsync_rename_fsync_of_the_folder_and_then_the_journal_goes(tmp_path):
    files = WatchedFiles()
    answer = await query(tmp_path, files)
    name = answer.trace_id
    assert files.calls == [
        ("create", f"{name}.journal"),
        *[("write", f"{name}.journal")] * 4,
        ("create", f"{name}.json.tmp"),
        ("write", f"{name}.json.tmp"),
        ("fsync", f"{name}.json.tmp"),
        ("close", f"{name}.json.tmp"),
        ("replace", f"{name}.json.tmp -> {name}.json"),
        ("fsync_folder", ""),
        ("unlink", f"{name}.journal"),
        ("close", f"{name}.journal"),
    ]
    assert named(tmp_path) == [f"{name}.json"]
    assert answer.trace_path == tmp_path / f"{name}.json"
    assert [step.seam for step in load(answer.trace_path).steps] == ["ground", "encode", "text"]


async def test_what_was_paid_for_is_synced_before_the_caller_goes_on(tmp_path):
    files, lane = WatchedFiles(), Lane("io")
    journal = Store(tmp_path, lane, files).begin(new_id(), {"schema": 1})
    for _ in range(2):
        journal.append({"step": 1}, paid=True)
    journal.close()
    lane.close()
    assert [name for name, _ in files.calls] == [
        *["create", "write"],
        *["write", "fsync", "fsync_folder"],
        *["write", "fsync"],
        "close",
    ]


@pytest.mark.parametrize("fail", [None, ToolFailed("told to")])
@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize("k", range(1, 15))
async def test_when_the_kth_call_fails_the_answer_comes_and_nothing_leaks(tmp_path, k, forever, fail):
    files = WatchedFiles(lambda number, _: number >= k if forever else number == k)
    answer = await query(tmp_path, files, fail=fail)
    assert files.open == {}
    assert (len(files.calls) >= k) == (k <= 13)
    if k <= 2:
        assert isinstance(answer, ConfigError)
        assert "No space left" in answer.message
        assert "GEOSEG_TRACES=none" in answer.hint
        assert forever or named(tmp_path) == []
        return
    if fail is None:
        saved = answer.trace_path is not None
        assert saved == (UNSAVED not in answer.notes)
        name, kind = answer.trace_id, "done"
    else:
        assert answer is fail
        name, kind = answer.trace_id, "failed"
        saved = name is not None
        fail.trace_id = None
    assert saved == (k not in range(6, 12) and not (forever and k < 12))
    if saved:
        assert load(tmp_path / f"{name}.json").status == kind
    left = [name for name in named(tmp_path) if name.endswith(".tmp")]
    assert forever or left == []
    recover(tmp_path)
    assert all(name.endswith(".json") for name in named(tmp_path))
    traces = [load(path) for path in tmp_path.iterdir()]
    assert len(traces) == 1
    assert traces[0].status in {kind, "interrupted"}
    assert len(traces[0].steps) == 3 or (3 <= k <= 5 and forever)


async def test_a_folder_that_cannot_be_written_to_fails_before_anything_is_asked(tmp_path):
    (tmp_path / "file").write_text("")
    grounder = WordGrounder()
    grounder.ground = None  # would crash if it were asked
    error = await ask(tmp_path / "file" / "traces", "hi", grounder=grounder)
    assert isinstance(error, ConfigError)
    assert "GEOSEG_TRACES=none" in error.hint
    assert error.trace_id is None


async def test_the_folder_is_made_and_other_files_in_it_stay(tmp_path):
    answer = await ask(tmp_path / "a" / "b", "hi")
    other = answer.trace_path.with_name("notes.json")
    other.write_text("mine")
    (other.parent / "x.json.tmp").write_text("mine")
    (other.parent / "x.journal").write_text("mine")
    assert recover(other.parent) == []
    assert prune(other.parent, keep=0) == [answer.trace_path]
    assert named(other.parent) == ["notes.json", "x.journal", "x.json.tmp"]


def test_an_atomic_write_replaces_all_or_nothing(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    for k in range(1, 6):
        with pytest.raises(OSError, match=r"error|space"):
            write_atomically(WatchedFiles(lambda number, _, k=k: number == k), path, b"new")
        assert path.read_bytes() == b"old"
        assert named(tmp_path) == ["a.json"]
    write_atomically(DiskFiles(), path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("name", ["../escape", "a/b", "x", "20260131T235959123Z-0123456789/../../x", ""])
def test_an_id_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    lane = Lane("io")
    with pytest.raises(TraceError, match="not a trace id"):
        Store(tmp_path / "traces", lane).begin(name, {})
    lane.close()
    assert named(tmp_path) == []


# recovery


async def journal_of(folder, text="both none", steps=None):
    """The journal that a killed writer would have left of this query, cut after `steps` steps."""
    lane, image = Lane("io"), scene()
    grounder = RecordingGrounder(WordGrounder())
    store = Store(folder, lane)
    async with recording(store, header(image, text)) as tape:
        await grounder.ground(image, Query(text))
        for number in range(3):
            async with RecordingToolbox(WordToolbox()).encode(image.crop(Box(0, 0, 9 + number, 9))):
                pass
        await store.now(lambda: None)
        path = folder / f"{tape.id}.journal"
        lines = path.read_bytes().splitlines(keepends=True)
    lane.close()
    (folder / f"{tape.id}.json").unlink()
    path.write_bytes(b"".join(lines if steps is None else lines[: steps + 1]))
    return path


@pytest.mark.parametrize("steps", [0, 1, 4])
async def test_a_journal_becomes_an_interrupted_trace(tmp_path, steps):
    path = await journal_of(tmp_path, steps=steps)
    trace = path.with_suffix(".json")
    assert recover(tmp_path) == [(trace, "recovered", steps)]
    assert named(tmp_path) == [trace.name]
    found = load(trace)
    assert (found.status, len(found.steps), found.error.code) == ("interrupted", steps, "interrupted")
    assert recover(tmp_path) == []


async def test_cut_anywhere_a_journal_yields_the_steps_that_were_whole(tmp_path):
    path = await journal_of(tmp_path)
    data = path.read_bytes()
    whole = data.count(b"\n") - 1
    for cut in [*range(0, len(data), 97), len(data) - 1, len(data)]:
        path.write_bytes(data[:cut])
        (one,) = recover(tmp_path)
        lines = data[:cut].count(b"\n")
        assert one.outcome == ("recovered" if lines else "empty")
        if lines:
            assert len(load(one.path).steps) == one.steps == lines - 1
            one.path.unlink()
        assert named(tmp_path) == []
    assert one.steps == whole


async def test_a_line_that_is_damaged_ends_the_prefix(tmp_path):
    path = await journal_of(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    for bad in (b"{}\n", b"\x00\xff\n", lines[1], lines[4], b"[" * 9999 + b"\n"):
        path.write_bytes(b"".join([lines[0], lines[1], bad, lines[3]]))
        (one,) = recover(tmp_path)
        assert one.steps == 1
        assert load(one.path).status == "interrupted"
        one.path.unlink()


async def test_what_a_kill_leaves_at_the_end_is_cleared(tmp_path):
    path = await journal_of(tmp_path)
    path.with_suffix(".json").write_bytes(b"the trace")
    assert recover(tmp_path) == [(path.with_suffix(".json"), "finished", 0)]
    assert named(tmp_path) == [path.with_suffix(".json").name]
    path.with_suffix(".json").rename(path.with_suffix(".json.tmp"))
    assert recover(tmp_path) == [(path.with_suffix(".json.tmp"), "stray", 0)]
    assert named(tmp_path) == []


async def test_a_half_written_trace_beside_its_journal_is_written_anew(tmp_path):
    path = await journal_of(tmp_path)
    path.with_suffix(".json.tmp").write_bytes(b'{"schema": 1, "id')
    (one,) = recover(tmp_path)
    assert (one.outcome, one.steps) == ("recovered", 4)
    assert named(tmp_path) == [one.path.name]


async def test_a_journal_of_a_running_query_is_left_alone(tmp_path):
    lane, image = Lane("io"), scene()
    async with recording(Store(tmp_path, lane), header(image)) as tape:
        (tmp_path / f"{tape.id}.json.tmp").write_text("being written")
        assert recover(tmp_path) == [(tmp_path / f"{tape.id}.journal", "running", 0)]
        assert len(named(tmp_path)) == 2
        (tmp_path / f"{tape.id}.json.tmp").unlink()
        answer = await tape.finish(Segmentation(image, "hi", "not_found", (), None, "words", "", (), tape.id))
    lane.close()
    assert load(answer.trace_path).status == "done"


async def test_a_journal_of_another_version_is_left_where_it_is(tmp_path):
    path = await journal_of(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"schema":1', b'"schema":2', 1))
    assert recover(tmp_path) == [(path, "unreadable", 0)]
    moved = tmp_path / f"{new_id()}.journal"
    path.unlink()
    moved.write_bytes(data)  # an id that is not its own
    assert recover(tmp_path) == [(moved, "unreadable", 0)]


async def test_recovery_is_itself_safe_to_be_stopped_at_any_call(tmp_path):
    path = await journal_of(tmp_path)
    data = path.read_bytes()
    for k in range(1, 10):
        path.write_bytes(data)
        files = WatchedFiles(lambda number, _, k=k: number == k)
        try:
            recover(tmp_path, files)
        except TraceError:
            assert len(files.calls) >= k
        assert files.open == {}
        recover(tmp_path)
        (trace,) = tmp_path.iterdir()
        assert len(load(trace).steps) == 4
        trace.unlink()


def test_a_journal_is_locked_as_long_as_it_is_open_and_made_once(tmp_path):
    path = tmp_path / f"{new_id()}.journal"
    descriptor, other = DiskFiles().create(path), os.open(path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(FileExistsError):
        DiskFiles().create(path)
    DiskFiles().close(descriptor)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


# listing and pruning


async def test_summaries_say_what_happened_and_list_what_is_corrupt(tmp_path):
    await ask(tmp_path, "both points")
    await ask(tmp_path, "broken")
    (tmp_path / "zzz.json").write_text("{")
    done, failed, corrupt = summaries(tmp_path)
    assert (done.status, done.query, done.targets, done.engine) == ("done", "both points", 2, "words+word-tools")
    assert (failed.status, failed.targets) == ("failed", None)
    assert done.time < failed.time
    assert (corrupt.status, corrupt.id) == ("corrupt", "zzz")
    assert "no trace" in corrupt.problem
    with pytest.raises(TraceError, match="no folder"):
        list(summaries(tmp_path / "none"))


def test_prune_keeps_the_newest_and_the_young(tmp_path):
    now = datetime.now(UTC)
    paths = [tmp_path / f"{new_id(now - timedelta(days=day))}.json" for day in range(6)]
    for path in paths:
        path.write_text("")
    assert prune(tmp_path, older_than=timedelta(days=4, hours=1), now=now) == [paths[5]]
    assert prune(tmp_path, keep=4, older_than=timedelta(days=1), now=now) == [paths[4]]
    assert prune(tmp_path, keep=2) == [paths[2], paths[3]]
    assert named(tmp_path) == sorted(path.name for path in paths[:2])
    for limits in ({}, {"keep": -1}, {"older_than": timedelta(days=-1)}):
        with pytest.raises(TraceError):
            prune(tmp_path, **limits)


async def test_many_writers_of_one_process_share_a_folder(tmp_path):
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(ask(tmp_path, f"both {number}"))
    assert len(named(tmp_path)) == 20
    assert {load(path).query for path in tmp_path.iterdir()} == {f"both {number}" for number in range(20)}


async def test_a_full_disk_is_said_to_be_full(tmp_path):
    files = WatchedFiles(lambda number, _: number == 2)
    error = await query(tmp_path, files)
    assert isinstance(error, ConfigError)
    assert error.__cause__.errno == errno.ENOSPC
    assert "free some space" in error.hint
