"""Numbers of a model become pixels: every frame, order, window and size, there and back."""

import math
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg_agent.grounding.chat import FRAMES, Fit, Frame, SentImage, Terms
from geoseg_agent.grounding.frames import OutOfFrame, locate, to_model, to_original
from geoseg_agent.grounding.model_profiles import PROFILES
from geoseg_agent.grounding.picture.sent_size import sent_size
from geoseg_tools.geometry import Box


def picture(size, window):
    return SentImage(size, window, "image/jpeg", "0" * 64, None)


def terms(frame, outside="tolerate"):
    if isinstance(frame, str):
        frame = FRAMES[frame]
    return Terms("vllm", "m", ("plain",), False, "f", frame, frame, outside, 8, Fit(32, 1024, 2048))


SENT = picture((800, 1600), Box(100, 200, 300, 300))
"""A window of 200 x 100 pixels, sent eight times as large."""


@pytest.mark.parametrize(
    ("frame", "numbers"),
    [
        ("norm1000", (250, 500, 750, 1000)),
        ("norm1000-yxyx", (500, 250, 1000, 750)),
        ("unit", (0.25, 0.5, 0.75, 1.0)),
        ("unit-yxyx", (0.5, 0.25, 1.0, 0.75)),
        ("pixels", (400, 400, 1200, 800)),
        ("pixels-yxyx", (400, 400, 800, 1200)),
    ],
)
def test_each_frame_says_the_same_box_in_its_own_numbers(frame, numbers):
    frame = FRAMES[frame]

    assert to_original(numbers, frame, SENT) == (150, 250, 250, 300)
    assert to_model(Box(150, 250, 250, 300), frame, SENT) == numbers
    assert locate(numbers, terms(frame), SENT) == (Box(150, 250, 250, 300), ())
    assert locate(list(numbers), terms(frame), SENT).box == Box(150, 250, 250, 300)


def test_the_model_says_whole_numbers_but_fractions_to_four_decimals():
    box, sent = Box(1, 1, 2, 3), picture((960, 960), Box(0, 0, 7, 7))

    assert [type(value) for value in to_model(box, Frame("norm1000"), sent)] == [int] * 4
    assert [type(value) for value in to_model(box, Frame("pixels"), sent)] == [int] * 4
    assert to_model(box, Frame("unit"), sent) == (0.1429, 0.1429, 0.2857, 0.4286)


def test_to_original_neither_clamps_nor_rounds_nor_orders():
    assert to_original((1100, -50, 0.5, 20), Frame("norm1000"), SENT) == (320, 195, 100.1, 202)


@pytest.mark.parametrize(
    ("frame", "numbers", "message"),
    [
        (
            "norm1000",
            (10, 20, 1210, 300),
            "x2 is 1210, the frame norm1000 ends at 1000: 21.0 % over, 2 % are allowed",
        ),
        ("norm1000", (10, -30, 200, 300), "y1 is -30, the frame norm1000 starts at 0: 3.0 % under, 2 % are allowed"),
        ("norm1000-yxyx", (10, 20, 30, 1210), "x2 is 1210, the frame norm1000-yxyx ends at 1000: 21.0 % over"),
        ("pixels", (10, 20, 300, 880), "y2 is 880, the frame pixels ends at 800: 10.0 % over, 2 % are allowed"),
        ("unit", (0.1, 0.2, 1.5, 0.9), "x2 is 1.5, the frame unit ends at 1: 50.0 % over, 2 % are allowed"),
        ("norm1000", (1, 2, 3, 4e40), "y2 is 4e+40, the frame norm1000 ends at 1000: 4e+39 % over, 2 % are allowed"),
        ("norm1000", (1021, 20, 5, 300), "x1 is 1021, the frame norm1000 ends at 1000: 2.1 % over"),
    ],
)
def test_what_reaches_too_far_over_is_refused_with_value_and_rule(frame, numbers, message):
    with pytest.raises(OutOfFrame) as caught:
        locate(numbers, terms(frame), SENT)

    assert message in str(caught.value)


def test_two_per_cent_over_is_clamped_and_said():
    located = locate((-20, 0, 1020, 1000), terms("norm1000"), SENT)

    assert located.box == SENT.window
    assert located.repairs == ("x1 clamped from -20 to 0", "x2 clamped from 1020 to 1000")


def test_clamping_takes_anything_that_leaves_something_inside():
    located = locate((-5e9, 800, 1e300, 1200), terms("norm1000", "clamp"), SENT)

    assert located.box == Box(100, 280, 300, 300)
    assert len(located.repairs) == 3
    with pytest.raises(OutOfFrame, match="x1 is 1200 and x2 is 1900, but the frame norm1000 runs from 0 to 1000"):
        locate((1200, 0, 1900, 500), terms("norm1000", "clamp"), SENT)


def test_nothing_left_inside_is_refused_when_tolerated_too():
    with pytest.raises(OutOfFrame, match="the box lies outside"):
        locate((1005, 0, 1015, 500), terms("norm1000"), SENT)


def test_inverted_corners_are_put_right_and_said():
    located = locate((750, 1000, 250, 500), terms("norm1000"), SENT)

    assert located.box == Box(150, 250, 250, 300)
    assert located.repairs == ("x1 was right of or below x2; swapped", "y1 was right of or below y2; swapped")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((1, 2, 3), "a box is four numbers, x1, y1, x2, y2; this one has 3"),
        ((1, 2, 3, 4, 5), "this one has 5"),
        ((1, math.nan, 3, 4), "y1 is not a finite number"),
        ((1, 2, math.inf, 4), "x2 is not a finite number"),
        ((1, 2, 3, 10**5000), "y2 is not a finite number"),
        ((True, 2, 3, 4), "x1 is not a number"),
        (("1", 2, 3, 4), "x1 is not a number"),
    ],
)
@pytest.mark.parametrize("outside", ["tolerate", "clamp"])
def test_what_are_no_four_numbers_is_refused(numbers, message, outside):
    with pytest.raises(OutOfFrame, match=message):
        locate(numbers, terms("norm1000", outside), SENT)


@pytest.mark.parametrize(
    "numbers", [(500, 500, 501, 700), (500, 500, 700, 502), (500, 500, 500, 700), (0.1, 0.2, 0.7, 0.9)]
)
def test_a_box_under_two_pixels_of_the_picture_is_refused(numbers):
    with pytest.raises(OutOfFrame, match="px of the picture, at least 2 are needed; the frame norm1000 runs from 0"):
        locate(numbers, terms("norm1000"), SENT)


def test_a_box_of_two_pixels_of_an_enlarged_picture_is_one_pixel():
    assert locate((403, 403, 405, 405), terms("pixels"), SENT).box == Box(150, 250, 151, 251)
    assert locate((407, 407, 409, 409), terms("pixels"), SENT).box == Box(150, 250, 152, 252)


def test_rounding_is_outward_where_the_number_means_no_whole_pixel():
    # 50.6 and 150.4 px along x, 50.6 and 99.4 along y: farther from a whole pixel than half a step, 0.1 and 0.05 px.
    assert locate((253, 506, 752, 994), terms("norm1000"), SENT).box == Box(150, 250, 251, 300)


def test_floating_point_does_not_grow_a_box():
    sent = picture((1024, 1024), Box(0, 0, 1000, 1000))

    for low, high in product(range(0, 500, 7), range(503, 1001, 7)):
        said = (low / 1000, low / 1000, high / 1000, high / 1000)
        assert locate(said, terms("unit"), sent).box == Box(low, low, high, high)
        assert locate((low, low, high, high), terms("norm1000"), sent).box == Box(low, low, high, high)


SIZES = [(512, 512), (1000, 1500), (2100, 700), (777, 333), (2048, 2048), (3000, 4000)]
"""(h, w): square, wide, tall, unaligned; under and over 1000 px."""


def shortest(side, sent, frame):
    """Pixels of the original that a side must have to be two of the picture, whatever the frame rounds away."""
    step = 1 if frame.space == "pixels" else sent / 1000
    return math.ceil((2 + step) * side / sent)


def sweep(window, sent, frame, stride):
    """Boxes in the window whose left, top, right and bottom edges together take every `stride`th place they can."""
    short_x = shortest(window.width, sent.size[1], frame)
    short_y = shortest(window.height, sent.size[0], frame)
    for place in range(0, max(window.width - short_x, window.height - short_y) + 1, stride):
        left, top = min(place, window.width - short_x), min(place, window.height - short_y)
        yield Box(window.x1 + left, window.y1 + top, window.x2, window.y2)
        yield Box(window.x1, window.y1, window.x1 + left + short_x, window.y1 + top + short_y)


@pytest.mark.parametrize(("offset", "stride"), [((0, 0), 1), ((137, 1041), 7)], ids=["whole", "window"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[1]}x{size[0]}")
@pytest.mark.parametrize("row", PROFILES, ids=lambda row: row.family)
def test_what_a_perfect_model_says_comes_back_within_a_pixel_of_the_picture(row, size, offset, stride):
    """For every place of every edge in a whole image, so that no choice of boxes can hide one that misses."""
    height, width = size
    window = Box(offset[0], offset[1], offset[0] + width, offset[1] + height)
    sent = picture(sent_size(size, row.fit), window)
    rules = terms(row.frame)

    worst_x = worst_y = boxes = 0
    for box in sweep(window, sent, row.frame, stride):
        said = to_model(box, row.frame, sent)
        back, repairs = locate(said, rules, sent)
        assert repairs == ()
        boxes += 1
        worst_x = max(worst_x, abs(back.x1 - box.x1), abs(back.x2 - box.x2))
        worst_y = max(worst_y, abs(back.y1 - box.y1), abs(back.y2 - box.y2))

    assert boxes > max(size) / stride
    # Whole numbers on both sides: pixels of the original times the scale, against one pixel of the picture.
    assert worst_x * sent.size[1] <= width
    assert worst_y * sent.size[0] <= height
    if width < 1000 and row.frame.space != "pixels":
        assert worst_x == 0


@st.composite
def framed(draw):
    """A picture of any window at any size, a frame, and a box in the window."""
    sides = st.one_of(st.integers(1, 1200), st.integers(1, 20_000))
    height, width, x, y = draw(sides), draw(sides), draw(st.integers(0, 9999)), draw(st.integers(0, 9999))
    window = Box(x, y, x + width, y + height)
    fit = draw(st.sampled_from([row.fit for row in PROFILES]))
    size = draw(st.one_of(st.just(sent_size((height, width), fit)), st.tuples(sides, sides)))
    x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    x2, y2 = draw(st.integers(x1 + 1, width)), draw(st.integers(y1 + 1, height))
    return picture(size, window), draw(st.sampled_from(sorted(FRAMES))), Box(x + x1, y + y1, x + x2, y + y2)


@settings(max_examples=500, deadline=None)
@given(framed())
def test_the_error_is_half_a_step_and_half_a_pixel_at_most(case):
    """The bound that holds for every size: floor(s / 2 + 1 / 2) px of the original, s px to a step of the frame.

    Above 1000 px along a side, 0..1000 cannot name every pixel: half a step is side / 2000 px. No rule of rounding
    undoes that; this one adds no more than the half pixel that whole pixels cost.
    """
    sent, name, box = case
    frame = FRAMES[name]
    said = to_model(box, frame, sent)
    try:
        back = locate(said, terms(frame), sent).box
    except OutOfFrame:
        assert box.width < shortest(sent.window.width, sent.size[1], frame) or box.height < shortest(
            sent.window.height, sent.size[0], frame
        )
        return

    for axis, side, pixels in (("x", sent.window.width, sent.size[1]), ("y", sent.window.height, sent.size[0])):
        parts = {"pixels": pixels, "norm1000": 1000, "unit": 10_000}[frame.space]
        bound = math.floor(side / parts / 2 + 0.5)
        for end in "12":
            assert abs(getattr(back, axis + end) - getattr(box, axis + end)) <= bound


NUMBERS = st.one_of(
    st.integers(-50, 1100), st.floats(-50, 1100), st.floats(-0.1, 1.1), st.integers(), st.floats(), st.just(10**400)
)


@settings(max_examples=500, deadline=None)
@given(st.lists(NUMBERS, min_size=3, max_size=5), framed(), st.sampled_from(["tolerate", "clamp"]))
def test_any_numbers_are_a_box_inside_the_window_or_refused(numbers, case, outside):
    sent, name, _ = case
    refused = None
    try:
        box = locate(numbers, terms(name, outside), sent).box
    except OutOfFrame as error:
        refused = str(error)

    assert sent.window.contains(box) if refused is None else 10 < len(refused) < 200
