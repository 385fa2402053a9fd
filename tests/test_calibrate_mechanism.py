"""docs/mechanism.md: the geometry of the study is the method's, and the numbers quoted are those computed."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from geoseg_tools.errors import GeometryError
from geoseg_tools.geometry import Box, refine

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
DOCUMENT = ROOT / "docs" / "mechanism.md"


def _load():
    """The script is no module of a package, so it is loaded by its path."""
    spec = importlib.util.spec_from_file_location("mechanism_study", ROOT / "benchmarks" / "mechanism.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


study = _load()


def record_of(mask, *boxes):
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.int64)
    sums[1:, 1:] = mask.cumsum(0).cumsum(1)
    return study.Record("a", mask.shape, np.array(boxes, dtype=float), sums, ("small",) * len(boxes), neighbours=True)


@pytest.mark.parametrize("seed", range(5))
def test_regions_are_those_of_the_method(seed):
    rng = np.random.default_rng(seed)
    for _ in range(200):
        size = tuple(int(side) for side in rng.integers(20, 900, 2))
        low = rng.integers(0, 900, 2)
        box = Box(*map(int, low), *map(int, low + rng.integers(1, 400, 2)))
        alpha, beta = (float(value) for value in rng.choice(study.GRID, 2))
        found = study.regions(np.array([tuple(box)], dtype=float), size, alpha, beta)[0]
        try:
            assert tuple(found) == tuple(refine(box, size, alpha, beta))
        except GeometryError:
            assert (found[2] - found[0]) * (found[3] - found[1]) == 0


def test_overlaps_equal_those_of_the_masks():
    rng = np.random.default_rng(0)
    mask = rng.random((60, 80)) < 0.4
    true = (10, 20, 40, 50)
    own = np.zeros_like(mask)
    own[20:50, 10:40] = mask[20:50, 10:40]
    for _ in range(50):
        corner = rng.integers(0, 30, 2)
        region = np.array([[*corner, *(corner + rng.integers(1, 30, 2))]])
        inside = np.zeros_like(mask)
        inside[region[0, 1] : region[0, 3], region[0, 0] : region[0, 2]] = True
        coverage, crowd, precision = study.overlaps(record_of(mask, true), region)
        taken = mask & inside
        assert coverage[0] == pytest.approx((own & inside).sum() / own.sum())
        assert crowd[0] == pytest.approx((own & taken).sum() / (own | taken).sum())
        assert precision[0] == pytest.approx((own & inside).sum() / inside.sum())


def test_errors_are_what_they_are_called():
    boxes, size, rng = np.array([[100.0, 200.0, 300.0, 300.0]]), np.array([800.0, 400.0]), np.random.default_rng(0)
    assert study.shift(0.2)(boxes, size, rng).tolist() == [[140, 220, 340, 320]]
    assert study.scale(0.5)(boxes, size, rng).tolist() == [[150, 225, 250, 275]]
    assert study.unit(800)(boxes, size, rng).tolist() == [[250, 250, 750, 375]]
    moved = study.jitter(0.1)(np.tile(boxes, (5000, 1)), size, rng) - boxes
    assert np.allclose(moved.std(axis=0), [20, 10, 20, 10], rtol=0.05)


def test_without_the_data_it_says_so(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "mechanism.py", "--data", tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("skipped: ")


def test_every_figure_is_there_and_small():
    named = re.findall(r"\]\((mechanism/[a-z]+\.png)\)", DOCUMENT.read_text("utf-8"))
    assert set(named) == {f"mechanism/{path.name}" for path in (DOCUMENT.parent / "mechanism").iterdir()}
    assert all((DOCUMENT.parent / name).stat().st_size < 150_000 for name in named)


@pytest.mark.data
@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
@pytest.mark.parametrize("case", ["no error", "shift 0.2", "scale 0.7", "unit, 810 px"])
def test_the_document_quotes_what_is_computed(case):
    records = study.load(DATA)
    none, paper = (study.measure(records, study.CASES[case], margins) for margins in (study.NONE, study.PAPER))
    row = next(line for line in DOCUMENT.read_text("utf-8").splitlines() if line.startswith(f"| {case} |"))
    cells = f"| {none.coverage:.2f} / {none.crowd:.2f} | {paper.coverage:.2f} / {paper.crowd:.2f} |"
    assert cells in row
    assert f"{len(records)} pairs, {sum(len(record.boxes) for record in records)} boxes" in DOCUMENT.read_text(
        "utf-8"
    )
