"""`from_points` with an earlier mask: clicks correct it and leave the rest of it alone."""

import numpy as np
import pytest

from geoseg_tools.classical import ClassicalTools
from geoseg_tools.crop import Crop, Scene
from geoseg_tools.geometry import Box, refine, whole

TOOLS = ClassicalTools()
SIZE = (240, 320)
LEFT, RIGHT, OTHER = (80, 110), (240, 110), (160, 205)
COLOURS = {LEFT: (150, 60, 150), RIGHT: (150, 60, 150), OTHER: (30, 60, 80)}


def disc(at: tuple[int, int], radius: int = 30) -> np.ndarray:
    yy, xx = np.mgrid[: SIZE[0], : SIZE[1]]
    return (xx - at[0]) ** 2 + (yy - at[1]) ** 2 < radius**2


def scene(valid: np.ndarray | None = None) -> Scene:
    pixels = np.empty((*SIZE, 3))
    pixels[:] = (165, 145, 110)
    for at, colour in COLOURS.items():
        pixels[disc(at)] = colour
    pixels += np.random.default_rng(4).normal(0, 3, pixels.shape)
    drawn = np.clip(pixels, 0, 255).astype(np.uint8)
    return Scene(SIZE, f"earlier {valid is None}", drawn, valid)


def everywhere(of: Scene) -> Crop:
    return Crop(of, whole(of.size), whole(of.size))


def boxed(of: Scene) -> Crop:
    box = Box(40, 70, 290, 150)
    return Crop(of, refine(box, of.size), box)


def correct(crop: Crop, earlier: np.ndarray, *clicks: tuple[int, int, bool]) -> np.ndarray:
    points = np.array([(x - crop.roi.x1, y - crop.roi.y1) for x, y, _ in clicks], np.int64).reshape(-1, 2)
    positive = np.array([sign for *_, sign in clicks], np.bool_)
    answer = TOOLS.from_points(TOOLS.encode(crop), points, positive, earlier[crop.roi.slices])
    assert len(answer) <= 1
    if len(answer):
        assert answer.scores is not None
    full = np.zeros(crop.scene.size, np.bool_)
    full[crop.roi.slices] = answer.union()
    return full


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("crop_of", [everywhere, boxed])
def test_a_negative_click_removes_its_blob_and_leaves_the_other_to_the_last_pixel(crop_of) -> None:
    ragged = disc(LEFT) & (np.random.default_rng(1).random(SIZE) < 0.9)
    left = correct(crop_of(scene()), ragged | disc(RIGHT), (*RIGHT, False))
    assert np.array_equal(left & disc(LEFT, 50), ragged)
    assert not (left & disc(RIGHT, 50)).any()


@pytest.mark.parametrize("crop_of", [everywhere, boxed])
def test_a_positive_click_adds_its_blob_and_leaves_the_other_to_the_last_pixel(crop_of) -> None:
    both = correct(crop_of(scene()), disc(LEFT), (*RIGHT, True))
    assert np.array_equal(both & disc(LEFT, 50), disc(LEFT))
    assert overlap(both & disc(RIGHT, 50), disc(RIGHT)) > 0.9


def test_one_of_each_kind_in_one_call() -> None:
    crop = everywhere(scene())
    mask = correct(crop, disc(LEFT) | disc(RIGHT), (*RIGHT, False), (*OTHER, True))
    assert np.array_equal(mask & disc(LEFT, 45), disc(LEFT))
    assert not (mask & disc(RIGHT, 50)).any()
    assert overlap(mask & disc(OTHER, 40), disc(OTHER)) > 0.9


def test_what_spills_over_an_edge_goes_with_what_it_spilled_from() -> None:
    spilled = disc(LEFT) | disc(RIGHT, 32)
    mask = correct(everywhere(scene()), spilled, (*RIGHT, False))
    assert np.array_equal(mask & disc(LEFT, 45), disc(LEFT))
    assert (mask & disc(RIGHT, 40)).sum() == 0


def test_a_click_that_says_what_the_mask_says_changes_little() -> None:
    earlier = disc(LEFT) | disc(RIGHT)
    mask = correct(everywhere(scene()), earlier, (*LEFT, True), (*OTHER, False))
    assert overlap(mask, earlier) > 0.95


def test_without_a_click_the_mask_is_what_it_was() -> None:
    earlier = disc(LEFT)
    assert np.array_equal(correct(everywhere(scene()), earlier), earlier)


def test_a_mask_that_loses_everything_is_none() -> None:
    crop = everywhere(scene())
    answer = TOOLS.from_points(TOOLS.encode(crop), np.array([LEFT]), np.array([False]), disc(LEFT))
    assert len(answer) == 0


def test_nothing_is_added_on_invalid_pixels() -> None:
    valid = ~disc(RIGHT, 15)
    mask = correct(everywhere(scene(valid)), disc(LEFT), (RIGHT[0] + 22, RIGHT[1], True))
    assert not (mask & ~valid).any()
    assert (mask & disc(RIGHT)).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (3, 3), (2, 40)])
@pytest.mark.parametrize("held", [True, False])
def test_tiny_scenes(size: tuple[int, int], held: bool) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (*size, 3), dtype=np.uint8)
    crop = everywhere(Scene(size, f"tiny earlier {size}", pixels))
    for positive in (True, False):
        mask = correct(crop, np.full(size, held), (0, 0, positive))
        assert mask[0, 0] == positive
