"""Box data sets for calibration, and samples of them."""

import random
from pathlib import Path

import bench_layouts as layouts
import numpy as np
import pytest
from bench_layouts import SIZE, voc, write_lines

from geoseg_agent.bench.datasets import BoxRecord, Broken, open_boxes, sample, validate
from geoseg_agent.errors import DatasetError
from geoseg_tools import Box

DATA = Path(__file__).parents[2] / "shared" / "data"
XML = "Annotations/Horizontal Bounding Boxes"
AEROPLANES = (Box(1, 2, 9, 8), Box(0, 12, 5, 20))


def box_line(**changes):
    return {
        "image": "images/a.png",
        "class": "car",
        "boxes": [[1, 2, 9, 8]],
        "width": SIZE[1],
        "height": SIZE[0],
        "source": "drawn",
        "license": "CC0-1.0",
    } | changes


def test_box_lines(tmp_path):
    layouts.picture(tmp_path / "images/a.png")
    write_lines(tmp_path / "boxes.jsonl", [box_line(), box_line(**{"class": "tree crown"})])
    dataset = open_boxes(tmp_path)
    first, second = dataset
    assert first == BoxRecord("images-a-car", tmp_path / "images/a.png", "car", (Box(1, 2, 9, 8),), SIZE, "drawn")
    assert second.id == "images-a-tree-crown"
    assert (dataset.kind, len(dataset), validate(dataset)) == ("boxes", 2, [])


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"boxes": []}, "boxes: List should have at least 1 item"),
        ({"boxes": [[1, 2, 40, 8]]}, "reaches over the image of 32 x 24 pixels"),
        ({"class": ""}, "class: String should have at least 1 character"),
        ({"width": 31}, "the image has 32 x 24 pixels, the record says 31 x 24"),
        ({"image": "../a.png"}, "leads out"),
        ({}, "its id stands twice"),
    ],
)
def test_broken_box_lines(tmp_path, change, rule):
    layouts.picture(tmp_path / "images/a.png")
    write_lines(tmp_path / "boxes.jsonl", [box_line(), box_line(**({"class": "bus"} if change else {}) | change)])
    (broken,) = validate(open_boxes(tmp_path))
    assert broken.where == "boxes.jsonl, line 2"
    assert rule in broken.rule


@pytest.mark.parametrize("writer", [layouts.dior, layouts.nwpu])
def test_boxes_of_an_image_are_gathered_by_class(tmp_path, writer):
    writer(tmp_path)
    dataset = open_boxes(tmp_path)
    first, second = dataset
    assert dataset.kind == writer.__name__
    assert (first.class_name, first.boxes) == ("airplane", AEROPLANES)
    assert (second.class_name, second.boxes) == ("ship", (Box(10, 10, 32, 24),))
    assert first.size == second.size == SIZE
    assert first.image == second.image
    assert validate(dataset) == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (voc("00002.jpg", [("ship", 5, 5, 5, 9)]), "must not be empty"),
        (voc("00002.jpg", [("", 5, 5, 6, 9)]), "object 1 has no name"),
        (voc("00002.jpg", [("ship", "five", 5, 6, 9)]), "object 1 (ship): a side of its bndbox"),
        (voc("00002.jpg", [("ship", "nan", 5, 6, 9)]), "object 1 (ship): a side of its bndbox"),
        (voc("00002.jpg", [("ship", "1e999", 5, 6, 9)]), "object 1 (ship): a side of its bndbox"),
        (voc("00002.jpg", []), "it has no object"),
        (voc("00002.jpg", [("ship", 5, 5, 6, 9)], size=(0, 32)), "size/height must be a whole number"),
        (voc("../../00002.jpg", [("ship", 5, 5, 6, 9)]), "leads out"),
        (voc("00002.jpg", [("ship", 5, 5, 40, 9)]), "reaches over the image"),
        (voc("gone.jpg", [("ship", 5, 5, 6, 9)]), "does not exist"),
        ("<annotation>", "it is not XML"),
        ("", "it is not XML"),
        ('<?xml version="1.0" encoding="martian"?><annotation/>', "it is not XML"),
        (" " * (4 << 20) + "<a/>", "more than 4 MiB"),
        (
            '<!DOCTYPE a [<!ENTITY b "b"><!ENTITY c "&b;&b;&b;">]><a><filename>&c;</filename></a>',
            "declares a document type",
        ),
        ('<!DOCTYPE a SYSTEM "file:///etc/hostname"><a/>', "declares a document type"),
    ],
)
def test_broken_files_of_dior_are_named_and_the_others_stay(tmp_path, text, rule):
    layouts.dior(tmp_path)
    layouts.picture(tmp_path / "JPEGImages-test/00002.jpg")
    (tmp_path / XML / "00002.xml").write_text(text)
    (broken,) = validate(open_boxes(tmp_path))
    assert broken.where == "Horizontal Bounding Boxes/00002.xml"
    assert rule in broken.rule
    assert sum(not isinstance(one, Broken) for one in open_boxes(tmp_path).records()) >= 2


def test_a_document_type_in_another_encoding_is_refused_too(tmp_path):
    path = layouts.dior(tmp_path)
    path.write_bytes('<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY b "b">]><a/>'.encode("utf-16"))
    (broken,) = validate(open_boxes(tmp_path))
    assert "declares a document type" in broken.rule


def test_fractions_of_dior_round_outwards(tmp_path):
    layouts.dior(tmp_path).write_text(voc("00001.jpg", [("ship", 1.5, 2.0, 8.2, 9.9)]))
    (record,) = open_boxes(tmp_path)
    assert record.boxes == (Box(1, 2, 9, 10),)


@pytest.mark.parametrize(
    ("text", "where", "rule"),
    [
        ("(1,2),(9,8),1\n(1,2),(9,8)\n", ", line 2", "a line must read"),
        ("(1,2),(9,8),11\n", ", line 1", "the class must be 1 to 10, got 11"),
        ("(9,2),(1,8),1\n", ", line 1", "must not be empty"),
        ("(1,2),(9,8),1\n(1,2),(99,8),1\n", "", "reaches over the image"),
        ("", "", "it has no box"),
    ],
)
def test_broken_files_of_nwpu(tmp_path, text, where, rule):
    layouts.nwpu(tmp_path).write_text(text)
    (broken,) = validate(open_boxes(tmp_path))
    assert broken.where == f"ground truth/001.txt{where}"
    assert rule in broken.rule


def test_an_image_of_nwpu_that_is_not_there(tmp_path):
    layouts.nwpu(tmp_path)
    (tmp_path / "positive image set/001.jpg").unlink()
    (broken,) = validate(open_boxes(tmp_path))
    assert "001.jpg does not exist" in broken.rule


@pytest.mark.parametrize("within", ["", "Train", "Train/Urban"])
def test_boxes_of_a_class_map(tmp_path, within):
    layouts.loveda(tmp_path)
    dataset = open_boxes(tmp_path / within)
    building, water = dataset
    assert building.class_name == "building"
    assert building.boxes == (Box(0, 0, 40, 40),)  # they touch over a corner
    assert (water.class_name, water.boxes) == ("water", (Box(0, 40, 16, 64),))
    assert validate(dataset) == []
    if not within:
        assert building.id == "Train-Urban-0-building"


def test_the_smallest_object_of_a_class_map_is_a_choice(tmp_path):
    layouts.loveda(tmp_path)
    for min_pixels, count in ((9, 2), (10, 1), (800, 1)):
        building = next(iter(open_boxes(tmp_path, min_pixels=min_pixels)))
        assert building.boxes == (Box(0, 0, 40, 40), Box(50, 50, 53, 53))[:count]
    assert [len(list(open_boxes(tmp_path, min_pixels=least))) for least in (384, 385, 801)] == [2, 1, 0]
    with pytest.raises(DatasetError, match="min_pixels must be at least 1"):
        open_boxes(tmp_path, min_pixels=0)


def test_a_class_map_with_another_value_or_another_size(tmp_path):
    layouts.loveda(tmp_path)
    layouts.mask_png(tmp_path / "Val/Rural/masks_png/1.png", np.full((8, 8), 9, np.uint8))
    layouts.mask_png(tmp_path / "Val/Rural/masks_png/2.png", np.full((32, 32), 2, np.uint8))
    layouts.picture(tmp_path / "Val/Rural/images_png/2.png", size=(32, 33))
    first, second = validate(open_boxes(tmp_path))
    assert (first.where, first.rule) == ("Val/Rural/masks_png/1.png", "a class map holds 0 to 7, this one 9")
    assert second.rule == "the image has 33 x 32 pixels, the record says 32 x 32"


def test_what_holds_no_boxes(tmp_path):
    with pytest.raises(DatasetError, match="no boxes of a known layout"):
        open_boxes(tmp_path)
    with pytest.raises(DatasetError, match="does not exist"):
        open_boxes(tmp_path / "gone")
    with pytest.raises(DatasetError, match="no kind of data set"):
        open_boxes(tmp_path, kind="voc")
    for kind in ("dior", "nwpu", "loveda", "boxes"):
        with pytest.raises(DatasetError):
            open_boxes(tmp_path, kind=kind)


def drawn(sizes):
    return [
        BoxRecord(f"{name}-{number}", Path("x.png"), name, (Box(0, 0, 1, 1),), (9, 9))
        for name, size in sizes.items()
        for number in range(size)
    ]


def test_a_sample_depends_on_seed_and_ids_only():
    records = drawn({"car": 500, "ship": 300, "dam": 2})
    chosen = sample(records, 40, seed=1)
    shuffled = records.copy()
    random.Random(5).shuffle(shuffled)
    assert sample(iter(shuffled), 40, seed=1) == chosen
    assert sample(records, 40, seed=2) != chosen


@pytest.mark.parametrize(
    ("n", "counts"), [(40, (24, 15, 1)), (3, (1, 1, 1)), (802, (500, 300, 2)), (900, (500, 300, 2))]
)
def test_a_sample_is_stratified_by_class(n, counts):
    chosen = sample(drawn({"car": 500, "ship": 300, "dam": 2}), n, seed=3)
    found = [sum(record.class_name == name for record in chosen) for name in ("car", "ship", "dam")]
    assert sum(found) == min(n, 802)
    assert tuple(found) == pytest.approx(counts, abs=1)
    assert found[2] >= 1
    assert len({record.id for record in chosen}) == len(chosen)


def test_a_sample_smaller_than_the_classes_and_an_empty_one():
    records = drawn(dict.fromkeys("abcdef", 3))
    assert len({record.class_name for record in sample(records, 4, seed=0)}) == 4
    assert sample([], 4, seed=0) == []
    with pytest.raises(DatasetError, match="at least 1"):
        sample(records, 0, seed=0)


def test_a_known_sample_stays_the_same():
    chosen = sample(drawn({"car": 20, "ship": 5}), 5, seed=7)
    assert [record.id for record in chosen] == ["car-13", "car-16", "car-5", "ship-2", "ship-4"]


@pytest.mark.data
@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
def test_the_real_boxes_are_whole():
    dataset = open_boxes(DATA)
    assert (dataset.kind, len(dataset)) == ("boxes", 9)
    assert validate(dataset) == []
    assert sum(len(record.boxes) for record in dataset) == 182
