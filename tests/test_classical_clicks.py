"""Clicks on a whole scene: what one click gives, what a canvas keeps, and odd scenes."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from geoseg_tools.classical import ClassicalTools
from geoseg_tools.classical.cache import CANVASES, Kept, canvas_of, canvases
from geoseg_tools.crop import Crop, Scene
from geoseg_tools.geometry import whole

TOOLS = ClassicalTools()
SIZE = (200, 300)


def ring(radius: int) -> np.ndarray:
    yy, xx = np.mgrid[: SIZE[0], : SIZE[1]]
    return (xx - 150) ** 2 + (yy - 100) ** 2 < radius**2


def scene(name: str, valid: np.ndarray | None = None, grey: bool = False) -> Scene:
    pixels = np.empty((*SIZE, 3))
    pixels[:] = (165, 145, 110)
    pixels[ring(50)] = (30, 80, 60)
    pixels[ring(6)] = (220, 220, 220)
    pixels += np.random.default_rng(4).normal(0, 3, pixels.shape)
    if grey:
        pixels[:] = pixels.mean(axis=2, keepdims=True)
    return Scene(SIZE, f"clicks {name}", np.clip(pixels, 0, 255).astype(np.uint8), valid)


def click(of: Scene, *clicks: tuple[int, int, bool]) -> np.ndarray:
    crop = Crop(of, whole(of.size), whole(of.size))
    points = np.array([click[:2] for click in clicks], np.int64)
    answer = TOOLS.from_points(TOOLS.encode(crop), points, np.array([click[2] for click in clicks]))
    assert answer.size == of.size
    return answer.union()


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("grey", [True, False])
def test_the_first_click_grows_by_colour_and_fills_what_it_encloses(grey: bool) -> None:
    mask = click(scene(f"first {grey}", grey=grey), (120, 100, True))
    assert overlap(mask, ring(50)) > 0.9
    assert mask[100, 150]


def test_a_second_click_takes_back_what_it_encloses() -> None:
    mask = click(scene("second"), (120, 100, True), (150, 100, False))
    assert mask[100, 120]
    assert not mask[100, 150]


def test_clicks_come_in_any_order_and_more_than_once() -> None:
    of = scene("order")
    clicks = [(120, 100, True), (150, 100, False), (180, 110, True), (20, 20, False)]
    mask = click(of, *clicks)
    assert np.array_equal(click(of, *clicks[::-1]), mask)
    assert np.array_equal(click(of, *clicks, *clicks), mask)


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (3, 1), (3, 3), (2, 50)])
@pytest.mark.parametrize("valid", [None, True, False])
@pytest.mark.parametrize("constant", [True, False])
def test_tiny_scenes(size: tuple[int, int], valid: bool | None, constant: bool) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (*size, 3), dtype=np.uint8)
    if constant:
        pixels[:] = 128
    of = Scene(size, f"tiny {size} {valid} {constant}", pixels, None if valid is None else np.full(size, valid))
    far = (size[1] - 1, size[0] - 1)
    for clicks in ([(0, 0, True)], [(0, 0, True), (*far, False)], [(0, 0, True), (*far, True), (0, 0, True)]):
        mask = click(of, *clicks)
        assert valid is not False or not mask.any()


def test_a_scene_without_a_valid_pixel_has_no_mask() -> None:
    of = scene("invalid", np.zeros(SIZE, np.bool_))
    assert not click(of, (120, 100, True)).any()
    assert not click(of, (120, 100, True), (10, 10, False)).any()


def test_a_click_on_an_invalid_pixel_is_answered() -> None:
    valid = ~ring(20)
    mask = click(scene("hole", valid), (150, 100, True), (110, 100, True))
    assert not (mask & ~valid).any()
    assert mask[100, 110]


def test_only_the_canvases_of_the_last_scenes_are_kept() -> None:
    scenes = [scene(f"kept {i}") for i in range(CANVASES + 2)]
    made = [canvas_of(of) for of in scenes]
    assert len(canvases) == CANVASES
    assert canvas_of(scenes[-1]) is made[-1]
    assert canvas_of(scenes[0]) is not made[0]


def test_the_scene_used_last_is_forgotten_last() -> None:
    kept = Kept(2, lambda of: [of.digest], lambda of: of.digest)
    one, two, three = (Scene((1, 1), name, np.zeros((1, 1, 3), np.uint8)) for name in "abc")
    first = kept.of(one)
    kept.of(two)
    assert kept.of(one) is first
    kept.of(three)
    assert kept.of(one) is first
    assert len(kept) == 2


def test_threads_that_ask_for_one_scene_at_once_get_one_value() -> None:
    together = threading.Barrier(4, timeout=30)
    made = []

    def make(of: Scene) -> list[str]:
        together.wait()
        made.append(of.digest)
        return [of.digest]

    kept = Kept(2, make, lambda of: of.digest)
    of = Scene((1, 1), "one", np.zeros((1, 1, 3), np.uint8))
    with ThreadPoolExecutor(4) as pool:
        values = list(pool.map(kept.of, [of] * 4))
    assert len(made) == 4
    assert all(value is values[0] for value in values)
    assert len(kept) == 1


def test_threads_on_one_canvas_do_not_disturb_each_other() -> None:
    of = scene("threads")
    sets = [[(120 + i, 100, True), (10 + 9 * i, 15 + 8 * i, False), (150, 100, i % 2 == 0)] for i in range(16)]
    alone = [click(of, *clicks) for clicks in sets]
    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(lambda clicks: click(scene("threads at once"), *clicks), sets))
    assert all(np.array_equal(a, b) for a, b in zip(alone, at_once, strict=True))
