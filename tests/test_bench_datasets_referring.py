"""Referring expressions over COCO annotations."""

from pathlib import Path

import bench_layouts as layouts
import pytest
from bench_layouts import write_json

from geoseg_agent.bench.datasets import Broken, open_pairs, validate
from geoseg_agent.errors import DatasetError


def test_sentences_and_categories_of_referring_data(tmp_path):
    layouts.referring(tmp_path)
    pairs = list(open_pairs(tmp_path))
    assert [pair.query for pair in pairs] == ["the left bridge", "A bridge", "bridge by the dam", "both"]
    assert [pair.phrase for pair in pairs] == ["bridge", "bridge", "bridge", None]


def test_refs_may_lie_beside_and_are_never_unpickled(tmp_path):
    content, masks = layouts.instances()
    layouts.referring(tmp_path)
    refs = content.pop("refs")
    write_json(tmp_path / "rrsisd/instances.json", content)
    (tmp_path / "rrsisd/refs(unc).p").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    with pytest.raises(DatasetError, match=r"has no refs.*refs\(unc\).p is a pickle, which can run code"):
        open_pairs(tmp_path)
    assert not Path("ran").exists()
    write_json(tmp_path / "rrsisd/refs.json", refs)
    assert [pair.id for pair in open_pairs(tmp_path)] == list(masks)
    assert validate(open_pairs(tmp_path)) == []


@pytest.mark.parametrize(
    ("part", "place", "change", "rule"),
    [
        ("refs", 1, {"ann_id": 99}, "there is no annotation with the id 99"),
        ("refs", 1, {"ann_id": -1}, "there is no annotation with the id -1"),
        ("refs", 1, {"ann_id": []}, "ann_id"),
        ("refs", 1, {"image_id": 9}, "there is no image with the id 9"),
        ("refs", 1, {"image_id": 1}, "annotation 12 is of image 2, not 1"),
        ("refs", 1, {"sentences": []}, "sentences: List should have at least 1 item"),
        ("refs", 1, {"sentences": [{"sent": " "}]}, "the query is empty"),
        ("refs", 1, {"sentences": [3]}, "valid dictionary"),
        ("refs", 1, {"ref_id": 7}, "its id stands twice"),
        ("annotations", 2, {"segmentation": [[1, 1, 5, 5]]}, "polygon 1 has 4 numbers"),
        ("annotations", 2, {"segmentation": [[1, 1, 5, 5, 9]]}, "polygon 1 has 5 numbers"),
        ("annotations", 2, {"segmentation": [[1, 1, 5, 5, 1e9, 0]]}, "polygon 1 reaches x = 1e+09, far outside"),
        ("annotations", 2, {"segmentation": [[1, "1", 5, 5, 9, 9]]}, "ring.1: Input should be a valid number"),
        ("annotations", 2, {"segmentation": []}, "not empty"),
        ("annotations", 2, {"segmentation": [1, 1, 5, 5, 9, 9]}, "valid dictionary"),
        ("images", 1, {"height": 25}, "mask 1 of 1 has 32 x 24 pixels, the record says 32 x 25"),
        ("images", 1, {"file_name": "/etc/hostname"}, "leads out"),
    ],
)
def test_broken_parts_of_referring_data(tmp_path, part, place, change, rule):
    layouts.referring(tmp_path)
    content, _ = layouts.instances()
    content[part][place] |= change
    write_json(tmp_path / "rrsisd/instances.json", content)
    dataset = open_pairs(tmp_path)
    assert rule in "\n".join(one.rule for one in validate(dataset))
    good = [one for one in dataset.records() if not isinstance(one, Broken)]
    assert good[0].item.id == "5-1"


@pytest.mark.parametrize(
    ("part", "value", "rule"),
    [
        ("images", None, "has no list 'images'"),
        ("annotations", [{"image_id": 3}], "annotations 1: it must be an object with an id"),
        ("annotations", [{"id": 3}, {"id": 3}], "annotations 2: the id 3 stands twice"),
        ("refs", {}, "refs must be a list"),
    ],
)
def test_referring_data_without_a_part(tmp_path, part, value, rule):
    content, _ = layouts.instances()
    write_json(tmp_path / "instances.json", content | {part: value})
    with pytest.raises(DatasetError, match=rule):
        open_pairs(tmp_path)
