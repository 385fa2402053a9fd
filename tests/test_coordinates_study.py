"""docs/coordinates.md: the closed forms hold, the numbers quoted are those computed, and the figures can be drawn."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "coordinates.md"


def _load():
    """The script is no module of a package, so it is loaded by its path."""
    spec = importlib.util.spec_from_file_location("coordinates_study", ROOT / "benchmarks" / "coordinates.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


study = _load()


@pytest.mark.parametrize("side", [512, 800, 900, 1000, 1024, 1280, 2048])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.9])
def test_the_closed_form_agrees_with_the_grid(side, share):
    assert study.kept(side, share, study.as_pixels, False).coverage == pytest.approx(
        study.coverage_formula(side, round(share * side) / side), abs=0.012
    )


@pytest.mark.parametrize(("side", "share"), [(700, 0.2), (1300, 0.2), (800, 0.5), (1700, 0.8)])
def test_the_closed_form_is_the_integral(side, share):
    length, slope = share * side, study.SCALE / side
    low = (np.arange(200_000) + 0.5) / 200_000 * (side - length)
    ends = np.minimum(slope * (low + length), side), slope * low
    inside = np.clip(np.minimum(ends[0], low + length) - np.maximum(ends[1], low), 0, None)
    assert study.coverage_formula(side, share) == pytest.approx(float((inside / length).mean()) ** 2, abs=1e-4)


@pytest.mark.parametrize(("side", "share"), [(640, 0.3), (900, 0.1), (1280, 0.5)])
@pytest.mark.parametrize("margins", [False, True])
def test_the_grid_stands_for_every_place_on_whole_pixels(side, share, margins):
    every = side - round(share * side) + 1
    sparse, dense = (study.kept(side, share, study.as_pixels, margins, steps) for steps in (study.STEPS, every))
    assert sparse.coverage == pytest.approx(dense.coverage, abs=0.005)
    assert sparse.iou == pytest.approx(dense.iou, abs=0.005)


@pytest.mark.parametrize("side", [512, 800, 1024, 1536])
def test_displacement_grows_with_place_and_not_with_size(side):
    centres = np.linspace(0.35, 0.65, 7) * side
    moved = []
    for length in (0.05 * side, 0.6 * side):
        low, high = study.as_pixels(centres - length / 2, length, side)
        moved.append((low + high) / 2 - centres)
        slope, offset = np.polyfit(centres, (low + high) / 2, 1)
        assert slope == pytest.approx(1000 / side, abs=0.01)
        assert abs(offset) < 3
    assert np.abs(moved[0] - moved[1]).max() <= 1  # whole numbers, half of one at each end
    assert np.sign(moved[0]).tolist() == [np.sign(1000 - side)] * 7


@pytest.mark.parametrize(("side", "missing"), [(800, "left"), (1280, "right")])
def test_what_is_missing_lies_left_under_1000_px_and_right_over_it(side, missing):
    low, high = study.as_pixels(np.array([0.4 * side]), 0.3 * side, side)
    assert (low[0] > 0.4 * side) == (missing == "left")
    assert (high[0] < 0.7 * side) == (missing == "right")


def test_at_1000_px_nothing_is_wrong():
    one = study.kept(1000, 0.3, study.as_pixels, False)
    assert one == (1, 1, 0)


def test_the_margins_make_up_for_a_shift_in_proportion_to_the_box():
    assert study.kept(1000, 0.2, study.in_proportion, False).coverage == pytest.approx(0.64, abs=0.005)
    assert study.kept(1000, 0.2, study.in_proportion, True).coverage == pytest.approx(1, abs=0.005)


def test_a_translation_has_the_mean_of_the_unit_error():
    low = np.linspace(0, 800 - 80, 201)
    (unit_low, unit_high), (shift_low, shift_high) = study.as_pixels(low, 80, 800), study.translated(low, 80, 800)
    assert (unit_low + unit_high).mean() / 2 == pytest.approx((shift_low + shift_high).mean() / 2, abs=0.5)


def test_the_two_recalls_give_back_the_share_of_misread_images():
    one = study.bound(800, "30-90 %")
    whole = study.RECALL_WITHOUT / (1 - one.share * (1 - one.without))
    assert whole * (1 - one.share * (1 - one.with_margins)) == pytest.approx(study.RECALL_WITH)
    assert study.bound(800, "30-90 %", loss=0.05).share > one.share
    assert study.bound(1000, "3-90 %").share == 1


def test_the_document_quotes_every_table():
    text = DOCUMENT.read_text("utf-8")
    assert [name for name, table in study.tables().items() if table not in text] == []


def test_the_document_quotes_the_numbers():
    text = re.sub(r"\s+", " ", DOCUMENT.read_text("utf-8"))
    unit = {margins: lambda side, share, m=margins: study.kept(side, share, study.as_pixels, m) for margins in (0, 1)}
    middle, small = (f"from {unit[0](800, s).coverage:.2f} to {unit[1](800, s).coverage:.2f}" for s in (0.3, 0.05))
    shares = [100 * study.bound(side, "3-90 %").share for side in study.BOUND_SIDES]
    gains = [study.bound(side, band).gain for side in study.BOUND_SIDES for band in study.BANDS]
    gains = [gain for gain in gains if gain is not None]
    right = [unit[1](1000, share).iou for share in study.SIZES]
    near = study.bound(1024, "3-90 %")
    loss = 1 - near.without / near.with_margins * study.RECALL_WITH / study.RECALL_WITHOUT
    every, large = study.indistinct("3-90 %"), study.indistinct("30-90 %")
    for quoted in (
        f"a box of 30 % of the side {middle}, and one of 5 % {small}",
        f"{unit[1](800, 0.1).coverage:.2f} for boxes of 10 % on 800 px",
        f"a drift of {-study.mean_shift(1024):.0f} px on average",
        f"it is {min(right):.2f} to {max(right):.2f}",
        f"sides of {every[0]} to {every[1]} px, or of {large[0]} to {large[1]} px with large targets only",
        f"would have brought {min(gains):.1f} to {max(gains):.1f} points",
        f"room for {min(shares):.0f} to {max(shares):.0f} % of the images",
        f"large targets ({100 * study.bound(1024, '30-90 %').share:.0f} %)",
        f"On 1024 px a loss of {100 * loss:.0f} % would leave room for every image",
        f"{study.STEPS} x {study.STEPS} places",
    ):
        assert quoted in text, quoted


def test_every_figure_is_there_and_small():
    named = re.findall(r"\]\((coordinates/[a-z]+\.png)\)", DOCUMENT.read_text("utf-8"))
    files = {f"coordinates/{path.name}" for path in (DOCUMENT.parent / "coordinates").iterdir()}
    assert set(named) == files
    assert all((DOCUMENT.parent / name).stat().st_size < 150_000 for name in named)


def test_the_figures_can_be_drawn(tmp_path):
    drawn = study.draw(tmp_path, steps=5)
    assert {path.name for path in drawn} == {path.name for path in (DOCUMENT.parent / "coordinates").iterdir()}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
