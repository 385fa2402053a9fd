"""The pictures that go to the model: prepared once per image, window and size, and shared by all who ask.

Servers keep what they computed for a picture by its bytes, so queries about one image should send the same bytes.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from geoseg_agent.grounding.chat import SentImage
from geoseg_agent.grounding.picture.encode import MEDIA_TYPE, jpeg, shown
from geoseg_agent.grounding.picture.marks import marked
from geoseg_agent.grounding.picture.sent_size import sent_size
from geoseg_agent.grounding.together import Together
from geoseg_agent.lanes import Lane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.grounding.chat import Fit
    from geoseg_agent.imagery import Image
    from geoseg_agent.types import TargetMask
    from geoseg_tools.geometry import Box

KEPT: Final = 64 << 20
"""Bytes of encoded pictures that are kept, those used last: a hundred or more."""


class _Key(NamedTuple):
    """What decides the bytes."""

    image: str
    window: Box
    fit: Fit


class SentImages:
    """`Pictures`: views of images as JPEG, made on a thread of their own.

    Callers that want the same picture at the same time share one encoding. Cancelling one leaves the others alone;
    when the last goes, so does the work.

    Args:
        keep: most bytes of pictures kept for later; 0 keeps none.
    """

    def __init__(self, *, keep: int = KEPT) -> None:
        self._lane = Lane("pictures")
        self._keep = keep
        self._kept: OrderedDict[_Key, SentImage] = OrderedDict()
        self._bytes = 0
        self._making: dict[_Key, Together[SentImage]] = {}

    async def view(
        self, image: Image, window: Box, fit: Fit, *, overlay: Sequence[TargetMask] | None = None
    ) -> SentImage:
        """`window` of the image at the size `sent_size` gives; with `overlay`, targets are drawn over it.

        Without an overlay, equal arguments give the very same value for as long as it is kept.

        Args:
            image: oriented, 8 bit.
            window: absolute pixels, inside the image.
            fit: how large the picture may be.
            overlay: targets to mark and number from 1; such pictures are not kept.

        Raises:
            GeometryError: the window reaches over the image.
            NoPixelsError: the image was rebuilt from a trace.
        """
        if overlay:
            return await self._lane.run(_prepare, image, window, fit, tuple(overlay))
        key = _Key(image.sha256, window, fit)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        making = self._making.setdefault(key, Together(partial(self._make, key, image)))
        try:
            return await making.result()
        finally:
            if making.idle and self._making.get(key) is making:
                del self._making[key]

    async def _make(self, key: _Key, image: Image) -> SentImage:
        sent = await self._lane.run(_prepare, image, key.window, key.fit, ())
        self._remember(key, sent)
        return sent

    def _remember(self, key: _Key, sent: SentImage) -> None:
        self._kept[key] = sent
        self._bytes += _length(sent)
        while self._bytes > self._keep:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= _length(oldest)

    async def aclose(self) -> None:
        """Forget every picture and end the thread; safe to call twice."""
        for making in tuple(self._making.values()):
            await making.aclose()
        self._making.clear()
        self._kept.clear()
        self._bytes = 0
        self._lane.close()


def _prepare(image: Image, window: Box, fit: Fit, overlay: tuple[TargetMask, ...]) -> SentImage:
    """The picture, made on the thread that calls."""
    size = sent_size(window.size, fit)
    picture = shown(image, window, size)
    data = jpeg(marked(picture, window, overlay) if overlay else picture)
    return SentImage(size, window, MEDIA_TYPE, hashlib.sha256(data).hexdigest(), data)


def _length(sent: SentImage) -> int:
    return len(sent.data or b"")
