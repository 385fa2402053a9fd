"""Masks of other systems: scored as they are, and a failed query with its reason where they are not masks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from geoseg_agent.bench.datasets.mask_file import MaskFile
from geoseg_agent.bench.metrics import NOTHING, score
from geoseg_agent.bench.pairs import Pair
from geoseg_agent.bench.scoring import score_folder, strangers
from geoseg_agent.bench.summary import summarise
from geoseg_agent.errors import DatasetError

SIZE = (12, 16)


@dataclass(frozen=True)
class Stripe:
    """An answer made on demand: rows from `top` on."""

    top: int

    def read(self):
        mask = np.zeros(SIZE, bool)
        mask[self.top :] = True
        return mask


class Unreadable:
    def read(self):
        raise DatasetError("record 3: the answer is gone")


def pairs(n=6):
    return [Pair(id=f"p{at}", image=Path(f"{at // 2}.png"), query="q", truth=Stripe(2 + at)) for at in range(n)]


def save(folder, name, pixels, mode=None):
    folder.mkdir(exist_ok=True)
    picture = PIL.Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(folder / name)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "theirs"


def grey(top, value=255, size=SIZE):
    pixels = np.zeros(size, np.uint8)
    pixels[top:] = value
    return pixels


def test_masks_are_scored_in_the_order_of_the_pairs(folder):
    for at in range(6):
        save(folder, f"p{at}.{'png' if at % 2 else 'tif'}", grey(4, 255 if at % 3 else 1))
    seen = []
    results = list(score_folder(pairs(), folder, told=lambda done, n: seen.append((done, n))))

    assert [result.id for result in results] == [f"p{at}" for at in range(6)]
    assert seen == [(at, 6) for at in range(1, 7)]
    for result, pair in zip(results, pairs(), strict=True):
        assert (result.counts, result.scores) == score(grey(4) > 0, pair.truth.read())
        assert (result.status, result.error, result.engine) == ("found", None, "theirs")
        assert (result.seconds, result.calls, result.tokens, result.confidence) == (None, None, None, None)
    assert results[2].scores.iou == 1


@pytest.fixture
def filed(folder, tmp_path):
    """Forty pairs whose answers are files, as those of data sets are, so that processes can hand them over."""
    for at in range(40):
        save(folder, f"p{at}.png", grey(at % 12))
        save(tmp_path / "answers", f"{at}.png", grey(at % 7))
    return [
        Pair(
            id=f"p{at}",
            image=Path("a"),
            query="q",
            truth=MaskFile(tmp_path / "answers" / f"{at}.png", f"record {at}"),
        )
        for at in range(40)
    ]


def test_processes_give_the_same_in_the_same_order(filed, folder, tmp_path):
    (folder / "p7.png").unlink()
    alone = list(score_folder(filed, folder))
    assert list(score_folder(filed, folder, workers=2)) == alone
    assert alone[7].status == "failed"


def test_processes_stop_when_the_caller_does_and_pass_errors_on(filed, folder, tmp_path):
    (tmp_path / "answers" / "3.png").unlink()
    results = score_folder(filed, folder, workers=2)

    assert [next(results).id for _ in range(3)] == ["p0", "p1", "p2"]
    with pytest.raises(DatasetError, match="record 3"):
        next(results)


CASES = {
    "missing_mask": None,
    "wrong_size": lambda folder: save(folder, "p1.png", grey(3, size=(12, 17))),
    "unreadable_mask": lambda folder: (folder / "p1.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more"),
    "no_mask": lambda folder: save(folder, "p1.png", np.arange(192, dtype=np.uint8).reshape(SIZE)),
    "several_masks": lambda folder: [save(folder, f"p1.{kind}", grey(3)) for kind in ("png", "tif")],
}


@pytest.mark.parametrize("code", CASES)
def test_what_is_no_answer_is_a_failed_query_with_its_reason(folder, code):
    save(folder, "p0.png", grey(2))
    if CASES[code]:
        CASES[code](folder)
    right, wrong = score_folder(pairs(2), folder)

    assert right.scores.iou == 1
    assert (wrong.status, wrong.error.code, wrong.prediction_area) == ("failed", code, None)
    assert wrong.scores == NOTHING
    assert code == "missing_mask" or "p1." in wrong.error.message
    summary = summarise([right, wrong])
    assert summary.errors == {code: 1}
    assert summary.overall.metrics["iou"].value == 0.5


def test_a_wrong_size_is_named_and_never_resized_silently(folder):
    save(folder, "p0.png", np.kron(grey(2), np.ones((2, 2), np.uint8)))
    (refused,) = score_folder(pairs(1), folder)
    (resized,) = score_folder(pairs(1), folder, resize=True)

    assert "32 x 24 pixels, the image has 16 x 12" in refused.error.message
    assert resized.scores.iou == 1


def test_resizing_takes_the_nearest_pixel(folder):
    small = np.array([[0, 1], [1, 0]], np.uint8)
    save(folder, "p0.png", small)
    (result,) = score_folder(pairs(1), folder, resize=True)

    blown = np.kron(small, np.ones((6, 8), np.uint8)) > 0
    assert result.counts == score(blown, pairs(1)[0].truth.read())[0]


@pytest.mark.parametrize(
    ("name", "pixels", "mode"),
    [
        ("p0.png", grey(2) > 0, None),
        ("p0.png", grey(2), "RGB"),
        ("p0.png", grey(2).astype(np.uint16) * 257, None),
        ("p0.tif", (grey(2) / 255).astype(np.float32), None),
        ("p0.tiff", grey(2, 7), None),
        ("p0.png", grey(2, 1), "P"),
    ],
)
def test_masks_of_many_kinds(folder, name, pixels, mode):
    save(folder, name, pixels, mode)
    (result,) = score_folder(pairs(1), folder)

    assert (result.error, result.scores.iou) == (None, 1)


def test_an_empty_mask_says_that_there_is_nothing(folder):
    save(folder, "p0.png", grey(99))
    (result,) = score_folder(pairs(1), folder)

    assert (result.status, result.prediction_area, result.scores.iou) == ("not_found", 0, 0)
    assert result.scores.specificity == 1


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_folder_without_any_mask_is_a_mistake(folder, name):
    folder.mkdir()
    (folder / "other.png").touch()
    with pytest.raises(DatasetError, match="no mask of any of the 6 pairs" if name == "empty" else "no folder"):
        next(score_folder(pairs(), folder if name == "empty" else folder / "missing"))


def test_an_answer_that_cannot_be_read_is_no_fault_of_the_system(folder):
    save(folder, "p0.png", grey(2))
    bad = Pair(id="p0", image=Path("0.png"), query="q", truth=Unreadable())
    with pytest.raises(DatasetError, match="the answer is gone"):
        list(score_folder([bad], folder))


def test_files_of_no_pair_are_listed(folder):
    for name in ("p0.png", "p9.png", "P1.png", "p1.PNG", "notes.tif"):
        save(folder, name, grey(2))
    (folder / "readme.txt").touch()

    assert strangers(pairs(), folder) == ("P1.png", "notes.tif", "p1.PNG", "p9.png")
