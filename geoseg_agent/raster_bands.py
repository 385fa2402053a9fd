"""How the bands of a raster become red, green and blue, and how it says which of its pixels count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geoseg_agent.decode import check_bands
from geoseg_agent.errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DTYPES = {"uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64"}


class Plan(NamedTuple):
    """How the bands of one file become red, green and blue.

    Attributes:
        shown: 1-based, one band for grey or three.
        alpha: the band that is alpha, 1-based, or None.
        eight_bit: whether the values are shown as they are.
        table: (256, 3) uint8: what an 8-bit value looks like, where that is not itself.
        clear: (256,) bool: which palette entries are transparent, or None.
        masked: whether anything in the file can say that a pixel does not count.
    """

    shown: tuple[int, ...]
    alpha: int | None
    eight_bit: bool
    table: NDArray[np.uint8] | None
    clear: NDArray[np.bool_] | None
    masked: bool


def plan_of(dataset: Any, bands: tuple[int, ...] | None, name: str) -> Plan:
    """The plan for an open rasterio dataset: `bands` (1-based) where given, else as its colours are tagged.

    Raises:
        ImageError: there are no such bands, or they cannot be shown.
    """
    check_bands(bands, dataset.count, name)
    meaning = [colour.name for colour in dataset.colorinterp]
    alpha = next((number for number, colour in enumerate(meaning, 1) if colour == "alpha"), None)
    if bands is None and "cyan" in meaning:
        raise ImageError(f"{name} is in printing colours (CMYK)", hint="convert it to RGB, or choose bands")
    if bands is None:
        usable = [number for number in range(1, dataset.count + 1) if number != alpha] or [1]
        tagged = tuple(meaning.index(colour) + 1 for colour in ("red", "green", "blue") if colour in meaning)
        bands = tagged if len(tagged) == 3 else tuple(usable[:3] if len(usable) >= 3 else usable[:1])
    dtypes = {dataset.dtypes[band - 1] for band in bands}
    if not dtypes <= _DTYPES:
        raise ImageError(
            f"{name} holds values of type {', '.join(sorted(dtypes - _DTYPES))}",
            hint="convert it to real numbers, for example amplitudes",
        )
    masked = alpha is not None or any(not mask_free(dataset, band) for band in bands)
    if dtypes != {"uint8"}:
        masked |= any(np.issubdtype(np.dtype(dtype), np.floating) for dtype in dtypes)
        return Plan(bands, alpha, eight_bit=False, table=None, clear=None, masked=masked)
    table, clear = _table(dataset, bands[0], meaning[bands[0] - 1]) if len(bands) == 1 else (None, None)
    return Plan(bands, alpha, eight_bit=True, table=table, clear=clear, masked=masked or clear is not None)


def mask_free(dataset: Any, band: int) -> bool:
    """Whether every pixel of a band, 1-based, is valid by the dataset's own word: no nodata, no mask, no alpha."""
    return [flag.name for flag in dataset.mask_flag_enums[band - 1]] == ["all_valid"]


def _table(dataset: Any, band: int, meaning: str) -> tuple[NDArray[np.uint8] | None, NDArray[np.bool_] | None]:
    """What the values of a single 8-bit band look like: a palette, fewer than 8 bits, or white as 0."""
    if meaning == "palette":
        rgba = np.zeros((256, 4), dtype=np.uint8)
        for value, colour in dataset.colormap(band).items():
            if 0 <= value < 256:
                rgba[value] = colour
        return rgba[:, :3].copy(), rgba[:, 3] == 0
    structure = dataset.tags(band, ns="IMAGE_STRUCTURE") | dataset.tags(ns="IMAGE_STRUCTURE")
    bits = int(structure.get("NBITS", 8))
    white_is_zero = structure.get("MINISWHITE") == "YES"
    if not 1 <= bits < 8 and not white_is_zero:
        return None, None
    top = (1 << min(max(bits, 1), 8)) - 1
    grey = np.minimum(np.arange(256), top) * 255 // top
    return np.repeat((255 - grey if white_is_zero else grey).astype(np.uint8)[:, None], 3, axis=1), None
