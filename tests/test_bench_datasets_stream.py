"""A JSON array of any size, read record by record."""

import json
import random
import tracemalloc

import bench_layouts as layouts
import pytest
from bench_layouts import lasers_record, square, write_json

from geoseg_agent.bench.datasets import Broken, open_pairs, validate


def array(tmp_path, text):
    layouts.picture(tmp_path / "images/shared.jpg")
    file = tmp_path / "annotations/train_ann.json"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return open_pairs(file, kind="lasers")


def record(number, **changes):
    return json.dumps(lasers_record(number, [square(0, 0, 2, 2)], **changes))


def split(dataset):
    found = list(dataset.records())
    return [one for one in found if not isinstance(one, Broken)], [one for one in found if isinstance(one, Broken)]


def peak_of(dataset, count):
    """Bytes that reading takes at the most."""
    tracemalloc.start()
    try:
        assert sum(1 for _ in dataset) == count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_flat_however_many_records_there_are(tmp_path):
    # Records of 13 kB, so that the large array is eighty windows long without many calls of the decoder.
    one = record(0, answer="x" * 13_000)
    peaks = {count: peak_of(array(tmp_path, f"[{', '.join([one] * count)}]"), count) for count in (100, 1_600)}
    assert (tmp_path / "annotations/train_ann.json").stat().st_size > 20_000_000
    assert peaks[1_600] < 1.1 * peaks[100]
    assert peaks[1_600] < 6_000_000


def test_a_record_larger_than_the_window(tmp_path):
    long = record(1, answer="語" * 2_000_000)
    dataset = array(tmp_path, f"[{record(0)}, {long}, {record(2)}]")
    assert [pair.id for pair in dataset] == ["000001-0", "000002-1", "000003-2"]


def test_a_window_may_end_anywhere(tmp_path):
    """Records of odd lengths, so that its end falls into strings, escapes, numbers and multibyte characters."""
    rng = random.Random(0)
    odd = ['"', "\\", "é", "語", "\U0001f3e0", "\u2028", "}", "]", "{", " "]
    texts = ["x" + "".join(rng.choices(odd, k=rng.randrange(400))) for _ in range(4000)]
    records = [lasers_record(n, [square(0, 0, 2, 2)], description="q", answer=text) for n, text in enumerate(texts)]
    content = ", \n".join(json.dumps(one, ensure_ascii=bool(n % 2)) for n, one in enumerate(records))
    dataset = array(tmp_path, "\ufeff [" + content + " ]\n")
    assert [pair.id for pair in dataset] == [f"{n + 1:06d}-{n}" for n in range(4000)]


@pytest.mark.parametrize("kept", [3, 40, 100])
def test_a_truncated_array_gives_what_is_before_and_names_the_place(tmp_path, kept):
    text = f"[{record(0)}, {record(1)}, {record(2)}"
    start = text.rindex('{"id": 2')
    good, broken = split(array(tmp_path, text[: start + kept]))
    assert [one.item.id for one in good] == ["000001-0", "000002-1"]
    (one,) = broken
    assert one.where == f"train_ann.json, after record 2 (byte {start + 1})"
    assert one.rule == "the file ends in the middle of a record"


@pytest.mark.parametrize(
    ("end", "rule"),
    [
        ("", "the file ends in the middle of the array"),
        (",12", "the file ends in the middle of the array"),
        (",", "the file ends in the middle of a record"),
        (",]", "it is not JSON: Expecting value"),
        (" 3]", "expected ',' or ']', got '3'"),
        ("] more", "there is text behind the array"),
        (', {"a": 1 "b": 2}, {}]', "it is not JSON: Expecting ',' delimiter"),
        (", {'a': 1}]", "it is not JSON"),
        (', {"a": tru', "the file ends in the middle of a record"),
        (', {"a": "tab\t' + " " * 50 + '"}]', "it is not JSON: Invalid control character at"),
        (", " + "[" * 200_000, "the record cannot be read"),
    ],
)
def test_where_it_stops_being_json(tmp_path, end, rule):
    good, broken = split(array(tmp_path, f"[{record(0)}, {record(1)}{end}"))
    assert len(good) == 2
    one = broken[-1]
    assert rule in one.rule
    assert one.where.startswith(f"train_ann.json, after record {3 if end == ',12' else 2} (byte ")


def test_a_byte_that_is_not_utf8_stops_it_after_the_records_before(tmp_path):
    text = f"[{record(0)}, {record(1)}, ".encode()
    good, broken = split(array(tmp_path, text + b'{"description": "\xff"}]'))
    assert len(good) == 2
    (one,) = broken
    assert one.rule == f"byte {len(text) + 18} is not UTF-8"
    assert split(array(tmp_path, b"\xff"))[1][0].rule == "byte 1 is not UTF-8"


def test_refused_elements_do_not_end_it(tmp_path):
    refused = {
        '{"id": 1, "id": 2}': "the key 'id' stands twice in one object",
        '{"id": NaN}': "NaN is not a number",
        '{"area": [-1e999]}': "-1e999 is beyond the range of numbers",
        f'{{"id": {"9" * 5000}}}': "Exceeds the limit",
        **dict.fromkeys(["null", "12", '"text"', "[1]", "1.5"], "a record must be an object"),
    }
    good, broken = split(array(tmp_path, f"[{','.join([*refused, record(8)])}]"))
    assert [one.item.id for one in good] == [f"{len(refused) + 1:06d}-8"]
    assert all(one.rule.startswith(rule) for one, rule in zip(broken, refused.values(), strict=True))
    assert [one.where.partition(" (")[0] for one in broken] == [
        f"train_ann.json, record {n}" for n in range(1, len(refused) + 1)
    ]


def test_an_empty_array_has_no_record_and_no_fault(tmp_path):
    assert split(array(tmp_path, "[ ]")) == ([], [])


def test_ids_come_from_the_record_and_are_fit_for_files(tmp_path):
    write_json(
        tmp_path / "annotations/train_ann.json",
        [
            lasers_record("a b/c", [square(0, 0, 2, 2)]),
            lasers_record("路", [square(0, 0, 2, 2)]),
            lasers_record("道", [square(0, 0, 2, 2)]),
            lasers_record(None, [square(0, 0, 2, 2)]),
            lasers_record("x" * 400, [square(0, 0, 2, 2)]),
        ],
    )
    layouts.picture(tmp_path / "images/shared.jpg")
    ids = [pair.id for pair in open_pairs(tmp_path)]
    assert ids[0] == "000001-a-b-c"
    assert ids[3] == "000004"
    assert all(len(one) <= 150 and one.isascii() and "/" not in one for one in ids)
    assert len(set(ids)) == 5
    assert validate(open_pairs(tmp_path)) == []
