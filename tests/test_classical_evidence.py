"""Evidence, selection and grounding of the offline default on scenes drawn here."""

import hashlib
import threading

import numpy as np
import pytest

from geoseg_tools.classical import ground
from geoseg_tools.classical.evidence import Evidence
from geoseg_tools.classical.features import changed, thumbnail, working_size
from geoseg_tools.classical.parser import read
from geoseg_tools.classical.select import choose
from geoseg_tools.crop import Scene

GROUND = (165, 145, 110)
WATER = (25, 55, 75)
GREEN = (60, 120, 45)
ROAD = (95, 95, 98)
ROOF = (235, 235, 235)
RED = (190, 70, 55)
LAKE, POND, ROAD_AT, GRASS = np.s_[60:180, 40:200], np.s_[300:360, 420:500], np.s_[230:246, :], np.s_[40:150, 300:520]
HOUSES = [np.s_[290:330, 40:90], np.s_[290:330, 130:180], np.s_[350:390, 40:90], np.s_[350:390, 130:180]]


def scene(pixels: np.ndarray, valid: np.ndarray | None = None) -> Scene:
    digest = hashlib.sha256(pixels.tobytes() + repr(pixels.shape).encode())
    digest.update(b"" if valid is None else valid.tobytes())
    return Scene(pixels.shape[:2], digest.hexdigest(), pixels, valid)


def countryside(*, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pixels = np.empty((420, 560, 3))
    pixels[:] = GROUND
    pixels[GRASS], pixels[ROAD_AT], pixels[LAKE], pixels[POND] = GREEN, ROAD, WATER, WATER
    for house, colour in zip(HOUSES, (ROOF, ROOF, RED, ROOF), strict=True):
        pixels[house] = colour
    pixels += rng.normal(0, 2.0, pixels.shape)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def truth(*parts: tuple[slice, slice]) -> np.ndarray:
    mask = np.zeros((420, 560), bool)
    for part in parts:
        mask[part] = True
    return mask


def answer(query: str, image: Scene | None = None) -> np.ndarray:
    image = scene(countryside()) if image is None else image
    mask = np.zeros(image.size, bool)
    for found in ground(image, query).found:
        assert found.within.shape == found.box.size
        mask[found.box.slices] |= found.within
    return mask


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


@pytest.mark.parametrize(
    ("query", "expected", "least"),
    [
        ("all water", truth(LAKE, POND), 0.9),
        ("the largest lake", truth(LAKE), 0.9),
        ("the smallest body of water", truth(POND), 0.85),
        ("the pond in the lower right", truth(POND), 0.85),
        ("the water on the left", truth(LAKE), 0.9),
        ("the lake north of the road", truth(LAKE), 0.9),
        ("the pond south of the road", truth(POND), 0.85),
        ("where could ducks swim?", truth(LAKE, POND), 0.9),
        ("the vegetation", truth(GRASS), 0.8),
        ("the road", truth(ROAD_AT), 0.7),
        ("Segment the buildings.", truth(*HOUSES), 0.6),
        ("the red house", truth(HOUSES[2]), 0.5),
    ],
)
def test_what_is_asked_for_is_found(query: str, expected: np.ndarray, least: float) -> None:
    assert overlap(answer(query), expected) >= least


def test_one_result_per_component_each_with_its_own_tight_box() -> None:
    result = ground(scene(countryside()), "all water")
    assert result.status == "found"
    assert len(result.found) == 2
    for found in result.found:
        for line in (found.within[0], found.within[-1], found.within[:, 0], found.within[:, -1]):
            assert line.any()
        assert 0.12 <= found.confidence <= 1
        assert read(found.phrase).concepts == ("water",)


def test_many_components_come_as_one_box() -> None:
    pixels = countryside()
    pixels[:] = GROUND
    for i in range(12):
        y, x = 40 + 130 * (i // 4), 30 + 130 * (i % 4)
        pixels[y : y + 44, x : x + 60] = ROOF
    result = ground(scene(pixels), "all buildings")
    assert result.status == "found"
    assert len(result.found) == 1


@pytest.mark.parametrize("query", ["the hospital", "the railway", "planes", "zorble", "tennis courts", "!"])
def test_unknown_concepts_are_not_found_and_the_way_to_a_model_is_named(query: str) -> None:
    result = ground(scene(countryside()), query)
    assert (result.status, result.found) == ("not_found", ())
    assert "offline baseline" in result.reasoning
    assert "GEOSEG_BASE_URL" in result.reasoning


def test_a_known_concept_that_is_not_there_is_not_found() -> None:
    pixels = np.clip(np.array(GROUND) + np.random.default_rng(0).normal(0, 2, (200, 300, 3)), 0, 255)
    for query in ("the lake", "swimming pools", "roads", "buildings", "ships"):
        assert ground(scene(pixels.astype(np.uint8)), query).status == "not_found"


def test_reasoning_says_what_was_read_and_notes_what_was_not() -> None:
    result = ground(scene(countryside()), "the mysterious lakes")
    assert "water" in result.reasoning
    assert any("mysterious" in note for note in result.notes)


def test_invalid_pixels_are_never_part_of_an_answer() -> None:
    valid = np.ones((420, 560), bool)
    valid[:, :120] = False
    mask = answer("all water", scene(countryside(), valid))
    assert mask.any()
    assert not (mask & ~valid).any()


def test_padding_in_black_is_no_water() -> None:
    pixels = countryside()
    pixels[:, :110] = 0
    mask = answer("all water", scene(pixels))
    assert mask[LAKE][:, 80:].mean() > 0.8
    assert not mask[:, :105].any()


def test_grey_images_are_hardly_believed() -> None:
    grey = np.repeat(countryside().mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    result = ground(scene(grey), "all buildings")
    assert all(found.confidence <= 0.4 for found in result.found)


def test_same_scene_same_answer_in_any_order_and_from_any_thread() -> None:
    image = scene(countryside(seed=11))
    first = answer("all water", image)
    for seed in range(20, 26):
        ground(scene(countryside(seed=seed)), "the red house")
    assert (answer("all water", image) == first).all()
    seen: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: seen.append(answer("all water", image))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 4
    assert all((mask == first).all() for mask in seen)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 2), (3, 1), (1, 90), (5, 5), (900, 2), (17, 33)])
@pytest.mark.parametrize("kind", ["noise", "constant", "invalid"])
def test_degenerate_images_are_answered_without_an_error(shape: tuple[int, int], kind: str) -> None:
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    if kind == "constant":
        pixels[:] = 90
    image = scene(pixels, np.zeros(shape, bool) if kind == "invalid" else None)
    for query in ("water", "the largest white building in the upper left", "trees between the road and the lake"):
        result = ground(image, query)
        if kind != "noise":
            assert result.status == "not_found"


def test_evidence_is_between_0_and_1_and_nothing_is_evidence_of_nothing() -> None:
    evidence = Evidence(thumbnail(scene(countryside())))
    for concept in (
        *("water", "vegetation", "tree", "grass", "road", "paved", "building"),
        *("field", "pool", "bare", "ship", "vehicle"),
    ):
        values = evidence.of(concept)
        assert values.shape == evidence.size
        assert values.dtype == np.float32
        assert values.min() >= 0
        assert values.max() <= 1 + 1e-6
    assert not evidence.of("unicorn").any()


def test_the_working_size_only_ever_shrinks() -> None:
    assert working_size((100, 50)) == (100, 50)
    assert working_size((6400, 3200)) == (640, 320)
    assert working_size((1, 100_000)) == (1, 640)
    small = changed(thumbnail(scene(countryside())), scale=0.5, gamma=1.25)
    assert small.valid.shape == (210, 280)


def test_a_number_picks_as_many_and_a_place_decides_which() -> None:
    evidence = Evidence(thumbnail(scene(countryside())))
    assert len(choose(evidence, read("the two ponds")).chosen) == 2
