"""Targets of overlapping windows are the things they are: each once, and whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg_agent.grounding.search.merge import Seen, merged
from geoseg_agent.grounding.search.part import WindowScene, moved_back, part_of
from geoseg_agent.imagery import Image
from geoseg_agent.types import GroundingReply, Target
from geoseg_tools.geometry import Box, whole

SIZE = (1000, 1000)
FOUR = [Box(x, y, x + 560, y + 560) for y in (0, 440) for x in (0, 440)]


def seen_in(windows, *things, masks=False, noise=0, seed=0):
    """What a perfect observer, or one that misses by `noise` pixels, says of each window."""
    draw = np.random.default_rng(seed)
    out = []
    for window in windows:
        for number, thing in enumerate(things):
            part = thing.intersection(window)
            if part is None or min(part.size) < 4:
                continue
            corners = [int(v) for v in np.array(tuple(part)) + draw.integers(-noise, noise + 1, 4)]
            x1, y1 = max(corners[0], window.x1), max(corners[1], window.y1)
            part = Box(x1, y1, min(max(corners[2], x1 + 1), window.x2), min(max(corners[3], y1 + 1), window.y2))
            within = np.ones(part.size, dtype=np.bool_) if masks else None
            out.append(Seen(Target(part, f"thing {number}", 0.5, within), window))
    return out


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize(
    "thing",
    [
        Box(400, 400, 600, 600),
        Box(200, 200, 800, 800),
        Box(450, 450, 550, 550),
        Box(430, 100, 580, 180),
        Box(0, 480, 1000, 520),
        Box(100, 100, 200, 200),
        Box(0, 0, 1000, 1000),
        Box(552, 452, 700, 600),
    ],
    ids=["four", "large", "overlap", "two", "strip", "one", "all", "corner"],
)
def test_a_thing_over_several_windows_is_one_target(thing, masks):
    (one,) = merged(seen_in(FOUR, thing, masks=masks), SIZE)
    assert one.box == thing
    assert (one.within is not None) == masks
    assert not masks or (one.within.shape == thing.size and one.within.all())


@given(st.integers(0, 10**6), st.integers(0, 4))
def test_things_apart_are_counted_though_boxes_miss_by_some_pixels(seed, noise):
    draw = np.random.default_rng(seed)
    things = [
        Box(int(x), int(y), int(x + w), int(y + h))
        for x, y, w, h in (
            (
                100 + 250 * (i % 3) + draw.integers(0, 60),
                100 + 250 * (i // 3) + draw.integers(0, 60),
                *draw.integers(30, 150, 2),
            )
            for i in range(9)
        )
    ]
    found = merged(seen_in(FOUR, *things, noise=noise, seed=seed), SIZE)
    assert len(found) == 9
    for thing in things:
        assert max(thing.iou(target.box) for target in found) > 0.5


def test_two_things_side_by_side_of_which_a_border_cuts_one_stay_two():
    left, right = Box(530, 100, 570, 160), Box(572, 100, 612, 160)
    found = merged(seen_in(FOUR[:2], left, right), SIZE)
    assert sorted(target.box for target in found) == [left, right]


def test_things_of_one_window_stay_apart_though_they_overlap():
    pair = [
        Seen(Target(Box(10, 10, 100, 100), "a car"), FOUR[0]),
        Seen(Target(Box(15, 12, 105, 99), "a car"), FOUR[0]),
    ]
    assert len(merged(pair, SIZE)) == 2


def test_a_small_thing_on_a_large_one_is_another():
    things = seen_in(FOUR, Box(450, 450, 550, 550))
    things += [Seen(Target(Box(440, 440, 560, 560), "the parking lot"), FOUR[0])]
    small = [Seen(Target(Box(470, 470, 490, 490), "a car"), FOUR[1])]
    assert len(merged([things[-1], *small], SIZE)) == 2


def test_of_a_thing_seen_whole_the_one_in_the_middle_of_its_window_counts():
    near = Seen(Target(Box(448, 448, 500, 500), "near the border", 0.2), FOUR[3])
    middle = Seen(Target(Box(446, 447, 499, 501), "amid", 0.9), FOUR[0])
    (one,) = merged([near, middle], SIZE)
    assert (one.phrase, one.confidence) == ("amid", 0.9)


def test_the_masks_of_pieces_are_united_in_their_place():
    left, right = np.zeros((20, 160), np.bool_), np.zeros((20, 200), np.bool_)
    left[5:15], right[5:15] = True, True
    pieces = [
        Seen(Target(Box(400, 100, 560, 120), "a road", 0.5, left), FOUR[0]),
        Seen(Target(Box(440, 100, 640, 120), "a road", 0.7, right), FOUR[1]),
    ]
    (one,) = merged(pieces, SIZE)
    assert one.box == Box(400, 100, 640, 120)
    assert (one.within == np.pad(np.ones((10, 240), np.bool_), ((5, 5), (0, 0)))).all()
    assert one.confidence == 0.7


def test_nothing_is_nothing():
    assert merged([], SIZE) == ()


# a window as an image of its own


def test_a_window_is_an_image_of_its_own():
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    valid = np.ones((60, 80), np.bool_)
    valid[:10] = False
    image = Image.from_array(pixels, valid=valid)
    window = Box(20, 5, 60, 45)
    part = part_of(image, window)
    assert part.size == (40, 40)
    assert (part.pixels == pixels[window.slices]).all()
    view = part.scene.view(Box(1, 2, 11, 22))
    assert (view.pixels == pixels[7:27, 21:31]).all()
    assert (view.valid == valid[7:27, 21:31]).all()
    assert part.crop(whole(part.size)).valid.sum() == valid[window.slices].sum()


def test_its_digest_says_which_window_of_which_image():
    one, other = (Image.from_array(np.full((40, 40, 3), v, np.uint8)) for v in (1, 2))
    digests = {
        WindowScene(image.scene, window).digest
        for image in (one, other)
        for window in (Box(0, 0, 10, 10), Box(0, 0, 10, 11), Box(1, 0, 11, 10))
    }
    assert len(digests) == 6
    assert WindowScene(one.scene, Box(0, 0, 10, 10)).digest in digests


def test_a_reply_and_its_masks_move_back():
    within = np.eye(10, dtype=np.bool_)
    reply = GroundingReply("found", (Target(Box(5, 6, 15, 16), "a car", 0.5, within),))
    (moved,) = moved_back(reply, Box(100, 200, 300, 400)).targets
    assert moved.box == Box(105, 206, 115, 216)
    assert moved.within is within
