"""`ClassicalTools` as Matcher and Segmenter, through the method's own stages."""

import hashlib

import numpy as np
import pytest

from geoseg_tools.classical import TOOL_DEFAULTS, ClassicalTools, ground
from geoseg_tools.crop import Crop, Scene
from geoseg_tools.fusion import fuse
from geoseg_tools.geometry import Box, paste, refine, whole
from geoseg_tools.keypoints import topk_nms

TOOLS = ClassicalTools()
LAKE = Box(60, 50, 220, 170)
BLOB = Box(300, 220, 380, 290)


def painted(valid: np.ndarray | None = None) -> Scene:
    rng = np.random.default_rng(9)
    pixels = np.empty((360, 480, 3))
    pixels[:] = (165, 145, 110)
    pixels[LAKE.slices] = (25, 55, 75)
    yy, xx = np.mgrid[:360, :480]
    pixels[disc(yy, xx)] = (150, 60, 150)
    pixels += rng.normal(0, 3, pixels.shape)
    drawn = np.clip(pixels, 0, 255).astype(np.uint8)
    digest = hashlib.sha256(drawn.tobytes() + (b"" if valid is None else valid.tobytes())).hexdigest()
    return Scene((360, 480), digest, drawn, valid)


def disc(yy: np.ndarray, xx: np.ndarray) -> np.ndarray:
    return ((xx - 340) / 40.0) ** 2 + ((yy - 255) / 35.0) ** 2 < 1


def blob() -> np.ndarray:
    yy, xx = np.mgrid[:360, :480]
    return disc(yy, xx)


def crop_of(box: Box, scene: Scene) -> Crop:
    return Crop(scene, refine(box, scene.size), box)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def points(*at: tuple[int, int]) -> np.ndarray:
    return np.array(at, np.int64).reshape(-1, 2)


def test_similarity_is_high_where_the_phrase_is_and_absolute() -> None:
    crop = crop_of(LAKE, painted())
    heat = TOOLS.similarity(crop, "lake")
    assert heat.dtype == np.float32
    assert max(heat.shape) <= 64
    assert 0 <= heat.min() <= heat.max() <= 1
    rows, cols = heat.shape
    assert heat[rows // 2, cols // 2] > 0.5
    assert heat[0, 0] < 0.1


def test_similarity_of_an_unknown_phrase_is_zero_so_that_no_keypoint_is_made_up() -> None:
    crop = crop_of(LAKE, painted())
    heat = TOOLS.similarity(crop, "tennis court")
    assert not heat.any()
    assert len(topk_nms(heat, crop.size, tau=TOOL_DEFAULTS["tau"], normalise=TOOL_DEFAULTS["heat_norm"])) == 0


def test_both_routes_and_their_fusion_give_what_grounding_found() -> None:
    scene = painted()
    result = ground(scene, "the lake")
    (found,) = result.found
    crop = crop_of(found.box, scene)
    heat = TOOLS.similarity(crop, found.phrase)
    keys = topk_nms(
        heat, crop.size, k=TOOL_DEFAULTS["k"], tau=TOOL_DEFAULTS["tau"], normalise=TOOL_DEFAULTS["heat_norm"]
    )
    assert len(keys) > 3
    encoded = TOOLS.encode(crop)
    a = TOOLS.from_points(encoded, keys.points, np.ones(len(keys), bool))
    b = TOOLS.from_text(encoded, found.phrase)
    fused = fuse(a.masks[0], b.masks[0], has_keypoints=True)
    assert fused.rule == "both"
    expected = np.zeros(scene.size, bool)
    expected[LAKE.slices] = True
    assert overlap(paste(fused.mask, crop.roi, scene.size), expected) > 0.9


@pytest.mark.parametrize("shift", [(0, 0), (10, 8), (-12, 6)])
@pytest.mark.parametrize("grow", [0, 12])
def test_an_unknown_phrase_gives_the_foreground_of_a_loose_or_shifted_box(shift: tuple[int, int], grow: int) -> None:
    box = Box(
        BLOB.x1 + shift[0] - grow, BLOB.y1 + shift[1] - grow, BLOB.x2 + shift[0] + grow, BLOB.y2 + shift[1] + grow
    )
    scene = painted()
    crop = crop_of(box, scene)
    answer = TOOLS.from_text(TOOLS.encode(crop), "zorble")
    assert answer.masks.shape == (1, *crop.size)
    assert answer.scores is not None
    assert answer.scores[0] > 0.3
    assert any("zorble" in note for note in answer.notes)
    mask = paste(answer.masks[0], crop.roi, scene.size)
    filled = paste(np.ones(box.size, bool), box, scene.size)
    assert overlap(mask, blob()) > 0.65
    assert overlap(mask, blob()) > overlap(filled, blob()) + 0.05


def test_evidence_that_disagrees_with_the_box_is_left_out() -> None:
    crop = crop_of(BLOB, painted())
    known = TOOLS.from_text(TOOLS.encode(crop), "lake")
    free = TOOLS.from_text(TOOLS.encode(crop), "zorble")
    assert overlap(known.masks[0], free.masks[0]) > 0.95
    assert any("'lake'" in note for note in known.notes)
    lake = TOOLS.from_text(TOOLS.encode(crop_of(LAKE, painted())), "lake")
    assert not lake.notes


def test_evidence_that_disagrees_with_the_box_makes_no_keypoint() -> None:
    # A corner of the lake lies in the box; what stands out there is the blob.
    scene = painted()
    box = Box(190, 140, 400, 310)
    crop = crop_of(box, scene)
    assert not TOOLS.similarity(crop, "lake").any()
    # Where nothing is known of the surroundings there is nothing to contradict the words.
    everything = whole(scene.size)
    heat = TOOLS.similarity(Crop(scene, everything, everything), "lake")
    assert heat[: heat.shape[0] // 2].max() > TOOL_DEFAULTS["tau"]


def test_one_click_without_a_box_grows_by_colour() -> None:
    scene = painted()
    crop = Crop(scene, whole(scene.size), whole(scene.size))
    answer = TOOLS.from_points(TOOLS.encode(crop), points((340, 255)), np.array([True]))
    assert overlap(answer.masks[0], blob()) > 0.8


def test_negative_clicks_are_honoured_without_a_box() -> None:
    scene = painted()
    crop = Crop(scene, whole(scene.size), whole(scene.size))
    answer = TOOLS.from_points(TOOLS.encode(crop), points((340, 255), (140, 110)), np.array([True, False]))
    mask = answer.masks[0]
    assert mask[255, 340]
    assert not mask[110, 140]
    assert overlap(mask, blob()) > 0.6


def test_negative_clicks_are_honoured_in_a_box() -> None:
    scene = painted()
    crop = crop_of(Box(40, 40, 400, 310), scene)
    inside, outside = (140 - crop.roi.x1, 110 - crop.roi.y1), (340 - crop.roi.x1, 255 - crop.roi.y1)
    encoded = TOOLS.encode(crop)
    mask = TOOLS.from_points(encoded, points(inside, outside), np.array([True, False])).masks[0]
    assert mask[inside[1], inside[0]]
    assert not mask[outside[1], outside[0]]
    swapped = TOOLS.from_points(encoded, points(inside, outside), np.array([False, True])).masks[0]
    assert swapped[outside[1], outside[0]]
    assert not swapped[inside[1], inside[0]]


def test_without_a_positive_point_there_is_no_mask() -> None:
    crop = crop_of(LAKE, painted())
    answer = TOOLS.from_points(TOOLS.encode(crop), points((5, 5)), np.array([False]))
    assert answer.masks.shape == (0, *crop.size)


def test_invalid_pixels_are_in_no_mask() -> None:
    valid = np.ones((360, 480), bool)
    valid[:, :130] = False
    scene = painted(valid)
    crop = crop_of(LAKE, scene)
    encoded = TOOLS.encode(crop)
    for answer in (
        TOOLS.from_text(encoded, "lake"),
        TOOLS.from_text(encoded, "zorble"),
        TOOLS.from_points(encoded, points((150, 60), (120, 60)), np.array([True, True])),
    ):
        assert answer.masks.any()
        assert crop.valid is not None
        assert not (answer.masks & ~crop.valid).any()


def test_results_are_the_same_every_time() -> None:
    crop = crop_of(BLOB, painted())
    results = [TOOLS.from_text(ClassicalTools().encode(crop), "purple building") for _ in range(2)]
    assert (results[0].masks == results[1].masks).all()
    assert results[0].scores == results[1].scores


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 3), (1, 40), (40, 1), (6, 6)])
@pytest.mark.parametrize("constant", [True, False])
def test_tiny_scenes_are_segmented_without_an_error(size: tuple[int, int], constant: bool) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (*size, 3), dtype=np.uint8)
    if constant:
        pixels[:] = 77
    scene = Scene(size, f"{size}{constant}", pixels)
    height, width = size
    for box in (whole(size), Box(width - 1, height - 1, width, height)):
        crop = crop_of(box, scene)
        encoded = TOOLS.encode(crop)
        for phrase in ("water", "white building", "zorble"):
            heat = TOOLS.similarity(crop, phrase)
            assert np.isfinite(heat).all()
            assert TOOLS.from_text(encoded, phrase).masks.shape[1:] == crop.size
        corner = (crop.size[1] - 1, crop.size[0] - 1)
        for positive in ([True, True], [True, False]):
            answer = TOOLS.from_points(encoded, points((0, 0), corner), np.array(positive))
            assert answer.masks.shape[1:] == crop.size
