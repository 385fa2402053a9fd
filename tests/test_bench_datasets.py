"""Data sets of pairs: the four layouts, and what is broken in them."""

import json
import subprocess
import sys
from pathlib import Path

import bench_layouts as layouts
import numpy as np
import pytest
from bench_layouts import SIZE, line, rle, square, write_json, write_lines

from geoseg_agent.bench.datasets import Broken, open_pairs, validate
from geoseg_agent.bench.pairs import Pair
from geoseg_agent.errors import DatasetError
from geoseg_tools import Box

DATA = Path(__file__).parents[2] / "shared" / "data"
WRITERS = {
    "manifest": layouts.manifest,
    "geoseg-bench": layouts.geoseg_bench,
    "lasers": layouts.lasers,
    "referring": layouts.referring,
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("told", [True, False])
def test_a_layout_is_recognised_and_read(tmp_path, kind, told):
    masks = WRITERS[kind](tmp_path)
    dataset = open_pairs(tmp_path, kind=kind if told else "auto")
    pairs = list(dataset)
    assert (dataset.kind, dataset.root) == (kind, tmp_path)
    assert all(isinstance(pair, Pair) and pair.image.is_file() for pair in pairs)
    assert [pair.id for pair in pairs] == list(masks)
    for pair in pairs:
        read = pair.truth.read()
        assert read.dtype == bool
        assert read.shape == SIZE
        assert (read == masks[pair.id]).all()
    assert validate(dataset) == []
    assert list(dataset) == pairs  # it can be read again
    if kind != "lasers":
        assert len(dataset) == len(pairs)


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("manifest", "manifest.jsonl"),
        ("geoseg-bench", "annotations/Rural.json"),
        ("lasers", "annotations/train_ann.json"),
        ("referring", "rrsisd/instances.json"),
    ],
)
def test_a_file_is_recognised_too(tmp_path, kind, file):
    WRITERS[kind](tmp_path)
    images = tmp_path / "images/rrsisd/JPEGImages" if kind == "referring" else None
    dataset = open_pairs(tmp_path / file, images=images)
    assert dataset.kind == kind
    assert validate(dataset) == []


def test_a_stream_has_no_length_but_is_true(tmp_path):
    layouts.lasers(tmp_path)
    dataset = open_pairs(tmp_path)
    assert dataset
    assert dataset.count is None
    with pytest.raises(TypeError, match="once they are read"):
        len(dataset)


def test_the_manifest_is_taken_over_whole(tmp_path):
    layouts.manifest(tmp_path)
    first = next(iter(open_pairs(tmp_path)))
    assert (first.level, first.domain, first.source, first.phrase) == ("1", "urban", "drawn", "roof")
    assert first.boxes == (Box(0, 2, 4, 8),)
    assert first.size == SIZE
    assert first.query == "question 0"


def test_a_short_manifest_will_do(tmp_path):
    layouts.manifest(tmp_path)
    short = {key: line(0)[key] for key in ("id", "image", "mask", "query")}
    write_lines(tmp_path / "manifest.jsonl", [short])
    (pair,) = open_pairs(tmp_path)
    assert (pair.size, pair.level, pair.domain, pair.source, pair.phrase, pair.boxes) == (None,) * 5 + ((),)
    assert validate(open_pairs(tmp_path)) == []


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"id": "../q"}, "the id '../q' must be"),
        ({"id": ".hidden"}, "must be"),
        ({"id": "路"}, "must be"),
        ({"id": 3}, "id: Input should be a valid string"),
        ({"id": "q0"}, "its id stands twice"),
        ({"query": " \n"}, "the query is empty"),
        ({"query": "a\0b"}, "control character U+0000"),
        ({"query": "half \ud800"}, "query: Input should be a valid string"),
        ({"image": "half \ud800"}, "image: Input should be a valid string"),
        ({"level": "half \ud800"}, "got 'half \\ud800'"),
        ({"query": None}, "query: Input should be a valid string"),
        ({"image": "images/gone.png"}, "gone.png does not exist"),
        ({"image": "images"}, "is not a regular file"),
        ({"image": ""}, "not the name of a file"),
        ({"image": "a\0"}, "not the name of a file"),
        ({"image": "x" * 5000}, "the image cannot be used"),
        ({"image": "manifest.jsonl"}, "is not an image that can be read"),
        ({"mask": "masks/gone.png"}, "gone.png does not exist"),
        ({"mask": "masks/small.png"}, "the mask has 8 x 8 pixels, the image 32 x 24"),
        ({"mask": "masks/a.jpg"}, "is a JPEG, whose edges are not exact"),
        ({"mask": "masks/cut.png"}, "cut.png cannot be read"),
        ({"mask": "masks/colour.png"}, "3 bands that differ"),
        ({"width": 33}, "the image has 32 x 24 pixels, the record says 33 x 24"),
        ({"width": None}, "of width and height, only one is there"),
        ({"width": True}, "width: Input should be a valid integer"),
        ({"height": 0}, "height: Input should be greater than or equal to 1"),
        ({"boxes": [[0, 0, 33, 5]]}, "the box [0, 0, 33, 5] reaches over the image of 32 x 24 pixels"),
        ({"boxes": [[3, 3, 3, 5]]}, "must not be empty"),
        ({"boxes": [[-1, 3, 3, 5]]}, "left of or above"),
        ({"boxes": [[1.0, 3, 3, 5]]}, "boxes.0.0: Input should be a valid integer, got '1.0'"),
        ({"boxes": [[1, 2, 3]]}, "boxes.0: List should have at least 4 items"),
    ],
)
def test_a_broken_line_is_named_and_the_others_stay(tmp_path, change, rule):
    layouts.manifest(tmp_path, 3)
    layouts.mask_png(tmp_path / "masks/small.png", square(0, 0, 2, 2, (8, 8)))
    layouts.picture(tmp_path / "masks/a.jpg")
    layouts.picture(tmp_path / "masks/colour.png")
    whole = (tmp_path / "masks/q1.png").read_bytes()
    (tmp_path / "masks/cut.png").write_bytes(whole[: len(whole) // 2])
    write_lines(tmp_path / "manifest.jsonl", [line(0), line(1, **change), line(2)])
    (broken,) = validate(open_pairs(tmp_path))
    assert broken.where == "manifest.jsonl, line 2"
    assert broken.id == str(change.get("id", "q1"))
    assert rule in broken.rule


def test_every_broken_record_is_listed_and_told(tmp_path):
    layouts.manifest(tmp_path, 4)
    good = [json.dumps(line(number)).encode() for number in range(4)]
    lines = [
        good[0],
        b"{not json",
        b"",
        b'{"id": "x", "query": "\xff"}',
        b'["a list"]',
        b'{"id": "y", "id": "z"}',
        b'{"id": NaN}',
        json.dumps(line(1, image="gone.png", mask="gone.png")).encode(),
        good[2],
        good[2],
        b"[" * 100_000,
        good[3][:40],
    ]
    (tmp_path / "manifest.jsonl").write_bytes(b"\n".join(lines))
    told = []
    dataset = open_pairs(tmp_path)
    broken = validate(dataset, told=lambda *numbers: told.append(numbers))
    assert [one.where.rpartition(" ")[2] for one in broken] == ["2", "4", "5", "6", "7", "8", "8", "10", "11", "12"]
    assert told == [(number, 11) for number in range(1, 12)]
    shown = "\n".join(one.rule for one in broken)
    for part in ("byte 23 is not UTF-8", "valid dictionary", "stands twice in one object", "NaN is not a number"):
        assert part in shown
    assert "nested too deep" in shown


def test_iterating_stops_at_the_first_broken_record_with_file_record_and_rule(tmp_path):
    layouts.manifest(tmp_path)
    write_lines(tmp_path / "manifest.jsonl", [line(0), line(1, query="")])
    pairs = iter(open_pairs(tmp_path))
    assert next(pairs).id == "q0"
    with pytest.raises(DatasetError, match=r"manifest.jsonl, line 2 \(q1\): the query is empty"):
        next(pairs)


def test_a_truth_that_cannot_be_read_names_its_record(tmp_path):
    layouts.manifest(tmp_path)
    (tmp_path / "masks/q1.png").unlink()
    pairs = list(open_pairs(tmp_path))
    with pytest.raises(DatasetError, match=r"^manifest.jsonl, line 2: .*q1.png does not exist"):
        pairs[1].truth.read()
    layouts.mask_png(tmp_path / "masks/q1.png", square(0, 0, 2, 2, (8, 8)))
    with pytest.raises(DatasetError, match=r"q1\.png has 8 x 8 pixels, its image 32 x 24"):
        pairs[1].truth.read()


def test_an_empty_mask_is_an_answer(tmp_path):
    layouts.manifest(tmp_path)
    layouts.mask_png(tmp_path / "masks/q1.png", np.zeros(SIZE, bool))
    assert validate(open_pairs(tmp_path)) == []
    assert not list(open_pairs(tmp_path))[1].truth.read().any()


@pytest.mark.parametrize("writer", [layouts.manifest, layouts.geoseg_bench, layouts.lasers, layouts.referring])
def test_a_data_set_without_a_record_is_broken(tmp_path, writer):
    writer(tmp_path)
    kind = open_pairs(tmp_path).kind
    for file in (*tmp_path.rglob("*.json"), *tmp_path.rglob("*.jsonl")):
        content = {"images": [], "annotations": [], "refs": []} if kind == "referring" else []
        file.write_text("" if kind == "manifest" else json.dumps(content))
    (broken,) = validate(open_pairs(tmp_path, kind=kind))
    assert (broken.where, broken.rule) == (str(tmp_path), "it holds no record")


def test_the_limit_on_pixels_is_the_runs(tmp_path):
    layouts.manifest(tmp_path, 1)
    (broken,) = validate(open_pairs(tmp_path), max_pixels=100)
    assert "at most 100 are allowed" in broken.rule


def test_geoseg_bench_levels_domains_and_sizes(tmp_path):
    layouts.geoseg_bench(tmp_path)
    pairs = list(open_pairs(tmp_path))
    assert [pair.domain for pair in pairs] == ["urban", "rural", "traffic", "nature"]
    assert [pair.level for pair in pairs] == ["1", "2", "3", "1"]
    assert pairs[0].size is None


def test_geoseg_bench_as_an_object_and_with_paths_of_its_authors(tmp_path):
    layouts.geoseg_bench(tmp_path)
    file = tmp_path / "annotations/Urban.json"
    (record,) = json.loads(file.read_text())
    record |= {"file_name": "/elsewhere/images/Level1/Urban.jpg", "height": SIZE[0], "width": SIZE[1]}
    record["mask_path"] = "masks/Level1/Urban.png"
    for value in ({"data": [record]}, {"000000": {key: record[key] for key in record if key != "id"}}):
        write_json(file, value)
        dataset = open_pairs(tmp_path, kind="geoseg-bench")
        assert validate(dataset) == []
        first = next(iter(dataset))
        assert (first.id, first.size) == ("urban-000000", SIZE)
        assert first.image == tmp_path / "images/Level1/Urban.jpg"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"difficulty": "Level4"}, "difficulty must be Level1, Level2 or Level3, got 'Level4'"),
        ({"difficulty": "hard"}, "difficulty must be"),
        ({"question": ""}, "the query is empty"),
        ({"mask_path": "Level1/gone.png"}, "does not exist"),
        ({"file_name": "/etc/hostname"}, "leads out of the data set's folder"),
        ({"mask_path": "../../../masks.png"}, "leads out of the data set's folder"),
        ({"width": 9}, "only one is there"),
    ],
)
def test_broken_records_of_geoseg_bench(tmp_path, change, rule):
    layouts.geoseg_bench(tmp_path)
    file = tmp_path / "annotations/Rural.json"
    write_json(file, [json.loads(file.read_text())[0] | change, "no object"])
    broken = validate(open_pairs(tmp_path))
    assert [one.where for one in broken] == [f"annotations/Rural.json, record {number}" for number in (1, 2)]
    assert rule in broken[0].rule


def test_geoseg_bench_without_a_list(tmp_path):
    layouts.geoseg_bench(tmp_path)
    for text, rule in (("3", "no list of records"), ("{}", "no list"), ("[", "not JSON"), ('{"a": 1}', "no list")):
        (tmp_path / "annotations/Nature.json").write_text(text)
        with pytest.raises(DatasetError, match=rule):
            open_pairs(tmp_path)


def test_lasers_keeps_a_mask_for_each_record_of_an_image(tmp_path):
    masks = layouts.lasers(tmp_path)
    pairs = list(open_pairs(tmp_path))
    assert len({pair.image for pair in pairs}) == 1
    assert len({pair.truth.read().tobytes() for pair in pairs}) == len({pair.id for pair in pairs}) == 3
    assert pairs[2].truth.read().sum() == masks["000003-9"].sum() == 12 + 24
    assert pairs[0].query == "the thing number 7"


def test_splits(tmp_path):
    layouts.lasers(tmp_path / "lasers")
    layouts.referring(tmp_path / "referring")
    layouts.manifest(tmp_path / "manifest")
    assert [pair.id for pair in open_pairs(tmp_path / "lasers", split="val")] == ["000003-9"]
    assert [pair.id for pair in open_pairs(tmp_path / "referring", split="test")] == ["6-1", "7-1"]
    (broken,) = validate(open_pairs(tmp_path / "lasers", split="test"))
    assert broken.rule == "no record is of the split 'test'; there are ['train', 'val']"
    with pytest.raises(DatasetError, match=r"no ref is of the split 'val' \(there are \['test', 'train'\]\)"):
        open_pairs(tmp_path / "referring", split="val")
    with pytest.raises(DatasetError, match="has no splits"):
        open_pairs(tmp_path / "manifest", split="val")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"mask": []}, "not empty"),
        ({"mask": "nn"}, "must be a run-length object"),
        ({"mask": [{"size": [24, 32]}]}, "the field counts is missing"),
        ({"mask": [{"size": [24, 32], "counts": "é"}]}, "mask 1 of 1: the run-lengths hold a character"),
        ({"mask": [{"size": [24, 32], "counts": "0"}]}, "do not add up to the 768 pixels"),
        ({"mask": [rle(square(0, 0, 2, 2)), {"size": [24, 32], "counts": "PPP"}]}, "mask 2 of 2: the run-lengths"),
        ({"mask": [{"size": [24, 32], "counts": [700]}]}, "do not add up"),
        ({"mask": [{"size": [24, 32], "counts": [-1, 769]}]}, "negative or longer"),
        ({"mask": [{"size": [24, 32], "counts": [10**30]}]}, "negative or longer"),
        ({"mask": [{"size": [32, 24], "counts": [768]}]}, "mask 1 of 1 has 24 x 32 pixels, the record says 32 x 24"),
        ({"size": [32, 24]}, "mask 1 of 1 has 32 x 24 pixels, the record says 24 x 32"),
        ({"size": [24]}, "size: List should have at least 2 items"),
        ({"size": None, "mask": [{"size": [10, 10], "counts": [100]}]}, "the image has 32 x 24 pixels"),
        (
            {"size": [100_000, 100_000], "mask": [{"size": [100_000, 100_000], "counts": [10**10]}]},
            "a mask of 100000 x 100000 pixels is empty or too large",
        ),
        ({"description": ""}, "the query is empty"),
        ({"image_name": "gone.jpg"}, "gone.jpg does not exist"),
        ({"image_name": "../../secret.jpg"}, "leads out of the data set's folder"),
    ],
)
def test_broken_records_of_lasers(tmp_path, change, rule):
    layouts.lasers(tmp_path)
    file = tmp_path / "annotations/train_ann.json"
    records = json.loads(file.read_text())
    records[1] |= change
    write_json(file, records)
    broken = validate(open_pairs(tmp_path))
    assert broken
    assert {one.where.partition(" (")[0] for one in broken} == {"train_ann.json, record 2"}
    assert any(rule in one.rule for one in broken)


def test_withheld_answers_of_lasers_are_broken_and_a_single_mask_is_not(tmp_path):
    layouts.lasers(tmp_path)
    file = tmp_path / "annotations/train_ann.json"
    records = json.loads(file.read_text())
    records[0]["mask"] = records[0]["mask"][0]
    del records[0]["size"], records[0]["id"], records[1]["mask"]
    write_json(file, records)
    (broken,) = validate(open_pairs(tmp_path))
    assert "without its answer a record cannot be scored" in broken.rule
    found = [one for one in open_pairs(tmp_path).records() if not isinstance(one, Broken)]
    assert [one.item.id for one in found] == ["000001", "000003-9"]
    assert found[0].item.size == SIZE


def test_several_arrays_need_a_choice(tmp_path):
    layouts.lasers(tmp_path)
    (tmp_path / "annotations/val_ann.json").write_bytes((tmp_path / "annotations/train_ann.json").read_bytes())
    with pytest.raises(DatasetError, match="give the file you mean"):
        open_pairs(tmp_path)
    assert len(list(open_pairs(tmp_path / "annotations/val_ann.json"))) == 3


def test_what_is_no_data_set(tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        open_pairs(tmp_path / "gone")
    with pytest.raises(DatasetError, match="no known layout"):
        open_pairs(tmp_path)
    with pytest.raises(DatasetError, match="no kind of data set"):
        open_pairs(tmp_path, kind="coco")
    for text, rule in (
        ("", "must be a JSON array"),
        ("[]", "holds no record"),
        ('[{"a": 1}]', "its first record has the fields"),
        ("[3]", "no known layout"),
        ("query,mask\n", "must be a JSON array"),
        ("{", "not JSON"),
        ('{"a": 1}', "has no list 'images'"),
    ):
        (tmp_path / "file.json").write_text(text)
        with pytest.raises(DatasetError, match=rule):
            open_pairs(tmp_path / "file.json")


def test_a_file_that_goes_away_is_listed_rather_than_raised(tmp_path):
    layouts.manifest(tmp_path)
    dataset = open_pairs(tmp_path)
    (tmp_path / "manifest.jsonl").unlink()
    (broken,) = validate(dataset)
    assert "cannot be read" in broken.rule
    with pytest.raises(DatasetError, match="cannot be read"):
        list(dataset)


def test_nothing_heavy_is_loaded_before_a_file_needs_it():
    heavy = "{'rasterio', 'cv2', 'matplotlib', 'openai', 'torch'}"
    code = f"import sys, geoseg_agent.bench.datasets; print(sorted({heavy} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.data
@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
def test_the_real_pairs_are_whole():
    dataset = open_pairs(DATA)
    assert (dataset.kind, len(dataset)) == ("manifest", 68)
    assert validate(dataset) == []
    assert len({pair.id for pair in dataset}) == 68
    records = [json.loads(text) for text in (DATA / "manifest.jsonl").read_text().splitlines()]
    shares = {record["id"]: record["area_frac"] for record in records}
    for pair in dataset:
        assert pair.truth.read().mean() == pytest.approx(shares[pair.id], abs=6e-5)
