"""The parts of a trace file: ids, JSON, run-lengths, values, the seal."""

import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from fakes import scene
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from geoseg_agent import errors
from geoseg_agent.errors import GeoSegError
from geoseg_agent.georeference import Georeference
from geoseg_agent.imagery import Image
from geoseg_agent.trace import codec
from geoseg_agent.trace.ids import is_id, new_id, read, time_of, written
from geoseg_agent.trace.jsontext import compact, parse, pretty
from geoseg_agent.trace.model import HeatRecord, MasksRecord, ReplyRecord, Rle
from geoseg_agent.trace.rle import decode_mask, encode_mask
from geoseg_agent.trace.seal import changes, leaves, seal
from geoseg_agent.types import GroundingReply, Hints, PointHint, Target
from geoseg_tools.geometry import Box
from geoseg_tools.masks import Masks

masks = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda shape: arrays(np.bool_, shape))
floats = st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=30,
)


# ids


@given(st.integers(0, 10**10).map(lambda s: datetime.fromtimestamp(s / 3, UTC)), st.integers(1, 10**9))
def test_ids_sort_by_time_and_say_it(time, later):
    first, second = new_id(time), new_id(time + timedelta(milliseconds=later))
    assert first < second
    assert time_of(first) == time.replace(microsecond=time.microsecond // 1000 * 1000)
    assert is_id(first)
    assert read(written(time)) == time_of(first)


def test_ids_differ_within_a_millisecond():
    now = datetime.now(UTC)
    assert len({new_id(now) for _ in range(2000)}) == 2000


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "../20260131T235959123Z-0123456789",
        "20260131T235959123Z-0123456789/..",
        "20260131T235959123Z-012345678",
        "20260131T235959123Z-012345678i",
        "20260131T235959123Z-0123456789\n",
        "20261331T235959123Z-0123456789",
        "\u0662\u0660260131T235959123Z-0123456789",
        "20260131T235959123Z-01234\x0056789",
    ],
)
def test_nothing_else_is_an_id(text):
    assert not is_id(text)


# JSON


@given(plain)
def test_json_comes_back_as_it_was_pretty_and_compact(value):
    assert parse(pretty(value)) == value
    assert parse(compact(value)) == value
    assert json.loads(pretty(value)) == value
    assert b"\n" not in compact(value)


def test_plain_arrays_stay_on_one_line():
    text = pretty({"points": [[1, 2]] * 200, "notes": [{"a": list(range(100))}]}).decode()
    assert len(text.splitlines()) == 8


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"b": {"a": 1, "a": 1}}', "twice"),
        (b"[NaN]", "NaN"),
        (b"[-Infinity]", "Infinity"),
        (b"[1e999]", "beyond"),
        (b"[" * 100_000, "deep"),
        (b'{"a":' * 100_000, "deep"),
        (b"[1] x", "Extra data"),
        (b'"\xff"', "utf-8"),
        (b"", "Expecting value"),
        (b"[" + b"9" * 5000 + b"]", "digit"),
    ],
)
def test_json_that_a_careless_reader_would_take_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse(text)


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [-math.inf]}])
def test_what_is_not_finite_is_not_written(value):
    for write in (compact, pretty):
        with pytest.raises(ValueError, match="Out of range"):
            write(value)


@pytest.mark.parametrize("text", ["a\udcffb", "\ud83d", "\ude00\ud83d", "\x00\u2028\x7f", "\\ud800", "\U0001f600"])
def test_odd_characters_come_back_and_seal_the_same(text):
    value = {"path": text, text: ["\udcff"]}
    for write in (pretty, compact):
        assert parse(write(value)) == value
        assert changes(parse(write(value)), seal(value)) == []


def test_two_halves_of_a_character_come_back_as_the_character_and_seal_the_same():
    value = {"text": "a\ud83d\ude00\ud83d"}
    assert parse(pretty(value)) == {"text": "a\U0001f600\ud83d"}
    assert changes(parse(pretty(value)), seal(value)) == []


# run-lengths


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools 2.0.11 under numpy 2
@given(masks)
def test_masks_come_back_and_are_what_pycocotools_reads(mask):
    record = encode_mask(mask)
    assert (decode_mask(record) == mask).all()
    read_by_coco = coco.decode({"size": record.size, "counts": record.counts.encode()})
    assert (read_by_coco.astype(bool) == mask).all()
    assert (decode_mask(encode_mask(mask[:, ::-1])) == mask[:, ::-1]).all()


def test_a_large_mask_of_long_runs_comes_back():
    mask = np.zeros((3000, 2000), dtype=np.bool_)
    mask[100:2900, 700:] = True
    assert (decode_mask(encode_mask(mask)) == mask).all()


@given(st.text(st.characters(max_codepoint=130), max_size=12), st.integers(-1, 5), st.integers(-1, 5))
def test_run_lengths_that_do_not_fit_are_refused_before_anything_is_allocated(counts, height, width):
    try:
        mask = decode_mask(Rle(size=[height, width], counts=counts))
    except ValueError:
        return
    assert mask.shape == (height, width)


@pytest.mark.parametrize(
    ("size", "counts"),
    [([10**9, 10**9], "0"), ([2, 2], "5"), ([2, 2], ""), ([2, 2], "oooooooooooo0"), ([2, 2], "P"), ([0, 4], "0")],
)
def test_impossible_masks_are_refused(size, counts):
    with pytest.raises(ValueError, match=r"mask|run-length"):
        decode_mask(Rle(size=size, counts=counts))


# values


@given(st.integers(0, 3), st.booleans(), st.lists(st.text(max_size=5), max_size=2), st.data())
def test_route_answers_come_back_exactly(n, scored, notes, data):
    h, w = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    value = Masks.of(
        data.draw(arrays(np.bool_, (n, h, w))),
        data.draw(arrays(np.float64, n, elements=st.floats(0, 1))) if scored else None,
        tuple(notes),
    )
    back = codec.decode_masks(codec.encode_masks(value))
    assert back.masks.shape == value.masks.shape
    assert (back.masks == value.masks).all()
    assert back.notes == value.notes
    assert (back.scores is None) if value.scores is None else back.scores.tobytes() == value.scores.tobytes()


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_grids_come_back_to_the_bit(heat):
    back = codec.decode_heat(codec.encode_heat(heat))
    assert back.dtype == np.float32
    assert back.tobytes() == heat.tobytes()


@pytest.mark.parametrize(
    "record",
    [
        HeatRecord(shape=[1, 1], float32=["AAAA"]),
        HeatRecord(shape=[1, 1], float32=["AADAfw=="]),
        HeatRecord(shape=[-1, -1], float32=["AACAPw=="]),
        HeatRecord(shape=[1, 1], float32=["AACAPx=="]),
        HeatRecord(shape=[1, 1], float32=["AACA Pw=="]),
        HeatRecord(shape=[2, 1], float32=["AACAPw=="]),
        HeatRecord(shape=[1, 1], float32=["AACAPw==", "AACAPw=="]),
        HeatRecord(shape=[1, 1], float32=["AACAP\xe9=="]),
        HeatRecord(shape=[10**9, 10**9], float32=["AACAPw=="]),
    ],
)
def test_grids_that_are_none_are_refused(record):
    with pytest.raises(ValueError, match="grid"):
        codec.decode_heat(record)


@pytest.mark.parametrize(
    "record",
    [
        MasksRecord(size=[2, 2], masks=[Rle(size=[2, 3], counts="6")], areas=[0], scores=None, notes=[]),
        MasksRecord(size=[2, 2], masks=[Rle(size=[2, 2], counts="4")], areas=[0], scores=[], notes=[]),
        MasksRecord(size=[2, 2], masks=[Rle(size=[2, 2], counts="4")], areas=[1], scores=None, notes=[]),
        MasksRecord(size=[10**9, 10**9], masks=[], areas=[], scores=None, notes=[]),
    ],
)
def test_masks_that_do_not_fit_together_are_refused(record):
    with pytest.raises(ValueError, match="mask"):
        codec.decode_masks(record)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 9), st.integers(1, 9)), max_size=3),
    st.data(),
)
def test_grounding_replies_come_back(boxes, data):
    targets = tuple(
        Target(
            Box(x, y, x + w, y + h),
            "a phrase",
            data.draw(st.none() | st.floats(0, 1)),
            data.draw(st.none() | arrays(np.bool_, (h, w))),
        )
        for x, y, w, h in boxes
    )
    reply = GroundingReply("found" if targets else "not_found", targets, "because", ("a note",))
    record = codec.encode_reply(reply)
    assert codec.encode_reply(codec.decode_reply(record)) == record
    assert ReplyRecord.model_validate(parse(pretty(record.model_dump()))) == record


def test_images_and_hints_come_back():
    place = Georeference("EPSG:25832", (0.5, 0.0, 4e5, 0.0, -0.5, 5.7e6))
    image = Image.replayed(
        (20, 30),
        "ab" * 32,
        name="n",
        path="/p",
        file_sha256="cd" * 32,
        georeference=place,
        bands=(4,),
        stretch=((0.1, 7.0),),
    )
    for value in (image, scene()):
        back = codec.decode_image(codec.encode_image(value))
        assert codec.encode_image(back) == codec.encode_image(value)
        assert (back.size, back.sha256, back.georeference) == (value.size, value.sha256, value.georeference)
    hints = Hints(box=Box(1, 2, 3, 4), points=(PointHint(1, 2), PointHint(3, 4, positive=False)), phrase="x")
    assert codec.decode_hints(codec.encode_hints(hints)) == hints


def test_every_error_comes_back_with_class_code_message_and_hint():
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, GeoSegError)]
    assert len(classes) > 20
    for cls in classes:
        error = cls("what", hint="do")
        back = codec.decode_error(codec.encode_error(error))
        assert (type(back), back.code, back.message, back.hint) == (cls, error.code, "what", "do")


@pytest.mark.parametrize("kind", ["ValueError", "os", "GeoSeg", "annotations"])
def test_an_error_that_is_none_of_ours_is_refused(kind):
    record = codec.encode_error(errors.ToolFailed("x")).model_copy(update={"type": kind})
    with pytest.raises(ValueError, match=kind):
        codec.decode_error(record)


# the seal


@given(st.dictionaries(st.text("abc", min_size=1, max_size=2), plain, min_size=1), plain, st.data())
def test_a_changed_field_is_named_and_only_that_one(tree, value, data):
    sealed = seal(tree)
    assert changes(tree, sealed) == []
    fields = list(leaves(tree))
    path, old = data.draw(st.sampled_from(fields))
    if (
        json.dumps(old) != json.dumps(value)
        and not isinstance(value, dict | list)
        and [p for p, _ in fields].count(path) == 1
    ):
        changed = replaced(tree, path, value)
        if changed is not None:
            assert [change.path for change in changes(changed, sealed)] == [path]


def replaced(tree, path, value):
    """The tree with the top-level field at `path` replaced, or None where the path lies deeper."""
    return {**tree, path: value} if path in tree else None


def test_added_and_removed_fields_are_named():
    tree = {"a": 1, "b": [{"c": 2}], "d": {"e": []}}
    sealed = seal(tree)
    assert sealed.keys() == {"a", "b[0].c", "d.e"}
    assert changes({**tree, "x": None}, sealed) == [("x", "was added")]
    assert changes({"a": 1, "d": {"e": []}}, sealed) == [("b[0].c", "was removed")]
    assert changes({**tree, "b": [{"c": 2}, {"c": 2}]}, sealed) == [("b[1].c", "was added")]


def test_one_and_one_point_zero_and_true_seal_differently():
    seals = {tuple(seal({"a": value}).values()) for value in (1, 1.0, True, "1", None, [1])}
    assert len(seals) == 6
