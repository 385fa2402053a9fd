"""The gallery of a report: which pairs it shows, and that its colours are where truth and prediction say."""

import base64
import io

import numpy as np
import pytest
from fakes import ask, scene
from PIL import Image as Pillow

from geoseg_agent.bench.gallery import EACH, SIDE, cases, choose
from geoseg_agent.bench.gallery_pictures import BOTH, PREDICTION, TRUTH, frame, layer
from geoseg_agent.bench.outcome import mask_of, outcome_of
from geoseg_agent.bench.pairs import Pair
from geoseg_agent.bench.records import result_of
from geoseg_agent.runs.failure import Failure
from geoseg_agent.trace.store import load


class Drawn:
    def __init__(self, mask):
        self.mask = mask

    def read(self):
        return self.mask


def decoded(address):
    kind, _, data = address.partition(";base64,")
    return kind, np.asarray(Pillow.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))


def block(size, top, left, bottom, right):
    mask = np.zeros(size, dtype=np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def numbered(number, area):
    truth = block((10, 10), 0, 0, 10, 1 + number % 3)
    pair = Pair(f"p{number:02}", None, "q", Drawn(truth))
    mask = None if area is None else block((10, 10), 0, 0, 10, area)
    error = Failure(code="deadline", message="late") if area is None else None
    return result_of(pair, truth, mask, status="failed" if error else "found", engine="e", image="i", error=error)


async def traced(folder, query="both text"):
    """A pair that was really asked, its result and its picture."""
    image = scene()
    Pillow.fromarray(np.asarray(image.pixels)).save(folder / "noise.png")
    await ask(folder / "traces", query, image=folder / "noise.png")
    trace = load(next((folder / "traces").glob("*.json")))
    pair = Pair("one", folder / "noise.png", query, Drawn(block(image.size, 5, 5, 40, 45)))
    return pair, trace, outcome_of(pair, trace, "noise.png")


def shown(result, pair, folder):
    return cases([result], {pair.id: pair}, folder, None, lambda: None)[0]


def test_the_colours_are_where_the_masks_are():
    truth, prediction = block((30, 40), 5, 5, 20, 20), block((30, 40), 10, 12, 25, 35)
    kind, pixels = decoded(layer(truth, prediction, (30, 40)))

    assert kind == "data:image/png"
    for where, colour in (
        (truth & ~prediction, TRUTH),
        (prediction & ~truth, PREDICTION),
        (truth & prediction, BOTH),
    ):
        assert (pixels[where][:, :3] == colour).all()
        assert set(pixels[where][:, 3]) == {108, 255}
    assert not pixels[~truth & ~prediction][:, 3].any()


def test_an_unknown_prediction_leaves_the_outline_of_the_answer_alone():
    truth = block((30, 40), 5, 5, 20, 20)
    pixels = decoded(layer(truth, None, (30, 40)))[1]

    inner = block((30, 40), 7, 7, 18, 18)
    assert (pixels[truth & ~inner] == (*TRUTH, 255)).all()
    assert not pixels[~truth | inner][:, 3].any()


def test_narrow_things_stay_when_the_picture_is_reduced():
    truth = block((400, 400), 0, 200, 400, 201)
    pixels = decoded(layer(truth, np.zeros_like(truth), (180, 180)))[1]

    assert pixels[..., 3].any(axis=1).all()


def test_a_mask_smaller_than_a_pixel_of_the_picture_is_one_pixel_of_it():
    truth = block((4000, 4000), 2000, 2000, 2001, 2001)
    pixels = decoded(layer(truth, np.zeros_like(truth), (360, 360)))[1]

    assert pixels[..., 3].astype(bool).sum() == 1


def test_a_frame_says_where_small_things_are():
    assert frame(np.zeros((100, 100), dtype=np.bool_), (50, 50)) is None
    assert frame(block((100, 100), 0, 0, 60, 60), (50, 50)) is None
    found = frame(block((100, 100), 40, 60, 44, 64), (50, 50))
    assert (found.x, found.y) <= (30, 20)
    assert found.x + found.width >= 32
    assert found.y + found.height >= 22
    edge = frame(block((100, 100), 99, 99, 100, 100), (50, 50))
    assert edge.x + edge.width < 50
    assert edge.y + edge.height < 50


async def test_a_traced_pair_is_drawn_with_the_mask_that_was_scored(tmp_path):
    pair, trace, result = await traced(tmp_path)
    case = shown(result, pair, tmp_path)

    assert case.known
    assert case.notes == []
    truth, prediction = pair.truth.read(), mask_of(trace)
    pixels = decoded(case.colours)[1]
    assert ((pixels[..., :3] == BOTH).all(axis=2) == (truth & prediction)).all()
    assert ((pixels[..., :3] == PREDICTION).all(axis=2) == (prediction & ~truth)).all()
    kind, photo = decoded(case.photo)
    assert kind == "data:image/webp"
    assert photo.shape[:2] == case.size == (60, 80)
    assert case.rules == "both, text"


async def test_what_changed_since_is_said(tmp_path):
    pair, _, result = await traced(tmp_path)
    other = Pair(pair.id, pair.image, pair.query, Drawn(~pair.truth.read()))
    Pillow.fromarray(np.zeros((60, 80, 3), dtype=np.uint8) + 9).save(pair.image)

    notes = shown(result, other, tmp_path).notes
    assert any("no longer the one that was asked about" in note for note in notes)
    assert any("no longer those that were scored" in note for note in notes)


async def test_a_trace_that_is_gone_or_broken_is_said(tmp_path):
    pair, trace, result = await traced(tmp_path)
    (tmp_path / "traces" / f"{trace.id}.json").write_text("{", encoding="utf-8")
    case = shown(result, pair, tmp_path)

    assert not case.known
    assert case.colours is not None
    assert case.notes[0].startswith("The trace cannot be read: ")


@pytest.mark.parametrize("name", ["../noise", "/etc/hostname", "20260131T235959123Z-0123456789"])
async def test_no_name_of_a_trace_leads_out_of_the_folder(tmp_path, name):
    pair, trace, result = await traced(tmp_path)
    outside = tmp_path / "noise.json"
    outside.write_bytes((tmp_path / "traces" / f"{trace.id}.json").read_bytes())

    assert not shown(result.model_copy(update={"trace": name}), pair, tmp_path).known


def test_a_picture_is_a_thumbnail(tmp_path):
    Pillow.fromarray(np.zeros((500, 1500, 3), dtype=np.uint8)).save(tmp_path / "wide.png")
    truth = block((500, 1500), 0, 0, 100, 100)
    pair = Pair("one", tmp_path / "wide.png", "q", Drawn(truth))
    case = shown(result_of(pair, truth, None, status="ambiguous", engine="e"), pair, tmp_path)

    assert case.size == (120, SIDE)
    assert decoded(case.photo)[1].shape[:2] == decoded(case.colours)[1].shape[:2] == case.size
    assert case.known


def test_best_worst_and_silent_share_no_pair():
    results = [numbered(i, None if i % 7 == 0 else i % 10) for i in range(60)]
    shelf = choose(results)

    assert [len(part) for part in shelf] == [EACH, EACH, EACH]
    assert len({one.id for part in shelf for one in part}) == 3 * EACH
    assert min(one.scores.iou for one in shelf.best) >= max(one.scores.iou for one in shelf.worst)
    assert all(one.error for one in shelf.silent)
    assert choose(results[::-1]) == shelf


@pytest.mark.parametrize(("count", "sizes"), [(1, (1, 0, 0)), (2, (1, 1, 0)), (5, (3, 2, 0))])
def test_few_pairs_are_shared_out(count, sizes):
    assert tuple(len(part) for part in choose([numbered(i, 1) for i in range(count)])) == sizes
