"""Phrases as SAM3 reads them: the last ones are remembered, those too long are told of."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

REMEMBERED = 64
"""Phrases kept; each takes 32 KB with the released model."""


class Phrase(NamedTuple):
    """One phrase.

    Attributes:
        features: (tokens, 1, 256).
        mask: (1, tokens) bool, True where there is no token.
        notes: for the person who asked.
    """

    features: torch.Tensor
    mask: torch.Tensor
    notes: tuple[str, ...]


class Phrases:
    """Text features by phrase, least recently used out first.

    Args:
        backbone: the model's, which has the text encoder.
        device: where it computes.
        remembered: how many to keep.
    """

    def __init__(self, backbone: Any, device: torch.device, remembered: int = REMEMBERED) -> None:
        self._backbone = backbone
        self._device = device
        self._remembered = remembered
        self._known: OrderedDict[str, Phrase] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def read(self, text: str) -> Phrase:
        """The features of `text`."""
        phrase = self._known.get(text)
        if phrase is None:
            out = self._backbone.forward_text([text], device=self._device)
            phrase = Phrase(out["language_features"], out["language_mask"], self._notes(text))
            self._known[text] = phrase
            while len(self._known) > self._remembered:
                self._known.popitem(last=False)
        self._known.move_to_end(text)
        return phrase

    def _notes(self, text: str) -> tuple[str, ...]:
        encoder = self._backbone.language_backbone
        tokens = len(encoder.tokenizer.encode(text))
        # One token marks the start, one the end.
        read = encoder.context_length - 2
        if tokens <= read:
            return ()
        return (f"the phrase is {tokens} tokens long and SAM3 reads the first {read}: the rest did not count",)
