"""The stretch: what of deep values becomes 0 and 255."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasters import write as geotiff

from geoseg_agent.imagery import read_image
from geoseg_agent.stretch import Span, span_of, to_uint8


def test_bands_without_contrast_are_black(tmp_path):
    bands = np.full((3, 9, 9), 700, np.uint16)
    bands[1, 4, 4] = 900
    image = read_image(geotiff(tmp_path / "a.tif", bands))
    assert image.stretch == ((700, 700), (700, 900), (700, 700))
    assert (image.pixels[..., 0] == 0).all()
    assert image.pixels[4, 4, 1] == 255


def test_large_images_are_sampled_for_their_stretch(tmp_path):
    ramp = np.add.outer(np.arange(2400), np.arange(2000)).astype(np.int16)[None]
    image = read_image(geotiff(tmp_path / "a.tif", ramp, tiled=True, blockxsize=256, blockysize=256))
    assert image.stretch == (tuple(np.percentile(ramp[0, ::2, ::2], (2, 98), method="nearest")),)


@given(
    hnp.arrays(
        st.sampled_from([np.uint16, np.int32, np.int64, np.float32, np.float64]),
        hnp.array_shapes(min_dims=1, max_dims=1, max_side=50),
        elements=None,
    )
)
@example(np.array([5e-324, 0.0]))
def test_a_stretch_is_monotone_and_uses_its_ends(values):
    good = np.isfinite(values)
    span = span_of(values[good])
    grey = to_uint8(values, span, good)
    assert (grey[~good] == to_uint8(np.array([span.low]), span, np.array([True]))[0]).all()
    order = np.argsort(values[good], kind="stable")
    assert (np.diff(grey[good][order].astype(int)) >= 0).all()
    if good.any() and span.high / 2 - span.low / 2 > 1e-300:
        assert grey[good].min() == 0
        assert grey[good].max() == 255


def test_the_widest_range_does_not_overflow():
    values = np.array([-1.7e308, 0.0, 1.7e308])
    assert to_uint8(values, Span(-1.7e308, 1.7e308), np.ones(3, bool)).tolist() == [0, 128, 255]
