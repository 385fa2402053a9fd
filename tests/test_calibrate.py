"""Calibration on pairs whose frame, bias and margins are known, because they were injected."""

import math
from functools import lru_cache

import numpy as np
import pytest

from geoseg_agent.calibrate.frames import frame_test
from geoseg_agent.calibrate.margins import balanced, cost_of, needs_of, propose
from geoseg_agent.calibrate.matching import iou_matrix, match
from geoseg_agent.calibrate.offsets import offsets, size_class, summarise
from geoseg_agent.calibrate.pairs import BoxPair, Said, reading_name, reread
from geoseg_agent.calibrate.readings import READINGS, box_of, picture_of
from geoseg_agent.errors import ConfigError, DatasetError
from geoseg_agent.grounding.chat import FRAMES, Frame
from geoseg_tools.geometry import Box

SIDES = (512, 810, 1024, 2048)
BIAS = (-0.2, -0.2, 0.1, 0.1)
"""Outward: the box said lies to the right and below the truth."""


def said_as(exact, reading, size, sent):
    """What a model says of x1 y1 x2 y2 (pixels of the original) in a reading."""
    frame, picture = READINGS[reading], picture_of(reading, size, sent)
    ends = {"pixels": picture.size, "norm1000": (1000, 1000), "unit": (1, 1)}[frame.space]
    scaled = [value * ends[1 - k % 2] / size[1 - k % 2] for k, value in enumerate(exact)]
    x1, y1, x2, y2 = (round(value, 3 if frame.space == "unit" else None) for value in scaled)
    return (x1, y1, x2, y2) if frame.order == "xyxy" else (y1, x1, y2, x2)


@lru_cache(maxsize=256)
def replies(
    count,
    sides,
    frame,
    *,
    read="norm1000",
    bias=(0,) * 4,
    noise=0.03,
    wild=0.0,
    second=None,
    every=0,
    sent=None,
    seed=0,
):
    """Replies of one box each; `wild` of them are about something else, each `every`-th is in the `second` frame."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        side = sides[number % len(sides)]
        size, shown = (side, side), None if sent is None else (sent, sent)
        w, h = np.rint(rng.uniform(0.1, 0.4, 2) * side)
        x, y = rng.integers(0, side - w + 1), rng.integers(0, side - h + 1)
        true = np.array([x, y, x + w, y + h])
        away = (np.array(bias) + rng.normal(0, noise, 4)) * np.array([-w, -h, w, h])
        exact = true + away
        if rng.random() < wild:
            corner = rng.uniform(0, 0.7, 2) * side
            exact = np.array([*corner, *(corner + rng.uniform(0.1, 0.4, 2) * side)])
        spoken = second if every and number % every == 0 else frame
        numbers = said_as(exact, spoken, size, shown)
        frame_read = None if read == "original" else FRAMES[read]
        predicted = box_of(numbers, reading_name(frame_read), size, shown)
        box = Box(*(int(value) for value in true))
        found.append(Said((numbers,), (predicted,), (box,), size, shown, frame_read, f"image {number // 4}", "m"))
    return tuple(found)


def pairs(*args, **known):
    return match(replies(*args, **known)).pairs


def injected(count, alpha, beta, *, noise=0.0, seed=0, side=4000):
    """Pairs whose truth lies `alpha` of the box said outside on the left and above, `beta` on the right and below."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        w, h = (int(value) for value in rng.integers(400, 1200, 2))
        x, y = (int(value) for value in rng.integers(1000, 1500, 2))
        left, top = alpha * (1 + noise * rng.uniform(-1, 1, 2))
        right, bottom = beta * (1 + noise * rng.uniform(-1, 1, 2))
        true = Box(round(x - left * w), round(y - top * h), round(x + w + right * w), round(y + h + bottom * h))
        found.append(BoxPair(Box(x, y, x + w, y + h), true, (side, side), image=str(number // 5)))
    return found


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("frame", ["original", "pixels", "norm1000", "unit", "norm1000-yxyx", "pixels-yxyx"])
def test_the_injected_frame_is_named(side, frame):
    test = frame_test(pairs(200, (side,), frame, sent=1440))
    assert test.best == frame
    assert test.equivalent == (frame,)
    assert test.untold == test.mixed == ()
    assert test.rows[0].name == frame
    assert test.rows[0].behind == 0
    assert test.rows[0].iou > 0.8
    assert test.explained > 0.95


@pytest.mark.parametrize("side", SIDES)
def test_pixels_of_the_picture_sent_are_pixels_where_nothing_was_resized(side):
    for sent in (None, side):
        test = frame_test(pairs(60, (side,), "pixels", read="pixels", sent=sent))
        assert test.best == "pixels"
        assert set(test.equivalent) == {"pixels", "original"}
        assert test.problem is None


@pytest.mark.parametrize(("side", "same"), [(999, True), (1000, True), (1001, True), (1003, False), (1024, False)])
def test_0_to_1000_is_pixels_only_within_a_pixel_of_1000(side, same):
    test = frame_test(pairs(1000, (side,), "norm1000"))
    assert test.best == "norm1000"
    assert ("original" in test.equivalent) == same
    row = next(row for row in test.rows if row.name == "original")
    assert row.apart == pytest.approx(0.77 * abs(side - 1000), abs=1)


def test_few_noisy_pairs_near_1000_px_say_that_they_cannot_tell():
    test = frame_test(pairs(12, (1010,), "norm1000", noise=0.1))
    assert {"original", "norm1000"} <= {test.best, *test.equivalent, *test.untold}
    assert test.problem is None


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("frame", ["norm1000", "pixels"])
def test_a_unit_error_beside_a_true_bias_is_named_and_then_the_bias_is_found(side, frame):
    read = "pixels" if frame == "norm1000" else "norm1000"
    wrong = replies(400, (side,), frame, read=read, bias=BIAS, sent=1440)
    test = frame_test(match(wrong).pairs)
    assert test.best == frame
    assert np.allclose(test.bias, BIAS, atol=0.015)
    with pytest.raises(ConfigError, match="no margins are proposed: the numbers are in") as caught:
        propose(match(wrong).pairs, test, replicates=2)
    assert f"GEOSEG_FRAME={frame}" in caught.value.hint
    right = match(reread(wrong, frame)).pairs
    proposal = propose(right, frame_test(right), coverages=[0.5], replicates=2)
    honest = match(replies(400, (side,), frame, read=frame, bias=BIAS, sent=1440)).pairs
    expected = propose(honest, frame_test(honest), coverages=[0.5], replicates=2)
    assert proposal.at(0.5).alpha == pytest.approx(expected.at(0.5).alpha, rel=0.02)
    # The bias is of the true box; the box said is 0.9 of it along each axis.
    assert np.allclose(np.median(offsets(right), axis=0), np.array([0.2, 0.2, -0.1, -0.1]) / 0.9, atol=0.015)


def test_a_reading_that_is_not_the_best_is_refused_without_raw_numbers_too():
    taken = replies(200, (810,), "norm1000", read="original")
    foreign = [BoxPair(one.predicted[0], one.true[0], one.size, image=one.image) for one in taken if one.predicted[0]]
    test = frame_test(foreign)
    assert test.recorded == ("original",)
    assert test.best == "norm1000"
    with pytest.raises(ConfigError):
        propose(foreign, test)


@pytest.mark.parametrize("sides", [*((side,) for side in SIDES), SIDES])
@pytest.mark.parametrize("second", ["original", "norm1000-yxyx", "unit"])
@pytest.mark.parametrize("every", [2, 10])
def test_a_mixture_of_two_frames_is_found(sides, second, every):
    found = pairs(300, sides, "norm1000", second=second, every=every, sent=1440, bias=BIAS)
    test = frame_test(found)
    assert set(test.mixed) == {"norm1000", second}
    shares = {row.name: row.share for row in test.rows}
    assert shares[second] == pytest.approx(1 / every, abs=0.06)
    right = [second if number % every == 0 else "norm1000" for number in range(300)]
    told = [(name, true) for name, true in zip(test.assigned, right, strict=True) if name is not None]
    assert len(told) > (100 if sides == (1024,) else 270)  # at 1024 px the frames are a few pixels apart
    assert sum(name == true for name, true in told) > 0.98 * len(told)
    with pytest.raises(ConfigError, match="mix frames"):
        propose(found, test)


@pytest.mark.parametrize("sides", [*((side,) for side in SIDES), SIDES])
@pytest.mark.parametrize(("noise", "wild"), [(0.03, 0.0), (0.15, 0.2), (0.3, 0.1), (0.1, 0.4)])
@pytest.mark.parametrize("count", [20, 300])
def test_noise_and_wrong_objects_are_no_mixture(sides, noise, wild, count):
    test = frame_test(pairs(count, sides, "norm1000", noise=noise, wild=wild, sent=1440, seed=count))
    assert test.mixed == ()
    assert "norm1000" in {test.best, *test.untold}


@pytest.mark.parametrize("seed", range(4))
def test_boxes_about_anything_fit_no_frame(seed):
    found = pairs(100, (810,), "norm1000", wild=1.0, seed=seed)
    test = frame_test(found)
    assert test.best is None
    assert test.equivalent == test.mixed == ()
    with pytest.raises(ConfigError, match="no frame explains"):
        propose(found, test)


def test_pairs_read_in_two_frames_are_calibrated_apart():
    both = [*pairs(30, (810,), "norm1000"), *pairs(30, (810,), "norm1000", read="pixels")]
    test = frame_test(both)
    assert set(test.recorded) == {"norm1000", "pixels"}
    with pytest.raises(ConfigError, match="several frames"):
        propose(both, test)


def test_too_few_pairs_say_nothing():
    with pytest.raises(DatasetError, match="at least 5"):
        frame_test(pairs(4, (810,), "norm1000"))


def test_one_true_box_over_and_over_says_nothing():
    """All of the image, said right in 0..1000: as pixels it would be as right, with a bias of a quarter."""
    whole = BoxPair(
        Box(0, 0, 800, 800), Box(0, 0, 800, 800), (800, 800), None, (0, 0, 1000, 1000), FRAMES["norm1000"]
    )
    with pytest.raises(DatasetError, match="only 1 different ones"):
        frame_test([whole] * 50)


@pytest.mark.parametrize("seed", [5, 19, 22])
def test_boxes_that_drift_as_a_whole_are_no_mixture_where_frames_lie_close(seed):
    """At 1024 px 0..1000 and pixels are less apart than boxes drift; these seeds once made a mixture of it."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(150):
        w, h = (int(side) for side in rng.uniform(50, 400, 2))
        x, y = int(rng.integers(0, 1024 - w)), int(rng.integers(0, 1024 - h))
        exact = np.array([x, y, x + w, y + h]) + np.tile(rng.normal(0, 0.1, 2), 2) * np.array([w, h, w, h])
        numbers = said_as(exact, "norm1000", (1024, 1024), None)
        predicted = box_of(numbers, "norm1000", (1024, 1024), None)
        true = Box(x, y, x + w, y + h)
        found.append(BoxPair(predicted, true, (1024, 1024), None, numbers, FRAMES["norm1000"], str(number)))
    assert frame_test(found).problem is None


@pytest.mark.parametrize(("alpha", "beta"), [(0.2, 0.1), (0.05, 0.3), (0.4, 0.4)])
def test_injected_margins_come_back_within_five_percent(alpha, beta):
    """Where every box needs the same, that is proposed at every coverage; whole pixels are all that is left."""
    found = injected(1000, alpha, beta)
    proposal = propose(found, frame_test(found), coverages=[0.5, 0.8, 0.9, 0.95, 1.0], replicates=20)
    assert len(proposal.groups[0].margins) == 5
    for one in proposal.groups[0].margins:
        assert one.alpha == pytest.approx(alpha, rel=0.05)
        assert one.beta == pytest.approx(beta, rel=0.05)
        assert one.cost.inside >= one.coverage


@pytest.mark.parametrize("seed", range(3))
def test_with_noise_the_margins_of_the_population_come_back_within_five_percent(seed):
    """The population's balanced margins, from 300,000 needs; 1,000 pairs find them."""
    rng = np.random.default_rng(100 + seed)
    spread = rng.uniform(-1, 1, (300_000, 4))
    everyone = np.stack(
        [(0.2 * (1 + 0.5 * spread[:, :2])).max(axis=1), (0.1 * (1 + 0.5 * spread[:, 2:])).max(axis=1)], axis=1
    )
    right = balanced(everyone, [0.8, 0.9, 0.95])
    found = injected(1000, 0.2, 0.1, noise=0.5, seed=seed)
    proposal = propose(found, frame_test(found), replicates=100)
    for margins, (alpha, beta) in zip(proposal.groups[0].margins, right, strict=True):
        assert margins.alpha == pytest.approx(alpha, rel=0.05)
        assert margins.beta == pytest.approx(beta, rel=0.05)
        assert margins.alpha_range[0] <= margins.alpha <= margins.alpha_range[1] + 0.001
        assert margins.cost.inside >= margins.coverage


def slow_balanced(needs, coverage):
    """The definition, level by level."""
    shares = np.array([[(needs[:, k] < row[k]).mean() for k in (0, 1)] for row in needs])
    for level in sorted({*shares[:, 0], *shares[:, 1]}):
        held = (shares <= level).all(axis=1)
        if held.sum() >= math.ceil(coverage * len(needs) - 1e-9):
            return [needs[shares[:, k] <= level, k].max() for k in (0, 1)]
    raise AssertionError


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("coverage", [0.3, 0.8, 0.95, 1.0])
def test_balanced_margins_equal_the_slow_definition(seed, coverage):
    rng = np.random.default_rng(seed)
    needs = np.clip(rng.normal(0.05, 0.1, (rng.integers(1, 40), 2)), 0, None).round(2)
    found = balanced(needs, [coverage])[0]
    assert found.tolist() == slow_balanced(needs, coverage)
    assert (needs <= found).all(axis=1).mean() >= coverage - 1e-9


def test_a_side_that_needs_nothing_gets_nothing():
    """Nor does it make the other margin larger: of 100 needs, 80, 90 and all are held."""
    needs = np.stack([np.arange(1, 101) / 100, np.zeros(100)], axis=1)
    assert balanced(needs, [0.8, 0.9, 1.0]).tolist() == [[0.8, 0], [0.9, 0], [1.0, 0]]
    found = injected(200, 0.2, 0.0, noise=0.5)
    few, many = (propose(found, frame_test(found), coverages=[c], replicates=10).at(c) for c in (0.5, 0.95))
    assert few.alpha < 0.9 * many.alpha
    assert math.copysign(1, few.beta) == 1


def test_intervals_are_resampled_by_image():
    """Boxes of one image that are all alike say as much as one: the interval is as wide as that of the images."""
    rng = np.random.default_rng(0)
    shifts = rng.uniform(0, 0.4, 40)
    boxes = [
        BoxPair(Box(500, 500, 900, 900), Box(round(500 - 400 * s), 500, 900, 900), (1000, 1000), image=str(image))
        for image, s in enumerate(shifts)
        for _ in range(25)
    ]
    alone = [BoxPair(p.predicted, p.true, p.size, image=str(k)) for k, p in enumerate(boxes)]
    test = frame_test(boxes)
    wide, narrow = (
        propose(group, test, coverages=[0.8], replicates=300).at(0.8).alpha_range for group in (boxes, alone)
    )
    assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])
    one = [BoxPair(p.predicted, p.true, p.size, image="the only one") for p in boxes]
    assert propose(one, test, coverages=[0.8]).at(0.8).alpha_range is None


def test_what_margins_cost():
    pair = BoxPair(Box(100, 100, 200, 200), Box(80, 90, 190, 200), (400, 400))
    assert cost_of([pair], 0, 0) == pytest.approx((0, 90 * 100 / (110 * 110), 1, 90 * 100 / 100**2))
    assert cost_of([pair], 0.2, 0.1) == pytest.approx((1, 1, 1.3**2, 110 * 110 / 130**2))


def test_offsets_are_outward_in_shares_of_the_box_said():
    pair = BoxPair(Box(100, 100, 200, 150), Box(80, 105, 210, 160), (400, 400))
    assert offsets([pair])[0].tolist() == [0.2, -0.1, 0.1, 0.2]
    assert needs_of([pair])[0].tolist() == [0.2, 0.2]
    with pytest.raises(ValueError, match="predicted"):
        offsets([BoxPair(None, Box(0, 0, 9, 9), (400, 400), raw=(0, 0, 9, 9))])


def test_size_classes_are_shares_of_the_image():
    sizes = [size_class(Box(0, 0, side, side), (1000, 1000)) for side in (99, 100, 316, 317)]
    assert sizes == ["small", "medium", "medium", "large"]
    found = injected(60, 0.2, 0.1)
    assert [group.group for group in summarise(found)] == ["all", "medium", "large"]
    assert sum(group.pairs for group in summarise(found)) == 120
    side = summarise(found)[0].sides[0]
    assert side.side == "left"
    assert side.median == pytest.approx(0.2, abs=0.01)


def test_a_box_on_another_thing_is_counted_and_not_covered():
    wild = [BoxPair(Box(0, 0, 50, 50), Box(2000, 2000, 2500, 2500), (4000, 4000), image=f"w{k}") for k in range(30)]
    found = [*injected(300, 0.2, 0.1), *wild]
    proposal = propose(found, frame_test(found), coverages=[0.9], replicates=10)
    assert proposal.elsewhere == 30
    assert proposal.at(0.9).alpha == pytest.approx(0.2, rel=0.05)
    with pytest.raises(DatasetError, match="not asked for"):
        proposal.at(0.5)


@pytest.mark.parametrize("coverages", [[], [0.0], [1.1], [-1]])
def test_coverages_are_shares(coverages):
    found = injected(40, 0.2, 0.1)
    with pytest.raises(DatasetError, match="coverages"):
        propose(found, frame_test(found), coverages=coverages)


def test_margins_need_twenty_pairs():
    found = injected(19, 0.2, 0.1)
    with pytest.raises(DatasetError, match="margins need 20"):
        propose(found, frame_test(found))


def test_several_boxes_are_assigned_by_the_largest_sum():
    true = (Box(0, 0, 100, 100), Box(50, 0, 150, 100), Box(500, 500, 600, 600))
    numbers = ((45.0, 0.0, 140.0, 100.0), (5.0, 0.0, 110.0, 100.0), (800.0, 800.0, 900.0, 900.0))
    boxes = tuple(Box(*map(int, four)) for four in numbers)
    matched = match([Said(numbers, boxes, true, (1000, 1000))])
    assert [(pair.predicted, pair.true) for pair in matched.pairs] == [(boxes[0], true[1]), (boxes[1], true[0])]
    assert (matched.extra, matched.missed) == (1, 1)


def test_boxes_in_another_unit_are_assigned_in_that_unit():
    rng = np.random.default_rng(3)
    said = []
    for _ in range(30):
        corners = rng.integers(0, 3, (3, 2)) * 600 + rng.integers(0, 200, (3, 2))
        true = tuple(Box(int(x), int(y), int(x) + 300, int(y) + 250) for x, y in np.unique(corners, axis=0))
        numbers = tuple(said_as(tuple(box), "norm1000", (2048, 2048), None) for box in true)
        boxes = tuple(box_of(four, "original", (2048, 2048), None) for four in numbers)
        said.append(Said(numbers[::-1], boxes[::-1], true, (2048, 2048)))
    matched = match(said)
    assert matched.reading == "norm1000"
    assert matched.extra == matched.missed == 0
    assert frame_test(matched.pairs).best == "norm1000"


def test_a_refused_reply_is_evidence_and_no_miss():
    refused = Said(((0.0, 0.0, 900.0, 900.0),), (None,), (Box(0, 0, 400, 400),), (512, 512), None, Frame("pixels"))
    matched = match([refused])
    assert (len(matched.pairs), matched.extra, matched.missed, matched.refused) == (1, 0, 0, 1)
    assert matched.pairs[0].predicted is None
    assert reread([refused], "norm1000")[0].predicted == (Box(0, 0, 461, 461),)


def test_iou_of_boxes():
    found = iou_matrix([(0, 0, 2, 2), (5, 5, 4, 4)], [(1, 0, 3, 2), (0, 0, 2, 2)])
    assert np.allclose(found, [[1 / 3, 1], [0, 0]])


def test_a_pair_needs_something_said():
    with pytest.raises(ValueError, match="raw"):
        BoxPair(None, Box(0, 0, 1, 1), (9, 9))
