"""CLIP Surgery as a tool: where in the crop is the phrase?"""

from __future__ import annotations

from collections import OrderedDict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch

from geoseg_tools.clip_surgery.encoder import encode, native_size
from geoseg_tools.clip_surgery.picture import OPENAI_MEAN, OPENAI_STD, prepare
from geoseg_tools.clip_surgery.surgery import compare_phrases, normalise
from geoseg_tools.clip_surgery.templates import IMAGENET, templates_of
from geoseg_tools.clip_surgery.text import Texts
from geoseg_tools.clip_surgery.towers import check_tower
from geoseg_tools.devices import bounded, on
from geoseg_tools.errors import ModelError, ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from geoseg_tools.arrays import Heat, Rgb, Size
    from geoseg_tools.clip_surgery.templates import Templates
    from geoseg_tools.clip_surgery.text import Tokenizer
    from geoseg_tools.crop import Crop
    from geoseg_tools.geometry import Box

T = TypeVar("T")

_KEPT = 4  # crops; a query asks for one crop's phrase, and for its neighbours' while it is corrected


class _Image(NamedTuple):
    patches: Tensor
    grid: Size


class ClipSurgery:
    """The similarity map Phi of GeoSeg Eq. 3, by CLIP Surgery; implements `geoseg_tools.protocols.Matcher`.

    Args:
        model: an open_clip model on the device; put into evaluation mode, otherwise left as it is.
        tokenizer: the model's own.
        side: of the square that every crop is resized to, in pixels; a multiple of the patch.
        device: where the model is.
        templates: the name of a set of prompt templates, or a set.
        weights: what the weights are known by, such as {"clip": sha256}.
        name: of the model, for errors.
        mean: of red, green, blue in 0..1, subtracted from a picture.
        std: what it is divided by.

    Attributes:
        weights: as given, read-only.
        templates: the sentences in use.
        name: as given.
        grid: (gh, gw) of the maps.

    Raises:
        ModelError: the surgery is not defined for the model, or the side does not fit it.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        *,
        side: int,
        device: torch.device,
        templates: str | Templates = IMAGENET,
        weights: Mapping[str, str] = MappingProxyType({}),
        name: str = "CLIP",
        mean: tuple[float, float, float] = OPENAI_MEAN,
        std: tuple[float, float, float] = OPENAI_STD,
    ) -> None:
        if not hasattr(model, "visual") or not hasattr(model, "encode_text"):
            raise ModelError(f"{type(model).__name__} is no CLIP model of open_clip: it has no two towers")
        check_tower(model.visual)
        ph, pw = model.visual.conv1.kernel_size
        if side < max(ph, pw) or side % ph or side % pw:
            raise ModelError(f"an input of {side} px is no whole number of patches of {ph} x {pw}")
        self.weights: Mapping[str, str] = MappingProxyType(dict(weights))
        self.templates = templates_of(templates)
        self.name = name
        self.grid: Size = (side // ph, side // pw)
        self._model = model.eval()
        self._texts = Texts(model, tokenizer, device)
        self._size: Size = (side, side)
        self._device = device
        self._mean, self._std = mean, std
        self._images: OrderedDict[tuple[str, Box], _Image] = OrderedDict()

    def similarity(self, crop: Crop, phrase: str) -> Heat:
        """How alike each patch of the crop is to the phrase, less what it shares with a text that names nothing.

        The single-text similarities of CLIP Surgery, neither scaled nor resized: differences of cosines, a few
        hundredths either way; higher is more alike, and no value means "present" or "absent" by itself.

        Args:
            crop: of any size; the whole of it is resized to the model's input.
            phrase: free text.

        Returns:
            (gh, gw) float32, finite; the cells cover the crop without a rest.

        Raises:
            ToolError: the model gave NaN or infinity.
            MemoryExhausted: the device is out of memory.

        Warns:
            LongPhraseWarning: the phrase is longer than the text encoder reads.
        """
        return self._computed(f"matching a phrase by {self.name}", self._similarity, crop, phrase)

    def self_test(self, picture: Rgb) -> float:
        """How far the class token of the surgered encoder is from the plain `encode_image`, at the most; float.

        The surgery leaves the class token alone, so this is rounding, about 1e-5 in float32, or the surgery does not
        know the model. The plain encoder takes one size only: the picture is resized to it.

        Args:
            picture: (h, w, 3) uint8 RGB; anything but one colour.

        Raises:
            ToolError: the model gave NaN or infinity.
            MemoryExhausted: the device is out of memory.
        """
        return self._computed(f"testing {self.name}", self._self_test, picture)

    def _similarity(self, crop: Crop, phrase: str) -> Heat:
        patches, grid = self._encoded(crop)
        text, redundant = self._texts.ensemble(phrase, self.templates), self._texts.redundant(self.templates)
        found = compare_phrases(patches[None], text[None], redundant)
        heat = found.reshape(grid).cpu().numpy()
        if not np.isfinite(heat).all():
            raise ToolError(f"{self.name} gave NaN or infinity for {phrase[:60]!r}")
        return np.asarray(heat, dtype=np.float32)

    def _encoded(self, crop: Crop) -> _Image:
        """The normalised patch features of the crop; those of the last few crops are kept."""
        key = (crop.digest, crop.roi)
        image = self._images.get(key)
        if image is None:
            tokens, grid = encode(self._model.visual, self._prepared(crop.pixels, self._size))
            patches = normalise(tokens[0, 1:])
            if not bool(patches.isfinite().all()):
                raise ToolError(f"the image encoder of {self.name} gave NaN or infinity")
            image = self._images[key] = _Image(patches, grid)
            while len(self._images) > _KEPT:
                self._images.popitem(last=False)
        self._images.move_to_end(key)
        return image

    def _self_test(self, picture: Rgb) -> float:
        images = self._prepared(picture, native_size(self._model.visual))
        surgered = encode(self._model.visual, images).tokens[:, 0].float()
        plain = self._model.encode_image(images.to(self._model.visual.conv1.weight.dtype)).float()
        off = float((surgered - plain).abs().max())
        if not np.isfinite(off):
            raise ToolError(f"the image encoder of {self.name} gave NaN or infinity")
        return off

    def _prepared(self, pixels: Rgb, size: Size) -> Tensor:
        return prepare(pixels, size, self._mean, self._std).to(self._device)

    def _computed(self, doing: str, job: Callable[..., T], *args: Any) -> T:
        # No closure: who keeps an error would keep its variables, a crop and its scene among them.
        done: T = bounded(self._device, doing, self._within, job, args)
        return done

    def _within(self, job: Callable[..., T], args: tuple[Any, ...]) -> T:
        # Another model may have left its own precision switched on for this thread.
        with on(self._device), torch.inference_mode(), torch.autocast(self._device.type, enabled=False):
            return job(*args)
