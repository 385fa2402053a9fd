"""Prompt-ensemble features of phrases, the last ones kept: all they depend on is model, templates and text."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch

from geoseg_tools.clip_surgery.surgery import normalise
from geoseg_tools.clip_surgery.templates import fill
from geoseg_tools.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from geoseg_tools.clip_surgery.templates import Templates

_ENDS = 2  # every prompt has a start and an end token
_SHOWN = 60


class LongPhraseWarning(UserWarning):
    """A phrase is longer than the text encoder reads, and its end was cut off."""


class Tokenizer(Protocol):
    """What is needed of a tokenizer; `open_clip.SimpleTokenizer` is one."""

    def __call__(self, texts: list[str], context_length: int) -> Tensor:
        """(n, context_length) int64 token ids with start and end; what is longer is cut off before its end token."""
        ...

    def encode(self, text: str) -> Sequence[int]:
        """The tokens of the text alone, however many."""
        ...


class _Kept(NamedTuple):
    feature: Tensor
    length: int


class Texts:
    """The text side of one model.

    Args:
        model: an open_clip model in evaluation mode: `encode_text` and `context_length` are used.
        tokenizer: the model's own.
        device: where the model is.
        batch: how many prompts are encoded at once.
        keep: how many ensemble features are kept, those used last; at least 2, for a phrase and the redundant one.
    """

    def __init__(
        self, model: Any, tokenizer: Tokenizer, device: torch.device, *, batch: int = 32, keep: int = 256
    ) -> None:
        self.limit: int = model.context_length
        self._model = model
        self._tokenizer = tokenizer
        self._device = device
        self._batch = max(1, batch)
        self._keep = max(2, keep)
        self._kept: OrderedDict[tuple[Templates, str], _Kept] = OrderedDict()

    def __len__(self) -> int:
        """How many ensemble features are kept."""
        return len(self._kept)

    def tokens(self, prompts: list[str]) -> Tensor:
        """(n, limit) int64 token ids on the CPU; prompts that are too long are cut off before their end token."""
        return self._tokenizer(prompts, context_length=self.limit)

    def length(self, text: str, templates: Templates) -> int:
        """How many tokens the longest prompt of the text has, with start and end; over `limit` it is cut off."""
        return max(len(self._tokenizer.encode(prompt)) for prompt in fill(templates, text)) + _ENDS

    def encode(self, prompts: list[str]) -> Tensor:
        """What the text encoder gives for prompts as they are: (n, E) float32 on the device, not normalised."""
        with torch.inference_mode():
            parts = [
                self._model.encode_text(self.tokens(prompts[at : at + self._batch]).to(self._device)).float()
                for at in range(0, len(prompts), self._batch)
            ]
            return torch.cat(parts)

    def ensemble(self, text: str, templates: Templates) -> Tensor:
        """The feature of a text: the mean of its normalised prompts, normalised; (E,) float32 on the device.

        Warns:
            LongPhraseWarning: a prompt of the text is over the context length.

        Raises:
            ToolError: the text encoder gave NaN or infinity.
        """
        key = (templates, text)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = _Kept(self._encoded(text, templates), self.length(text, templates))
            while len(self._kept) > self._keep:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        if kept.length > self.limit:
            shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
            warnings.warn(
                f"the phrase {shown!r} has {kept.length} tokens in its longest prompt and the model reads "
                f"{self.limit}: the end is cut off",
                LongPhraseWarning,
                stacklevel=2,
            )
        return kept.feature

    def redundant(self, templates: Templates) -> Tensor:
        """The feature of a text that names nothing: the ensemble of the empty string; (E,) float32 on the device.

        Raises:
            ToolError: the text encoder gave NaN or infinity.
        """
        return self.ensemble("", templates)

    def _encoded(self, text: str, templates: Templates) -> Tensor:
        with torch.inference_mode():
            feature = normalise(normalise(self.encode(fill(templates, text))).mean(dim=0))
        if not bool(feature.isfinite().all()):
            raise ToolError(f"the text encoder gave NaN or infinity for {text[:_SHOWN]!r}")
        return feature
