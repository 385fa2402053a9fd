"""The judge's picture: its colours to the bit, its size, and that nothing but image and masks decides it."""

import numpy as np
import pytest
from judge_cases import HALF, TRUTH, block

from geoseg_agent.bench.judge.composite import GAP, composite
from geoseg_agent.errors import DatasetError
from geoseg_agent.grounding.chat import Fit
from geoseg_agent.grounding.picture.sent_image import SentImages
from geoseg_agent.grounding.picture.sent_size import sent_size
from geoseg_agent.imagery import Image
from geoseg_tools.geometry import whole

FIT = Fit(32, 1024, 2048)
SMALL = Fit(4, 1, 100_000)  # takes what it is given


def grey(size, value=100, name="grey"):
    return Image.from_array(np.full((*size, 3), value, dtype=np.uint8), name=name)


def test_colours_are_half_image_and_half_colour():
    size = (96, 126)  # with the gap, both parts keep the image's pixels
    truth, predicted = block(10, 10, 50, 50, size), block(30, 30, 70, 70, size)
    picture = composite(grey((96, 128)), *_wide(truth, [predicted]), SMALL)
    part = picture.pixels[:, 128 - GAP // 2 + GAP :]
    assert tuple(part[15, 15]) == (50, 178, 50)
    assert tuple(part[60, 60]) == (178, 50, 50)
    assert tuple(part[40, 40]) == (178, 178, 50)
    assert tuple(part[90, 90]) == (100, 100, 100)
    left = picture.pixels[:, : 128 - GAP // 2]
    assert (left == 100).all()
    assert (picture.pixels[:, 128 - GAP // 2 : 128 + GAP // 2] == 255).all()
    assert {tuple(pixel) for row in part for pixel in row} == {
        (50, 178, 50),
        (178, 50, 50),
        (178, 178, 50),
        (100, 100, 100),
    }


def _wide(truth, predicted):
    def padded(mask):
        return np.pad(mask, ((0, 0), (0, 2)))

    return padded(truth), [padded(mask) for mask in predicted]


@pytest.mark.parametrize("size", [(60, 80), (800, 800), (1024, 3000), (3000, 500), (4000, 4000)])
def test_the_picture_has_a_size_that_is_sent_unchanged(size):
    picture = composite(grey(size), np.ones(size, bool), [np.zeros(size, bool)], FIT)
    assert sent_size(picture.size, FIT) == picture.size
    assert picture.size[0] * picture.size[1] <= FIT.most * FIT.align**2


def test_parts_are_counted():
    for plain, count in ((True, 3), (False, 2)):
        picture = composite(grey((96, 128)), TRUTH, [HALF, TRUTH], SMALL, plain=plain)
        white = (picture.pixels == 255).all(axis=(0, 2))
        edges = np.flatnonzero(white[:-1] & ~white[1:])
        assert len(edges) == count - 1


def test_narrow_things_do_not_vanish_when_shrunk():
    size = (2000, 2000)
    road = np.zeros(size, bool)
    road[:, 1000:1001] = True
    picture = composite(grey(size), road, [np.zeros(size, bool)], FIT)
    green = (picture.pixels[..., 1].astype(int) - picture.pixels[..., 0]) > 60
    assert green.any(axis=1).mean() > 0.9


@pytest.mark.parametrize("size", [(8000, 8000), (1, 8000), (8000, 3), (1, 1)])
@pytest.mark.parametrize("fit", [FIT, Fit(28, 1024, 1280), Fit(224, 21, 41)], ids=str)
def test_no_mask_vanishes_however_small(size, fit):
    """To the judge, a picture without green and yellow says that there is nothing to find."""
    one = np.zeros(size, bool)
    one[-1, -1] = True
    nothing = np.zeros_like(one)
    image = grey(size)
    for truth, predicted, colour in ((one, nothing, 1), (nothing, one, 0)):
        picture = composite(image, truth, [predicted, nothing], fit).pixels.astype(int)
        assert (picture[..., colour] - picture[..., 1 - colour] > 60).any()


async def test_equal_arguments_give_equal_bytes_whatever_the_image_is_called():
    sent = []
    for name in ("one.png", "GT_class_airplane_iou_0.97.png"):
        noise = np.random.default_rng(3).integers(0, 256, (96, 128, 3), dtype=np.uint8)
        picture = composite(Image.from_array(noise, name=name), TRUTH, [HALF], FIT)
        pictures = SentImages(keep=0)
        sent.append(await pictures.view(picture, whole(picture.size), FIT))
        await pictures.aclose()
        assert picture.name == "composite"
    assert sent[0].data == sent[1].data
    assert b"airplane" not in sent[1].data


def test_nodata_is_grey_and_masks_of_another_size_are_refused():
    valid = np.ones((96, 128), bool)
    valid[:40] = False
    image = Image.from_array(np.full((96, 128, 3), 7, dtype=np.uint8), valid=valid)
    assert (composite(image, TRUTH, [HALF], SMALL).pixels[5, 5] == 127).all()
    with pytest.raises(DatasetError, match="128 x 96 pixels, its mask 60 x 50"):
        composite(image, TRUTH, [np.zeros((50, 60), bool)], SMALL)
