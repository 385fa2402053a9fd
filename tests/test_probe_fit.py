"""What the numbers of a reply mean is found from boxes that are known: every frame, and what is wrong with it."""

import numpy as np
import pytest

from geoseg_agent.grounding.chat import FRAMES, Frame, SentImage
from geoseg_agent.grounding.frames import to_model
from geoseg_agent.probe.fit import Answer, examine
from geoseg_agent.probe.scenes import COLOURS, SIZES, draw
from geoseg_tools.geometry import Box, whole

SENT = {(2048, 2048): (1440, 1440), (1024, 1536): (1024, 1536), (1600, 896): (1600, 896), (480, 704): (864, 1248)}
SENT[777, 1333] = (800, 1344)
DRAWN = draw()


def sent(size):
    return SentImage(SENT[size], whole(size), "image/jpeg", "0" * 64, None)


def moved(numbers, frame, picture, scale, shift):
    """The numbers of a server that scales and shifts boxes in pixels of what it was sent."""
    height, width = picture.size
    ends = {"norm1000": (1000, 1000), "unit": (1, 1), "pixels": (width, height)}[frame.space]
    steps = [ends[0] / width, ends[1] / height]
    axes = (0, 1, 0, 1) if frame.order == "xyxy" else (1, 0, 1, 0)
    return tuple(n * scale[a] + shift[a] * steps[a] for n, a in zip(numbers, axes, strict=True))


def answers(frame, *, scale=(1, 1), shift=(0, 0), noise=0.0, seed=0, lost=0):
    rng = np.random.default_rng(seed)
    found = []
    for drawn in DRAWN:
        picture = sent(drawn.image.size)
        for box in drawn.boxes.values():
            jitter = rng.normal(0, noise, 2) if noise else (0, 0)
            at = tuple(a + b for a, b in zip(shift, jitter, strict=True))
            numbers = moved(to_model(box, frame, picture), frame, picture, scale, at)
            found.append(Answer(box, picture, numbers))
    return [answer._replace(numbers=None) if k < lost else answer for k, answer in enumerate(found)]


def test_the_scenes_hold_what_they_say():
    assert len(DRAWN) == 2 * len(SIZES)
    for drawn in DRAWN:
        assert set(drawn.boxes) == set(COLOURS)
        for colour, box in drawn.boxes.items():
            assert (drawn.image.pixels[box.slices] == COLOURS[colour]).all()
            others = [other for other in drawn.boxes.values() if other != box]
            assert all(box.intersection(other) is None for other in others)
    assert any(side % 4 for side in SIZES[-1])


def test_drawing_again_draws_the_same():
    assert [drawn.image.sha256 for drawn in draw()] == [drawn.image.sha256 for drawn in DRAWN]
    assert draw(1)[0].image.sha256 != DRAWN[0].image.sha256


@pytest.mark.parametrize("frame", FRAMES.values(), ids=str)
@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_every_frame_is_named_and_found_faithful(frame, noise):
    finding = examine(answers(frame, noise=noise))
    assert finding.frame == frame
    assert finding.faults == ()
    assert set(finding.named) <= {frame, None}
    assert finding.iou > 0.9


@pytest.mark.parametrize("frame", FRAMES.values(), ids=str)
def test_a_scale_of_two_percent_is_flagged_with_its_number(frame):
    finding = examine(answers(frame, scale=(1.02, 0.98), noise=1.0))
    assert finding.frame == frame
    assert finding.scale == pytest.approx((1.02, 0.98), abs=0.004)
    assert any("scaled by 1.0" in fault for fault in finding.faults)


@pytest.mark.parametrize("frame", FRAMES.values(), ids=str)
@pytest.mark.parametrize("shift", [(10, 0), (0, -10), (95, 95)])
def test_a_shift_of_ten_pixels_is_flagged_with_its_number(frame, shift):
    finding = examine(answers(frame, shift=shift, noise=1.0))
    assert finding.frame == frame
    assert finding.shift == pytest.approx(shift, abs=2.0)
    assert any("shifted by" in fault for fault in finding.faults)


@pytest.mark.parametrize("first", FRAMES.values(), ids=str)
@pytest.mark.parametrize("second", FRAMES.values(), ids=str)
@pytest.mark.parametrize("every", [2, 4])
def test_a_mixture_is_reported_with_both_frames(first, second, every):
    if first == second:
        return
    mixed = [
        theirs if k % every == 0 else ours
        for k, (ours, theirs) in enumerate(zip(answers(first), answers(second), strict=True))
    ]
    finding = examine(mixed)
    assert finding.frame is None
    assert set(finding.mixed) == {str(first), str(second)}
    assert "the replies mix frames" in finding.faults[0]
    right = [name in {None, second if k % every == 0 else first} for k, name in enumerate(finding.named)]
    assert all(right)


def test_noise_is_no_frame():
    rng = np.random.default_rng(1)
    finding = examine(
        [answer._replace(numbers=tuple(rng.uniform(0, 1000, 4))) for answer in answers(Frame("norm1000"))]
    )
    assert finding.faults
    assert finding.frame is None or finding.iou < 0.3


def test_what_was_not_answered_is_counted():
    finding = examine(answers(Frame("pixels"), lost=10))
    assert (finding.answered, finding.asked) == (20, 30)
    assert "only 20 of 30" in finding.faults[0]
    assert finding.frame == Frame("pixels")


def test_no_answer_at_all():
    finding = examine([Answer(Box(0, 0, 9, 9), sent((2048, 2048)), None)])
    assert finding.frame is None
    assert "only 0 of 1" in finding.faults[0]
