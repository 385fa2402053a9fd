"""What is judged: pairs of a benchmark with the masks that systems gave, read and made comparable by digest."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geoseg_agent.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoseg_agent.bench.pairs import Pair, Truth
    from geoseg_tools.arrays import Mask


@dataclass(frozen=True, slots=True)
class Case:
    """A pair and what a system answered.

    Nothing else of a run has a place here: what is not known to the judge cannot leak into a request.

    Attributes:
        pair: image, query, truth.
        predicted: the mask of the system, or None where it gave no answer, which is not shown to the judge.
    """

    pair: Pair
    predicted: Truth | None


@dataclass(frozen=True, slots=True)
class Duel:
    """A pair and what two systems answered, A and B; None as in `Case`."""

    pair: Pair
    a: Truth | None
    b: Truth | None


class Masks(NamedTuple):
    """The masks of one pair, all (H, W) bool in the frame of the image.

    Attributes:
        truth: the answer.
        predicted: those of the systems, in the order asked for.
    """

    truth: Mask
    predicted: tuple[Mask, ...]

    def digests(self) -> tuple[str, ...]:
        """sha256 of `truth` and then of each of `predicted`; equal masks have equal digests."""
        return tuple(map(_digest, (self.truth, *self.predicted)))


def check_ids(pairs: Sequence[Pair]) -> None:
    """Whether judgements can be told apart by the ids of their pairs.

    Raises:
        DatasetError: two pairs have one id.
    """
    counts = Counter(pair.id for pair in pairs)
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        raise DatasetError(f"the pair {twice} comes {counts[twice]} times; every pair is judged once")


def read_masks(pair: Pair, predicted: Sequence[Truth | None]) -> Masks:
    """Read the truth of a pair and the masks of the systems. Blocks while it reads.

    Raises:
        DatasetError: one cannot be read, or is not of the truth's size.
    """
    truth = pair.truth.read()
    masks = tuple(np.zeros_like(truth) if one is None else one.read() for one in predicted)
    for mask in masks:
        if mask.shape != truth.shape:
            raise DatasetError(
                f"pair {pair.id}: the predicted mask has {mask.shape[1]} x {mask.shape[0]} pixels, the truth "
                f"{truth.shape[1]} x {truth.shape[0]}"
            )
    return Masks(truth, masks)


def image_digest(pair: Pair) -> str:
    """sha256 of the file of the pair's image. Blocks while it reads.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        with pair.image.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"pair {pair.id}: its image cannot be read: {error.strerror or error}") from error


def _digest(mask: Mask) -> str:
    return hashlib.sha256(f"{mask.shape}".encode() + np.packbits(mask).tobytes()).hexdigest()
