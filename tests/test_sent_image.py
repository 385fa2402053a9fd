"""What is sent to the model: its size, its pixels, its marks, and that it is made once."""

import asyncio
import io
import math
import threading
import time
import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL.JpegImagePlugin import get_sampling

from geoseg_agent.grounding.chat import Fit
from geoseg_agent.grounding.model_profiles import PROFILES
from geoseg_agent.grounding.picture.encode import NODATA, jpeg, resized
from geoseg_agent.grounding.picture.sent_image import SentImages
from geoseg_agent.grounding.picture.sent_size import sent_size
from geoseg_agent.imagery import Image
from geoseg_agent.types import Areas, Similarity, Target, TargetMask
from geoseg_tools import GeometryError
from geoseg_tools.geometry import Box, whole
from geoseg_tools.keypoints import Keypoints

QWEN3, QWEN2, UNKNOWN = Fit(32, 1024, 2048), Fit(28, 1024, 2048), Fit(224, 21, 41)
FITS = st.sampled_from([row.fit for row in PROFILES])
SIDES = st.one_of(st.integers(1, 3000), st.integers(1, 64_000))


def encode(pixels, valid, size):
    return jpeg(resized(pixels, valid, size))


def smart_resize(height, width, factor, least, most):
    """What servers do to a picture: qwen-vl-utils' rule, as its documentation states it."""
    if max(height, width) / min(height, width) > 200:
        raise ValueError("refused")
    h, w = (max(factor, round(side / factor) * factor) for side in (height, width))
    if h * w > most:
        beta = math.sqrt(height * width / most)
        h, w = (max(factor, math.floor(side / beta / factor) * factor) for side in (height, width))
    elif h * w < least:
        beta = math.sqrt(least / (height * width))
        h, w = (math.ceil(side * beta / factor) * factor for side in (height, width))
    return h, w


@pytest.mark.parametrize(
    ("size", "fit", "sent"),
    [
        ((512, 512), QWEN3, (1024, 1024)),
        ((1000, 1500), QWEN3, (960, 1440)),
        ((2100, 700), QWEN3, (2016, 672)),
        ((777, 333), QWEN3, (1568, 672)),
        ((2048, 2048), QWEN3, (1440, 1440)),
        ((3000, 4000), QWEN3, (1248, 1664)),
        ((3000, 4000), QWEN2, (1092, 1456)),
        ((3000, 4000), UNKNOWN, (1120, 1568)),
        ((1, 1), QWEN3, (1024, 1024)),
        ((1, 10_000), QWEN3, (96, 19_200)),
        ((10_000, 1), QWEN3, (19_200, 96)),
    ],
)
def test_sizes_of_known_pictures(size, fit, sent):
    assert sent_size(size, fit) == sent


@settings(deadline=None)
@given(SIDES, SIDES, FITS)
def test_no_server_resizes_what_is_sent(height, width, fit):
    h, w = sent_size((height, width), fit)
    square = fit.align**2

    assert h % fit.align == w % fit.align == 0
    assert fit.least <= h * w // square <= fit.most
    assert max(h, w) <= 200 * min(h, w)
    assert smart_resize(h, w, fit.align, fit.least * square, fit.most * square) == (h, w)
    assert sent_size((h, w), fit) == (h, w)
    assert sent_size((width, height), fit) == (w, h)


@settings(deadline=None)
@given(SIDES, SIDES, st.sampled_from([QWEN3, QWEN2]))
def test_the_aspect_is_kept_as_well_as_by_the_servers_own_rule(height, width, fit):
    if max(height, width) > 100 * min(height, width):
        return
    square = fit.align**2
    theirs = smart_resize(height, width, fit.align, fit.least * square, fit.most * square)
    ours = sent_size((height, width), fit)

    def distortion(size):
        return abs(math.log(size[0] * width / (size[1] * height)))

    assert distortion(ours) <= distortion(theirs) + 0.025


def test_limits_that_leave_no_size_are_refused():
    with pytest.raises(ValueError, match="no picture has 9 to 8 squares of 32 px"):
        sent_size((10, 10), Fit(32, 9, 8))
    with pytest.raises(ValueError, match="at least 1 x 1 pixels, got 5 x 0"):
        sent_size((0, 5), QWEN3)


def decoded(data):
    return np.asarray(Pillow.open(io.BytesIO(data)))


def checkered(size=(600, 800)):
    """Red and blue squares of 50 px on green: hues that 4:2:0 would mix at their edges."""
    rows, columns = np.indices(size) // 50
    return np.array([(200, 30, 30), (30, 30, 200), (30, 160, 60)], dtype=np.uint8)[(rows + columns) % 3]


def test_the_jpeg_has_full_colour_and_nothing_but_the_picture():
    data = encode(checkered(), None, (640, 832))
    picture = Pillow.open(io.BytesIO(data))

    assert picture.size == (832, 640)
    assert get_sampling(picture) == 0
    assert set(picture.info) == {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert not picture.getexif()
    markers = {data[i + 1] for i in range(len(data) - 1) if data[i] == 0xFF and 0xE1 <= data[i + 1] <= 0xEF}
    assert not markers
    reference = io.BytesIO()
    Pillow.fromarray(checkered()).save(reference, "JPEG", quality=92)
    assert picture.quantization == Pillow.open(reference).quantization
    assert encode(checkered(), None, (640, 832)) == data


@pytest.mark.parametrize("sent", [(1200, 1600), (300, 400), (150, 1600), (960, 768)])
def test_edges_stay_where_they_are_in_shares_of_the_side(sent):
    pixels = np.zeros((600, 800, 3), dtype=np.uint8)
    pixels[150:450, 200:500] = 255

    bright = decoded(encode(pixels, None, sent))[..., 1] / 255

    assert bright.sum(axis=1).max() == pytest.approx(sent[1] * 300 / 800, abs=0.6)
    assert bright.sum(axis=0).max() == pytest.approx(sent[0] * 300 / 600, abs=0.6)
    rows, columns = np.nonzero(bright > 0.5)
    assert rows.mean() + 0.5 == pytest.approx(sent[0] * 0.5, abs=0.6)
    assert columns.mean() + 0.5 == pytest.approx(sent[1] * 350 / 800, abs=0.6)


def test_shrinking_averages_what_is_finer_than_a_pixel():
    stripes = np.zeros((1000, 1000, 3), dtype=np.uint8)
    stripes[:, ::2] = 255

    assert np.abs(decoded(encode(stripes, None, (100, 100))).astype(int) - 127).max() <= 3


@pytest.mark.parametrize("sent", [(1024, 1024), (64, 64)])
def test_nodata_is_grey_and_the_rest_is_not(sent):
    pixels = np.full((512, 512, 3), (250, 20, 20), dtype=np.uint8)
    valid = np.ones((512, 512), dtype=np.bool_)
    valid[:, 256:] = False
    pixels[~valid] = (0, 255, 0)

    picture = decoded(encode(pixels, valid, sent)).astype(int)

    margin = sent[1] // 8
    assert np.abs(picture[:, sent[1] // 2 + margin :] - NODATA).max() <= 3
    assert np.abs(picture[:, : sent[1] // 2 - margin] - (250, 20, 20)).max() <= 4


class Watched:
    """An image that counts how often it is looked at, and may keep those who look waiting."""

    def __init__(self, pixels, valid=None):
        self.image = Image.from_array(pixels, valid=valid)
        self.size, self.sha256 = self.image.size, self.image.sha256
        self.looks = 0
        self.open = threading.Event()
        self.open.set()
        self._looked = threading.Event()

    async def looked(self):
        """Wait for the first look."""
        await asyncio.get_running_loop().run_in_executor(None, self._looked.wait, 10)

    def crop(self, window):
        self.looks += 1
        self._looked.set()
        assert threading.current_thread() is not threading.main_thread()
        assert self.open.wait(10)
        return self.image.crop(window)


@pytest.fixture
async def images():
    images = SentImages()
    yield images
    await images.aclose()


async def test_a_view_says_what_it_shows(images):
    image = Image.from_array(checkered())
    window = Box(100, 50, 700, 550)

    sent = await images.view(image, window, QWEN3)

    assert (sent.window, sent.media_type, sent.size) == (window, "image/jpeg", sent_size((500, 600), QWEN3))
    assert sent.data == encode(image.pixels[50:550, 100:700], None, sent.size)
    assert decoded(sent.data).shape == (*sent.size, 3)


async def test_sixteen_callers_at_once_share_one_encoding(images):
    image = Watched(checkered())

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(images.view(image, whole(image.size), QWEN3)) for _ in range(16)]

    assert image.looks == 1
    assert len({id(task.result()) for task in tasks}) == 1
    assert await images.view(image, whole(image.size), QWEN3) is tasks[0].result()
    assert image.looks == 1


async def test_other_windows_sizes_and_images_are_other_pictures(images):
    image, other = Watched(checkered()), Watched(checkered()[::-1].copy())
    shown = [
        await images.view(image, whole(image.size), QWEN3),
        await images.view(image, whole(image.size), QWEN2),
        await images.view(image, Box(0, 0, 400, 600), QWEN3),
        await images.view(other, whole(image.size), QWEN3),
    ]

    assert len({sent.sha256 for sent in shown}) == 4
    assert (image.looks, other.looks) == (3, 1)


async def test_a_cancelled_caller_does_not_disturb_the_others(images):
    image = Watched(checkered())
    image.open.clear()
    tasks = [asyncio.create_task(images.view(image, whole(image.size), QWEN3)) for _ in range(3)]
    await image.looked()
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    image.open.set()

    assert await tasks[1] is await tasks[2]
    assert image.looks == 1


async def test_work_nobody_waits_for_is_dropped_and_done_again_when_asked(images):
    image, slow = Watched(checkered()), Watched(checkered()[:, ::-1].copy())
    slow.open.clear()
    blocking = asyncio.create_task(images.view(slow, whole(slow.size), QWEN3))
    waiting = [asyncio.create_task(images.view(image, whole(image.size), QWEN3)) for _ in range(2)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    again = asyncio.create_task(images.view(image, whole(image.size), QWEN3))
    await asyncio.sleep(0)
    assert image.looks == 0
    slow.open.set()
    await blocking

    assert (await again).data
    assert image.looks == 1
    assert {task.get_name() for task in asyncio.all_tasks()}.isdisjoint({"picture"})


async def test_the_loop_runs_on_while_a_picture_is_made(images):
    image = Watched(np.random.default_rng(0).integers(0, 255, (2000, 2000, 3), dtype=np.uint8))
    made = asyncio.create_task(images.view(image, whole(image.size), QWEN3))
    longest, last = 0.0, time.perf_counter()
    while not made.done():
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now

    assert longest < 0.5


async def test_what_is_kept_is_bounded_and_the_least_used_goes_first():
    sources = [Watched(np.full((64, 64, 3), shade, dtype=np.uint8)) for shade in (10, 90, 170)]
    first = await SentImages().view(sources[0], whole((64, 64)), QWEN3)
    images = SentImages(keep=len(first.data) * 5 // 2)
    for source in (sources[0], sources[1], sources[0], sources[2], sources[0], sources[1]):
        await images.view(source, whole((64, 64)), QWEN3)
    await images.aclose()

    assert [source.looks for source in sources] == [2, 2, 1]


async def test_an_error_reaches_every_caller_and_is_not_kept(images):
    image = Watched(checkered())
    tasks = [asyncio.create_task(images.view(image, Box(0, 0, 801, 600), QWEN3)) for _ in range(3)]
    await asyncio.wait(tasks)

    assert all(isinstance(task.exception(), GeometryError) for task in tasks)
    with pytest.raises(GeometryError, match="801"):
        await images.view(image, Box(0, 0, 801, 600), QWEN3)
    assert image.looks == 2


async def test_closing_twice_is_safe_and_ends_what_runs():
    images, image = SentImages(), Watched(checkered())
    image.open.clear()
    task = asyncio.create_task(images.view(image, whole(image.size), QWEN3))
    await image.looked()
    await images.aclose()
    await images.aclose()
    image.open.set()

    with pytest.raises(asyncio.CancelledError):
        await task


def target(box, roi, mask):
    none = Keypoints(np.empty((0, 2), np.int64), np.empty(0), np.empty((0, 2), np.int64), np.empty(0))
    return TargetMask(Target(box, "thing"), roi, mask, (), Areas(1, 1, 1), "both", None, none, Similarity(0, 1, 0.5))


def disc(side):
    y, x = np.indices((side, side)) - side / 2
    return x**2 + y**2 < (side / 2.2) ** 2


async def test_targets_are_drawn_over_the_window_in_colours_of_their_own(images):
    image = Watched(np.full((1200, 1200, 3), 60, dtype=np.uint8))
    window = Box(100, 100, 1124, 1124)
    left = target(Box(200, 400, 500, 700), Box(150, 350, 550, 750), disc(400))
    right = target(Box(700, 400, 1000, 700), Box(650, 350, 1050, 750), disc(400))
    outside = target(Box(0, 0, 90, 90), Box(0, 0, 100, 100), disc(100))

    plain = await images.view(image, window, QWEN3)
    sent = await images.view(image, window, QWEN3, overlay=[left, outside, right])
    again = await images.view(image, window, QWEN3, overlay=[left, outside, right])

    assert (sent.size, sent.window) == (plain.size, plain.window)
    assert await images.view(image, window, QWEN3, overlay=[]) is plain
    assert again.data == sent.data
    assert image.looks == 3
    picture = decoded(sent.data).astype(int)
    changed = np.abs(picture - decoded(plain.data)).max(axis=2) > 25
    # Pixels of the window are pixels of the picture here; the masks lie at (350, 550) and (850, 550) of the image.
    mine, yours = picture[450, 250], picture[450, 750]
    assert changed[450, 250]
    assert changed[450, 750]
    assert np.abs(mine - yours).max() > 30
    assert not changed[900:, :].any()
    assert not changed[:, 480:540].any()
    assert not changed[:50, :50].any()
    contours, _ = cv2.findContours(changed[:, :500].astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    x, y, w, h = cv2.boundingRect(max(contours, key=cv2.contourArea))
    assert (x + w / 2, w) == (pytest.approx(250, abs=6), pytest.approx(400 / 1.1, abs=14))
    assert y + h == pytest.approx(450 + 200 / 1.1, abs=8)


async def test_every_number_is_drawn_even_where_boxes_coincide(images):
    image = Image.from_array(np.full((1024, 1024, 3), 60, dtype=np.uint8))
    box = Box(400, 400, 500, 500)
    empty = np.zeros((100, 100), dtype=np.bool_)

    def labels(count):
        return images.view(image, whole(image.size), QWEN3, overlay=[target(box, box, empty)] * count)

    plain = decoded((await images.view(image, whole(image.size), QWEN3)).data).astype(int)
    areas = [int((np.abs(decoded((await labels(n)).data) - plain).max(axis=2) > 60).sum()) for n in (1, 4, 8)]

    assert areas[0] > 100
    assert areas[1] > 3.5 * areas[0]
    assert areas[2] > 7 * areas[0]


async def test_a_mask_reaching_over_the_window_is_cut_at_it(images):
    image = Image.from_array(np.full((900, 900, 3), 60, dtype=np.uint8))
    spanning = target(Box(0, 0, 900, 900), Box(0, 0, 900, 900), np.ones((900, 900), dtype=np.bool_))

    sent = await images.view(image, Box(300, 300, 700, 601), QWEN3, overlay=[spanning])

    picture = decoded(sent.data).astype(int)
    assert (np.abs(picture - 60).max(axis=2) > 25).mean() > 0.99


async def test_a_large_image_needs_little_more_than_the_picture(images):
    image = Image.from_array(np.zeros((4000, 4000, 3), dtype=np.uint8), valid=np.eye(4000, dtype=np.bool_))
    tracemalloc.start()
    try:
        sent = await images.view(image, whole(image.size), QWEN3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 4 * sent.size[0] * sent.size[1] * 3
