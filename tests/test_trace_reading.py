"""Traces read back: what was changed, damaged or is of another version is refused by name."""

import pytest
from fakes import ask

from geoseg_agent.errors import TraceCorrupt, TraceError, TraceTooNew
from geoseg_agent.trace.jsontext import parse, pretty
from geoseg_agent.trace.seal import reseal
from geoseg_agent.trace.store import load


async def written(folder, query="both"):
    return (await ask(folder, query)).trace_path


async def test_a_change_of_any_field_is_named_with_its_step(tmp_path):
    path = await written(tmp_path)
    tree = parse(path.read_bytes())
    tree["steps"][3]["output"]["masks"][0]["counts"] += "0"
    path.write_bytes(pretty(tree))
    with pytest.raises(
        TraceCorrupt, match=r"step 3 \((text|points), target 1\): output.masks\[0\].counts was changed"
    ):
        load(path)
    tree["steps"][3]["note"] = 1
    path.write_bytes(pretty(tree))
    with pytest.raises(TraceCorrupt, match=r"and 1 more"):
        load(path)


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"schema": 2}, TraceTooNew, "schema 2"),
        ({"schema": True}, TraceCorrupt, "no schema"),
        ({"schema": "1"}, TraceCorrupt, "no schema"),
        ({"schema": 0}, TraceCorrupt, "schema"),
        ({"seal": {}}, TraceCorrupt, "was added"),
        ({"seal": None}, TraceCorrupt, "no seal"),
        ({"extra": 1}, TraceCorrupt, "extra was added"),
        ({"seconds": 5.5}, TraceCorrupt, "seconds was changed"),
    ],
)
async def test_a_file_that_is_no_trace_of_this_version_is_refused(tmp_path, change, error, reason):
    path = await written(tmp_path)
    path.write_bytes(pretty({**parse(path.read_bytes()), **change}))
    with pytest.raises(error, match=reason):
        load(path)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b"[" * 10**6, b'{"schema":1,"schema":1}', b"\xff", b"1e999"]
)
def test_bytes_that_are_no_trace_are_corrupt(tmp_path, data):
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(TraceCorrupt, match=r"x\.json"):
        load(path)


def test_a_deep_tree_is_corrupt_and_not_a_crash(tmp_path):
    path = tmp_path / "x.json"
    for depth in (300, 900, 20_000):
        path.write_bytes(b'{"schema":1,"seal":{},"a":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}")
        with pytest.raises(TraceCorrupt):
            load(path)


def test_a_missing_or_huge_file_is_refused_without_reading_it(tmp_path):
    with pytest.raises(TraceError, match="No such file"):
        load(tmp_path / "none.json")
    with pytest.raises(TraceError, match="directory"):
        load(tmp_path)
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(TraceCorrupt, match="MiB"):
        load(path)


async def test_a_sealed_field_of_the_wrong_type_is_named(tmp_path):
    path = await written(tmp_path)
    for change, where in (
        (("steps", 0, "took", "long"), r"step 0 \(ground\): took"),
        (("image", "width", 0), "image.width"),
    ):
        tree = parse(path.read_bytes())
        *way, last, value = change
        part = tree
        for key in way:
            part = part[key]
        part[last] = value
        bad = tmp_path / "bad.json"
        bad.write_bytes(pretty(reseal(tree)))
        with pytest.raises(TraceCorrupt, match=where):
            load(bad)
