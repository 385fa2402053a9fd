"""Where the items of a batch are from: every kind of source, in one order, and what is refused with file and line."""

import json

import pytest
from batch_data import write_lines

from geoseg_agent.batch.items import Item, Refused, items_of
from geoseg_agent.batch.plan import list_items
from geoseg_agent.batch.sources import open_source
from geoseg_agent.errors import DatasetError
from geoseg_tools.geometry import Box


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def rows(where, **values):
    return list(open_source(str(where), **values).rows())


def items(where, queries=("halls",), **values):
    return list(items_of(open_source(str(where), **values).rows(), queries))


def refused(found):
    return [(one.where, one.rule) for one in found if isinstance(one, Refused)]


def test_a_folder_gives_its_pictures_sorted_and_nothing_of_what_is_written_into_it(tmp_path):
    touch(tmp_path, "b.TIF", "a/z.png", "a/ü 1.jpeg", "a.tif", ".hidden.tif", ".cache/x.tif", "a/notes.txt")
    touch(tmp_path, "out/items/mask.tif")
    found = rows(tmp_path, leave_out=tmp_path / "out")
    assert [row.name for row in found] == ["a/z.png", "a/ü 1.jpeg", "a.tif", "b.TIF"]
    assert found[1].path == str(tmp_path / "a" / "ü 1.jpeg")


def test_what_batches_have_written_is_no_scene_however_its_folder_is_spelled(tmp_path):
    scenes = tmp_path / "scenes"
    touch(scenes, "a.tif", "sub/b.tif", "out/items/00000/1/mask.tif", "old/items/00000/1/mask.tif")
    touch(scenes, "old/batch.json", "old/batch.jsonl", "sub/batch.json")
    (tmp_path / "link").symlink_to(scenes)
    for source in (scenes, tmp_path / "link", scenes / "sub" / ".."):
        for out in (scenes / "out", scenes / ".." / "scenes" / "out", tmp_path / "link" / "out"):
            assert [row.name for row in rows(source, leave_out=out)] == ["a.tif", "sub/b.tif"]
            assert [row.name for row in rows(source / "**/*.tif", leave_out=out)] == ["a.tif", "sub/b.tif"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.tif", ["a.tif"]),
        ("**/*.tif", ["2024/b/c.tif", "2024/d.tif", "a.tif"]),
        ("2024/**", ["2024/b/c.tif", "2024/b/c.png", "2024/d.tif"]),
        ("2024/?.tif", ["2024/d.tif"]),
        ("2024/[!a-c]*", ["2024/d.tif"]),
        ("2024/b/[cd].*", ["2024/b/c.png", "2024/b/c.tif"]),
    ],
)
def test_a_pattern_is_the_shells(tmp_path, pattern, names):
    touch(tmp_path, "a.tif", "2024/b/c.tif", "2024/b/c.png", "2024/d.tif", "2024/e.xml")
    found = rows(tmp_path / pattern)
    root = open_source(str(tmp_path / pattern)).path
    assert sorted(str(root / row.name) for row in found) == sorted(str(tmp_path / name) for name in names)


def test_a_table_names_images_queries_ids_boxes_and_phrases(tmp_path):
    (tmp_path / "t.csv").write_text(
        "\ufeffimage,query,id,box,phrase\n"
        'scenes/a.tif,,,,\nscenes/ä.tif,"the ""old"" town, west",one,"1,2,30,40",town\n\n./scenes/../b.tif,,,,roof\n',
        encoding="utf-8",
    )
    first, second, third = items(tmp_path / "t.csv")
    assert (first.row.path, first.query, first.row.where) == (
        str(tmp_path / "scenes/a.tif"),
        "halls",
        "t.csv, line 2",
    )
    assert (second.id, second.query, second.hints.box) == ("one", 'the "old" town, west', Box(1, 2, 30, 40))
    assert (third.row.name, third.query, third.hints.phrase) == ("b.tif", "roof", "roof")
    same = [
        {"image": "scenes/a.tif"},
        {
            "image": "scenes/ä.tif",
            "query": 'the "old" town, west',
            "id": "one",
            "box": [1, 2, 30, 40],
            "phrase": "town",
        },
        {"image": "./scenes/../b.tif", "phrase": "roof", "id": None},
    ]
    lines = items(write_lines(tmp_path / "t.jsonl", same))
    assert [(one.id, one.asks) for one in lines] == [(one.id, one.asks) for one in (first, second, third)]


def test_rows_that_cannot_be_used_are_named_with_file_and_line(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text(
        'image,query,box\na.tif,halls\n,halls,\na.tif,halls,"1,2,3"\na.tif,x,"9,9,1,1"\nok.tif,ok,\n"half'
    )
    found = items(table)
    assert [where for where, _ in refused(found)] == [f"t.csv, line {number}" for number in (2, 3, 4, 5, 7)]
    assert [type(one) for one in found].count(Item) == 1
    said = dict(refused(found))
    assert "2 fields, the header 3" in said["t.csv, line 2"]
    assert "names no image" in said["t.csv, line 3"]
    assert "1,2,3" in said["t.csv, line 4"]
    (tmp_path / "t.jsonl").write_bytes(
        b'{"image": "a.tif"}\n{"image": 3}\n[1]\n{"image": "a.tif", "querry": "x"}\n{"image": \n{"image": "\xff"}\n'
        b'{"image": "a.tif", "query": "' + b"x" * 2001 + b'"}\n{"image": "a.tif", "box": [1, 2, true, 4]}\n'
    )
    said = dict(refused(items(tmp_path / "t.jsonl")))
    assert list(said) == [f"t.jsonl, line {number}" for number in range(2, 9)]
    assert "did you mean 'query'?" in said["t.jsonl, line 4"]
    assert "2001 characters" in said["t.jsonl, line 7"]
    with pytest.raises(DatasetError, match=r"7 records cannot be used: t\.jsonl, line 2: .*; and 4 more"):
        list_items(open_source(str(tmp_path / "t.jsonl")), ("halls",))
    assert refused(items(tmp_path / "t.jsonl", ()))[0] == (
        "t.jsonl, line 1",
        "it names no query, and the batch has none",
    )


@pytest.mark.parametrize("header", ["", "img,query\n", "image,querry\n", "image,id,id\n"])
def test_a_table_without_a_header_is_refused(tmp_path, header):
    (tmp_path / "t.csv").write_text(f"{header}a.tif,x\n")
    with pytest.raises(DatasetError, match=r"t\.csv, line 1: ") as caught:
        items(tmp_path / "t.csv")
    assert "commas" not in caught.value.hint


def test_an_address_in_a_table_is_a_failure_of_its_item(tmp_path):
    (tmp_path / "t.csv").write_text("image,query\nhttps://example.com/a.tif,x\n/vsis3/b/c.tif,x\na.tif,x\n")
    found = items(tmp_path / "t.csv")
    assert [one.row.fault and one.row.fault.code for one in found] == ["remote_asset", "remote_asset", None]
    assert found[0].row.fault.message.startswith("t.csv, line 2: https://example.com/a.tif is not on this machine")


@pytest.mark.parametrize("sign", [";", "\t"])
def test_a_table_with_other_separators_is_told_so(tmp_path, sign):
    (tmp_path / "t.csv").write_text(f"image{sign}query\na.tif{sign}x\n")
    with pytest.raises(DatasetError) as caught:
        items(tmp_path / "t.csv")
    assert f"put commas between the columns, not {sign!r}" in caught.value.hint


def test_the_same_question_or_id_twice_is_refused_with_both_places(tmp_path):
    twice = write_lines(
        tmp_path / "a.jsonl", [{"image": "a.tif"}, {"image": "b.tif"}, {"image": "./a.tif", "id": "x"}]
    )
    with pytest.raises(DatasetError, match=r"a\.jsonl, line 1 and a\.jsonl, line 3 ask the same of the same image"):
        list_items(open_source(str(twice)), ("halls",))
    ids = [{"image": name, "query": "x", "id": "one"} for name in ("a.tif", "b.tif")]
    with pytest.raises(DatasetError, match=r"b\.jsonl, line 1 and b\.jsonl, line 2 have the same id: 'one'"):
        list_items(open_source(str(write_lines(tmp_path / "b.jsonl", ids))), ())


def test_ids_are_stable_and_every_query_is_put_to_every_image(tmp_path):
    touch(tmp_path, "a.tif", "b.tif")
    both = items(tmp_path, ("halls", "lakes"))
    assert [(one.number, one.row.name, one.query) for one in both] == [
        (1, "a.tif", "halls"), (2, "a.tif", "lakes"), (3, "b.tif", "halls"), (4, "b.tif", "lakes"),
    ]  # fmt: skip
    assert [one.id for one in items(tmp_path, ("lakes",))] == [both[1].id, both[3].id]
    assert len({one.id for one in both}) == 4


def test_an_item_collection_gives_one_asset_of_each_item(tmp_path):
    assets = [
        {"thumb": {"href": "t.xml"}, "image": {"href": "i.tif"}, "visual": {"href": "./s/v.tif"}},
        {"meta": {"href": "m.xml"}, "jpg": {"href": "j.jpg"}, "b1": {"href": "b1", "type": "image/tiff; cloud"}},
        {"data": {"href": "https://example.com/far.tif"}},
        {"data": {"href": f"file://{tmp_path}/with%20space.tif"}},
        {"meta": {"href": "m.xml"}},
    ]
    features = [{"id": f"item-{n}", "assets": one} for n, one in enumerate(assets, 1)] + [{"id": "x"}]
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    found = items(path)
    assert [one.row.name for one in found[:2]] == ["s/v.tif", "b1"]
    assert found[3].row.path == f"{tmp_path}/with space.tif"
    assert [one.row.fault and one.row.fault.code for one in found[:5]] == [
        None,
        None,
        "remote_asset",
        None,
        "no_asset",
    ]
    assert "never" not in found[2].row.fault.message
    assert "nothing is fetched" in found[2].row.fault.message
    assert refused(found) == [("c.json, item 6", "it is no STAC item: it needs an id and assets")]
    assert found[0].id.startswith("item-1#")
    chosen = items(path, asset="image")
    assert (chosen[0].row.name, chosen[1].row.fault.code) == ("i.tif", "no_asset")
    assert chosen[1].row.fault.message == "c.json, item 2 (item-2) has no asset 'image'; there are meta, jpg, b1"
    path.write_text('{"type": "Feature"}')
    with pytest.raises(DatasetError, match="no STAC ItemCollection"):
        items(path)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("none", "does not exist"),
        ("a.tif", "geoseg segment"),
        ("none/*.tif", "there is no folder"),
        ("t.csv", "--asset|asset"),
    ],
)
def test_what_is_no_source_is_said_to_be_none(tmp_path, where, says):
    touch(tmp_path, "a.tif", "t.csv")
    with pytest.raises(DatasetError, match=says):
        open_source(str(tmp_path / where), asset="visual" if where == "t.csv" else None)


def test_an_empty_source_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="holds no image"):
        list_items(open_source(str(tmp_path)), ("halls",))
    with pytest.raises(DatasetError, match=r"/\*\.tif holds no image"):
        list_items(open_source(str(tmp_path / "*.tif")), ("halls",))
    (tmp_path / "t.csv").write_text("image,query\n")
    with pytest.raises(DatasetError, match=r"t\.csv holds no image") as caught:
        list_items(open_source(str(tmp_path / "t.csv")), ())
    assert caught.value.hint == "it has no row"
