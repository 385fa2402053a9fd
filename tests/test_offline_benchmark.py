"""The protocols of benchmarks/offline.py on drawn masks, and the command itself on a tiny data set."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from geoseg_agent import Image
from geoseg_tools import Box

ROOT = Path(__file__).parents[1]


def _load():
    """The script is no module of a package, so it is loaded by its path."""
    spec = importlib.util.spec_from_file_location("offline_sets", ROOT / "benchmarks" / "offline_sets.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


sets = _load()
Pair, Row = sets.Pair, sets.Row
SIZE = (60, 80)


def drawn(*boxes):
    return sets.filled([Box(*box) for box in boxes], SIZE)


def numbers(box):
    return np.array(list(box))


def pair(truth, *boxes, name="a"):
    image = Image.from_array(np.zeros((*SIZE, 3), dtype=np.uint8))
    return Pair(name, "drawn", "query", "phrase", image, truth, tuple(Box(*box) for box in boxes))


@pytest.mark.parametrize("shape", sets.SHAPES)
@pytest.mark.parametrize("share", [0.05, 0.2, 0.3])
def test_a_side_moves_by_at_most_its_share_and_stays_inside(shape, share):
    boxes = [(20, 10, 50, 40), (0, 0, 30, 59), (70, 50, 80, 60), (5, 5, 6, 7)]
    for draw in range(20):
        for before, after in zip(boxes, sets.shaken(pair(drawn(), *boxes), shape, share, draw), strict=True):
            sides = np.array([before[2] - before[0], before[3] - before[1]] * 2)
            assert (np.abs(numbers(after) - before) <= np.maximum(share * sides + 0.5, 1)).all()
            assert 0 <= after.x1 < after.x2 <= SIZE[1]
            assert 0 <= after.y1 < after.y2 <= SIZE[0]


def test_shaking_is_the_same_every_time_and_another_for_each_draw_and_pair():
    one = pair(drawn(), (20, 10, 50, 40))
    moved = sets.shaken(one, "jitter", 0.2, 0)
    assert moved == sets.shaken(one, "jitter", 0.2, 0)
    assert moved != sets.shaken(one, "jitter", 0.2, 1)
    assert moved != sets.shaken(one._replace(id="b"), "jitter", 0.2, 0)


def test_a_larger_share_moves_the_same_sides_further():
    one = pair(drawn(), (20, 10, 60, 50))
    near, far = (numbers(sets.shaken(one, "jitter", share, 3)[0]) - numbers(one.boxes[0]) for share in (0.1, 0.2))
    assert np.abs(far - 2 * near).max() <= 1


@pytest.mark.parametrize(("shape", "sign"), [("loose", 1), ("tight", -1)])
def test_loose_boxes_hold_the_true_ones_and_tight_ones_lie_in_them(shape, sign):
    one = pair(drawn(), (20, 15, 50, 45))
    for draw in range(20):
        out = (numbers(sets.shaken(one, shape, 0.2, draw)[0]) - numbers(one.boxes[0])) * (-1, -1, 1, 1)
        assert (sign * out >= 0).all()


def test_a_shifted_box_keeps_its_size():
    (moved,) = sets.shaken(pair(drawn(), (30, 20, 50, 40)), "shift", 0.2, 0)
    assert abs(moved.width - 20) <= 1
    assert abs(moved.height - 20) <= 1


def test_the_first_click_is_deep_inside_the_largest_thing():
    x, y, adds = sets.next_click(drawn((2, 2, 8, 8), (30, 10, 51, 31)), drawn())
    assert (x, y, adds) == (40, 20, True)


def test_the_next_click_removes_where_too_much_is_the_larger_error():
    truth = drawn((0, 0, 20, 20), (40, 0, 45, 5))
    assert sets.next_click(truth, drawn((0, 0, 20, 20), (50, 30, 71, 51))) == (60, 40, False)


def test_what_is_missing_and_what_is_too_much_are_not_one_region():
    x, _, adds = sets.next_click(drawn((0, 0, 30, 10)), drawn((30, 0, 70, 10)))
    assert not adds
    assert 34 <= x < 66


def test_the_border_of_the_image_is_no_inside():
    assert sets.next_click(drawn((0, 0, 21, 21)), drawn()) == (10, 10, True)


def test_nothing_wrong_is_no_click():
    truth = drawn((3, 3, 9, 9))
    assert sets.next_click(truth, truth) is None


def test_clicks_are_counted_until_the_goal_and_are_all_where_it_is_never_reached():
    assert sets.clicks_needed([0.2, 0.8, 0.7, 0.9]) == 2
    assert sets.clicks_needed([0.1] * 20) == 20


def test_a_single_box_is_measured_against_what_it_holds_and_only_where_it_fits():
    truth = drawn((5, 5, 15, 15), (30, 10, 50, 30), (60, 40, 62, 42))
    loose = (50, 35, 70, 55)  # holds the third thing, and much else
    cut = (30, 10, 40, 30)  # half of the second
    found = sets.singles(pair(truth, (5, 5, 15, 15), loose, cut, (30, 10, 50, 30)))
    assert [box for box, _ in found] == [Box(5, 5, 15, 15), Box(30, 10, 50, 30)]
    assert (found[1][1] == drawn((30, 10, 50, 30))).all()


def test_the_largest_component_is_taken_alone():
    assert (sets.largest(drawn((1, 1, 4, 4), (10, 10, 30, 30))) == drawn((10, 10, 30, 30))).all()


def test_a_source_counts_once_however_many_pairs_it_has_and_a_pair_however_many_figures():
    rows = [
        Row("w", name, source, value) for name, source, value in (("a", "s", 0.0), ("b", "s", 1.0), ("c", "t", 1.0))
    ]
    assert sets.source_means([*rows, rows[1], rows[1]]) == {"s": 0.5, "t": 1.0}
    assert sets.over_sources(rows) == 0.75


def test_abstaining_loses_the_good_answers_that_nobody_was_sure_of():
    known = [(0.1, 0.9), (0.1, 0.0), (0.4, 0.5), (0.6, 0.1), (0.9, 0.7)]
    rows = [Row("w", str(n), "s", iou, {"confidence": sure}) for n, (sure, iou) in enumerate(known)]
    cost = sets.abstaining(rows, 0.4)
    assert (cost.refused, cost.good, cost.lost) == (2, 3, 1)
    assert cost.kept == pytest.approx(1.3 / 3)
    assert cost.poor == pytest.approx(1 / 3)
    assert sets.abstaining(rows, 1.0).kept == 0
    assert [row.iou for row in sets.coverage(rows, 0.5)] == [0.7, 0.1]


def tiny(folder):
    """Two lakes on a meadow, as a data set of one pair."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    boxes = [[20, 20, 60, 50], [80, 60, 110, 90]]
    rng = np.random.default_rng(0)
    pixels = np.clip(rng.normal((90, 130, 60), 6, (120, 160, 3)), 0, 255).astype(np.uint8)
    truth = np.zeros((120, 160), dtype=np.uint8)
    for x1, y1, x2, y2 in boxes:
        pixels[y1:y2, x1:x2] = np.clip(rng.normal((20, 50, 110), 4, (y2 - y1, x2 - x1, 3)), 0, 255)
        truth[y1:y2, x1:x2] = 255
    PIL.Image.fromarray(pixels).save(folder / "images/a.png")
    PIL.Image.fromarray(truth).save(folder / "masks/a.png")
    record = {
        "id": "a",
        "image": "images/a.png",
        "mask": "masks/a.png",
        "query": "Where is water?",
        "phrase": "water",
    }
    (folder / "manifest.jsonl").write_text(json.dumps(record | {"boxes": boxes, "source": "drawn"}) + "\n")


def test_a_pair_is_reduced_with_its_mask_and_boxes(tmp_path):
    tiny(tmp_path)
    (record,) = sets.records(tmp_path)
    small = sets.load(tmp_path, record, 80)
    assert small.image.size == small.truth.shape == (60, 80)
    assert small.boxes == (Box(10, 10, 30, 25), Box(40, 30, 55, 45))
    assert sets.iou(small.truth, sets.filled(small.boxes, (60, 80))) == 1


def test_the_command_measures_every_part_that_is_asked_for(tmp_path):
    tiny(tmp_path)
    command = [
        sys.executable,
        ROOT / "benchmarks" / "offline.py",
        "--data",
        tmp_path,
        "--json",
        tmp_path / "out.json",
    ]
    chosen = ["--only", "boxes", "clicks", "--jobs", "1", "--side", "120"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "benchmarks")}
    done = subprocess.run([*command, *chosen], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    made = json.loads((tmp_path / "out.json").read_text())
    assert set(made["figures"]) == set(made["rows"]) == set(made["memory"]) == {"boxes", "clicks"}
    assert made["figures"]["boxes"]["filled"] == pytest.approx(1, abs=0.05)
    assert made["figures"]["clicks"]["whole query, after 10"] > 0.8
    assert "NoC@80" in done.stdout
