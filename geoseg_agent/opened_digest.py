"""The digest of a raster that is opened and not read: what its directories say, and samples of its bytes.

    sha256 of  DIGEST_VERSION
               size, shown bands, alpha, stretch      what decides how pixels are shown
               the length of the file
               every directory of the TIFF            each tag with all of its values: size, types, georeference,
                                                      nodata, layout, where each tile lies and how long it is
               SAMPLES pieces of SAMPLE bytes         evenly from the first byte to the last

A copy of the file has the same digest. A tile that was changed has another length, in a compressed file nearly
always, and the file another digest; a change that keeps every length is only seen where a sample falls on it.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geoseg_agent.raster_bands import Plan
    from geoseg_agent.stretch import Span
    from geoseg_tools.arrays import Size

DIGEST_VERSION: Final = "geoseg opened raster 1"

SAMPLES: Final = 256
SAMPLE: Final = 4096

_PIECE = 1 << 20
_MOST_DIRECTORIES = 1000
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


class _Form(NamedTuple):
    """How a TIFF writes its numbers: classic with 4 bytes for a place in the file, BigTIFF with 8."""

    order: str
    many: str
    entry: str
    place: str


def opened_digest(path: str, size: Size, plan: Plan, spans: tuple[Span, ...] | None) -> str:
    """The digest of the raster at `path`, hex; `size` (H, W), `plan` and `spans` say how it is shown.

    Raises:
        OSError, struct.error: the file cannot be read, or is no TIFF.
    """
    shown = None if spans is None else [[float(low).hex(), float(high).hex()] for low, high in spans]
    digest = hashlib.sha256(f"{DIGEST_VERSION} {size} {plan.shown} {plan.alpha} {shown}".encode())
    with open(path, "rb") as stream:  # noqa: PTH123 - a path that was checked and resolved
        length = stream.seek(0, 2)
        digest.update(length.to_bytes(8, "big"))
        for start, count in _directories(stream, length):
            for piece in _bytes(stream, start, min(count, length - start)):
                digest.update(piece)
        for number in range(SAMPLES):
            stream.seek(number * max(0, length - SAMPLE) // (SAMPLES - 1))
            digest.update(stream.read(SAMPLE))
    return digest.hexdigest()


def _bytes(stream: BinaryIO, start: int, count: int) -> Iterator[bytes]:
    stream.seek(start)
    while count > 0 and (piece := stream.read(min(count, _PIECE))):
        yield piece
        count -= len(piece)


def _directories(stream: BinaryIO, length: int) -> Iterator[tuple[int, int]]:
    """Where the tags of each directory are, and the values that do not fit into a tag: (start, bytes)."""
    form, place = _head(stream)
    seen: set[int] = set()
    tag = struct.calcsize(form.order + form.entry)
    room = struct.calcsize(form.order + form.place)
    while 0 < place < length and place not in seen and len(seen) < _MOST_DIRECTORIES:
        seen.add(place)
        (entries,) = _unpacked(stream, place, form.order + form.many)
        start = place + struct.calcsize(form.order + form.many)
        yield start, entries * tag
        stream.seek(start)
        table = stream.read(entries * tag)
        for _, kind, count, value in struct.iter_unpack(form.order + form.entry, table):
            taken = count * _TYPE_BYTES.get(kind, 1)
            if taken > room and value < length:
                yield value, taken
        (place,) = _unpacked(stream, start + entries * tag, form.order + form.place)


def _head(stream: BinaryIO) -> tuple[_Form, int]:
    """How the file writes numbers, and where its first directory is."""
    stream.seek(0)
    order = "<" if stream.read(2) == b"II" else ">"
    (magic,) = _unpacked(stream, 2, order + "H")
    big = magic == 43
    form = _Form(order, "Q", "HHQQ", "Q") if big else _Form(order, "H", "HHII", "I")
    (place,) = _unpacked(stream, 8 if big else 4, order + form.place)
    return form, place


def _unpacked(stream: BinaryIO, place: int, form: str) -> tuple[int, ...]:
    stream.seek(place)
    return struct.unpack(form, stream.read(struct.calcsize(form)))
